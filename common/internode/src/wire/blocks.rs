//! Blocks to be read by a peer, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use hearth_block::{BlockEntry, ObjectEntry};
use hearth_common::{BlockId, InstanceId, TenantId, TimestampNs};
use hearth_model::{AnswerError, answer_bytes};

use super::{
    Malformed, NAME_BYTES_MAX, deletion, id, id_bytes, ids, ids_bytes, malformed, must, pb, question,
};
use crate::blocks::{BLOCKS_MAX, BlocksAnswer, BlocksRequest, PROTOCOL, Refusal, RefusalWhy};
use crate::packed;

/// Longest time that a request may be given.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Most objects of a block.
const OBJECTS_MAX: usize = 16;
/// Most profile types of a block.
const TYPES_MAX: usize = 1 << 14;

pub(crate) fn request_to(request: &BlocksRequest, cluster_id: &str, asker: &InstanceId) -> pb::BlocksRequest {
    pb::BlocksRequest {
        cluster_id: cluster_id.to_owned(),
        protocol: PROTOCOL,
        tenant: request.tenant.to_string(),
        question: Some(question::encode(&request.question)),
        blocks: request.blocks.iter().map(|block| entry_to(block)).collect(),
        bytes_max: request.bytes_max,
        timeout_ms: u64::try_from(request.timeout.min(TIMEOUT_MAX).as_millis()).unwrap_or(u64::MAX),
        asker: asker.to_string(),
        deletions: deletion::encode(&request.deletions),
    }
}

pub(crate) fn request(request: pb::BlocksRequest) -> Result<BlocksRequest, Malformed> {
    if request.blocks.is_empty() || request.blocks.len() > BLOCKS_MAX {
        return malformed(format!("{} blocks, from 1 to {BLOCKS_MAX} are allowed", request.blocks.len()));
    }
    let blocks = request.blocks.into_iter().map(|block| entry(block).map(Arc::new));
    Ok(BlocksRequest {
        tenant: TenantId::parse(&request.tenant).map_err(|error| Malformed(error.to_string()))?,
        blocks: blocks.collect::<Result<_, _>>()?,
        question: question::decode(must(request.question, "question")?)?,
        bytes_max: request.bytes_max,
        deletions: deletion::decode(request.deletions)?,
        timeout: Duration::from_millis(request.timeout_ms).min(TIMEOUT_MAX),
    })
}

fn entry_to(block: &BlockEntry) -> pb::BlockEntry {
    let object = |object: &ObjectEntry| pb::block_entry::Object {
        name: object.name.clone(),
        bytes: object.bytes,
        crc32c: object.crc32c,
    };
    pb::BlockEntry {
        id: id_bytes(block.id.0),
        attempt: block.attempt.clone(),
        format: block.format.into(),
        day: block.day,
        level: block.level.into(),
        min_time_ns: block.min_time.0,
        max_time_ns: block.max_time.0,
        first_service: block.first_service.clone(),
        last_service: block.last_service.clone(),
        types: block.types.clone(),
        objects: block.objects.iter().map(object).collect(),
        index_directory_offset: block.index_directory_offset,
        profiles: block.profiles,
        samples: block.samples,
        series: block.series,
        units: block.units,
    }
}

fn entry(block: pb::BlockEntry) -> Result<BlockEntry, Malformed> {
    // It becomes part of a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let attempt = &block.attempt;
    if attempt.is_empty() || attempt.len() > NAME_BYTES_MAX || !attempt.chars().all(plain) {
        return malformed("an attempt to write a block is empty, too long, or of other characters");
    }
    if block.objects.len() > OBJECTS_MAX || block.types.len() > TYPES_MAX {
        return malformed("a block has too many objects or types");
    }
    let small = |value: u32, name: &str| {
        u16::try_from(value).map_err(|_| Malformed(format!("the {name} of a block is {value}")))
    };
    let level = small(block.level, "level")?;
    let object = |o: pb::block_entry::Object| ObjectEntry { name: o.name, bytes: o.bytes, crc32c: o.crc32c };
    Ok(BlockEntry {
        id: BlockId(id(&block.id)?),
        attempt: block.attempt,
        format: small(block.format, "format")?,
        day: block.day,
        level: u8::try_from(level).map_err(|_| Malformed(format!("the level of a block is {level}")))?,
        min_time: TimestampNs(block.min_time_ns),
        max_time: TimestampNs(block.max_time_ns),
        first_service: block.first_service,
        last_service: block.last_service,
        types: block.types,
        objects: block.objects.into_iter().map(object).collect(),
        index_directory_offset: block.index_directory_offset,
        profiles: block.profiles,
        samples: block.samples,
        series: block.series,
        units: block.units,
        // Nobody reads them for an answer.
        sources: Vec::new(),
    })
}

