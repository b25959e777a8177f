//! Between wire types and our own. Total in both directions: what others sent is checked here and nowhere else.
//!
//! Wire types are named in this module, in `server` and in the clients only.

pub(crate) mod blocks;
pub(crate) mod deletion;
pub(crate) mod frame;
pub(crate) mod ingester;
pub(crate) mod question;
pub(crate) mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use hearth_common::{CellId, DiskId, InstanceId, JournalId, MemberId};
pub(crate) use hearth_proto::hearth::internal::v1 as pb;

/// Longest name of an instance, of a cell or of a cluster, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 512;
/// Most things in one list of a message, where no other limit holds: cells, members, journals.
pub(crate) const LIST_MAX: usize = 1 << 16;

/// A message is not what this version understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) String);

impl hearth_common::Classify for Malformed {
    fn kind(&self) -> hearth_common::ErrorKind {
        hearth_common::ErrorKind::InvalidArgument
    }
}

fn malformed<T>(what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

/// A part that must be there.
fn must<T>(part: Option<T>, name: &str) -> Result<T, Malformed> {
    part.ok_or_else(|| Malformed(format!("{name} is missing")))
}

fn short(list_len: usize, name: &str) -> Result<(), Malformed> {
    if list_len > LIST_MAX { malformed(format!("{list_len} {name}, limit {LIST_MAX}")) } else { Ok(()) }
}

fn name(text: &str) -> Result<InstanceId, Malformed> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return malformed("a name is empty or too long");
    }
    Ok(InstanceId(Arc::from(text)))
}

/// Empty = not known.
fn optional_name(text: &str) -> Result<Option<InstanceId>, Malformed> {
    if text.is_empty() { Ok(None) } else { name(text).map(Some) }
}

fn cell(text: &str) -> Result<CellId, Malformed> {
    name(text).map(CellId)
}

fn cells(texts: &[String]) -> Result<Vec<CellId>, Malformed> {
    short(texts.len(), "cells")?;
    texts.iter().map(|text| cell(text)).collect()
}

fn cell_text(cell: &CellId) -> String {
    cell.0.to_string()
}

fn leader_text(leader: Option<&InstanceId>) -> String {
    leader.map_or_else(String::new, ToString::to_string)
}

fn journal(text: &str) -> Result<JournalId, Malformed> {
    JournalId::parse(text).ok_or_else(|| Malformed("a journal's id does not parse".to_owned()))
}

fn id_bytes(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

fn id(bytes: &[u8]) -> Result<u128, Malformed> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| Malformed("an id is not of 16 bytes".to_owned()))?;
    Ok(u128::from_be_bytes(bytes))
}

/// Ids one after the other.
fn ids_bytes(ids: impl ExactSizeIterator<Item = u128>) -> Bytes {
    let mut bytes = Vec::with_capacity(ids.len() * 16);
    ids.for_each(|id| bytes.extend_from_slice(&id.to_be_bytes()));
    Bytes::from(bytes)
}

fn ids(bytes: &[u8]) -> Result<Vec<u128>, Malformed> {
    if !bytes.len().is_multiple_of(16) {
        return malformed("ids are not of 16 bytes each");
    }
    bytes.chunks_exact(16).map(id).collect()
}

pub(crate) fn member_to(member: &MemberId) -> pb::Member {
    pb::Member { instance: member.instance.to_string(), disk: id_bytes(member.disk.0) }
}

pub(crate) fn member(member: &pb::Member) -> Result<MemberId, Malformed> {
    Ok(MemberId { instance: name(&member.instance)?, disk: DiskId(id(&member.disk)?) })
}