/// An answer for the wire. May take long.
pub(crate) fn answer_to(answer: &BlocksAnswer, blocks: &[u128]) -> pb::BlocksResponse {
    let encoded = answer_bytes::encode(&answer.partial).map_err(|error| match error {
        answer_bytes::EncodeError::Answer(AnswerError::Overflow) => {
            Refusal::new(RefusalWhy::Overflow, AnswerError::Overflow.to_string())
        }
        error => Refusal::new(RefusalWhy::Failed, error.to_string()),
    });
    let packed = encoded.and_then(|content| {
        packed::pack(&content).map_err(|error| Refusal::new(RefusalWhy::Failed, error.to_string()))
    });
    match packed {
        Ok(packed) => {
            let answered = pb::BlocksAnswered {
                ids: ids_bytes(blocks.iter().copied()),
                answer: packed.into(),
                fetched_bytes: answer.fetched_bytes,
            };
            pb::BlocksResponse { outcome: Some(pb::blocks_response::Outcome::Answered(answered)) }
        }
        Err(refusal) => refusal_to(refusal),
    }
}

pub(crate) fn refusal_to(refusal: Refusal) -> pb::BlocksResponse {
    use pb::blocks_refused::Why;
    let why = match refusal.why {
        RefusalWhy::Busy => Why::Busy,
        RefusalWhy::Stranger => Why::Stranger,
        RefusalWhy::Bytes => Why::Bytes,
        RefusalWhy::Overflow => Why::Overflow,
        RefusalWhy::Unreadable => Why::Unreadable,
        RefusalWhy::Failed => Why::Failed,
    };
    let refused = pb::BlocksRefused { why: why.into(), message: refusal.message };
    pb::BlocksResponse { outcome: Some(pb::blocks_response::Outcome::Refused(refused)) }
}

/// What a peer said of these blocks. An answer of others is none.
pub(crate) fn response(
    response: pb::BlocksResponse,
    blocks: &[u128],
) -> Result<Result<BlocksAnswer, Refusal>, Malformed> {
    use pb::blocks_response::Outcome;
    let answered = match must(response.outcome, "outcome")? {
        Outcome::Refused(refused) => return Ok(Err(refusal(refused))),
        Outcome::Answered(answered) => answered,
    };
    if ids(&answered.ids)? != blocks {
        return malformed("the answer is of other blocks than were asked for");
    }
    let content = packed::unpack(&answered.answer).map_err(|error| Malformed(error.to_string()))?;
    let partial = answer_bytes::decode(&content).map_err(|error| Malformed(error.to_string()))?;
    let wire_bytes = answered.answer.len() as u64;
    Ok(Ok(BlocksAnswer { partial, fetched_bytes: answered.fetched_bytes, wire_bytes }))
}

fn refusal(refused: pb::BlocksRefused) -> Refusal {
    use pb::blocks_refused::Why;
    let why = match refused.why() {
        Why::Busy => RefusalWhy::Busy,
        Why::Stranger => RefusalWhy::Stranger,
        Why::Bytes => RefusalWhy::Bytes,
        Why::Overflow => RefusalWhy::Overflow,
        Why::Unreadable => RefusalWhy::Unreadable,
        Why::Failed | Why::Unspecified => RefusalWhy::Failed,
    };
    Refusal { why, message: refused.message }
}

#[cfg(test)]
#[path = "blocks/tests.rs"]
mod tests;
