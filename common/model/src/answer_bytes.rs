//! A partial answer as bytes, exactly: what one process of a cluster gives to another.
//!
//! Owns the format, version [`VERSION`]; it is not compressed and has no checksum, which is its carrier's business. Nothing
//! is kept in it: both ends are of one protocol version. Not to be mixed up with `tree_bytes`, which is a format of the
//! public API and cuts.
//!
//! Layout: version, kind, content. Numbers are LEB128 varints, signed ones zigzag; texts stand in tables, each once.
//! Trees are columns over the nodes in preorder: how many levels up from the last node's child, what the node is (an
//! index into a table), its own value.
//!
//! Decoding is total: any bytes give an answer or an error, in time and memory linear in their number.

mod codec;
mod labels;
mod merge;
mod preorder;
mod tally;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;

use hearth_common::{Classify, ErrorKind, TimestampNs};

use crate::answer_bytes::codec::{Reader, Writer};
use crate::question::{Answer, AnswerError, Estimate, Stats};

/// Version of the format.
pub const VERSION: u8 = 1;
/// Deepest stack.
pub const DEPTH_MAX: usize = 1 << 20;

const TREE: u8 = 1;
const PPROF: u8 = 2;
const POINTS: u8 = 3;
const PROFILE_TYPES: u8 = 4;
const NAMES: u8 = 5;
const SERIES: u8 = 6;
const STATS: u8 = 7;
const ESTIMATE: u8 = 8;
const TALLY: u8 = 9;

/// The answer cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Its values are wrong.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A stack is too deep.
    #[error("a stack is deeper than {DEPTH_MAX} frames")]
    Depth,
}

impl Classify for EncodeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Answer(error) => error.kind(),
            Self::Depth => ErrorKind::OutOfRange,
        }
    }
}

/// The bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged answer at offset {offset}: {what}")]
pub struct InvalidAnswer {
    /// Where.
    pub offset: usize,
    /// What does not fit.
    pub what: &'static str,
}

impl Classify for InvalidAnswer {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// Encodes an answer. Fails when its sum does not fit in 63 bits: then its parts mean nothing either.
pub fn encode(answer: &Answer) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::default();
    out.byte(VERSION);
    match answer {
        Answer::Tree(tree) => {
            out.byte(TREE);
            tree::encode(tree, &mut out)?;
        }
        Answer::Pprof(merge) => {
            out.byte(PPROF);
            merge::encode(merge, &mut out)?;
        }
        Answer::Points(points) => {
            out.byte(POINTS);
            labels::encode_points(points, &mut out);
        }
        Answer::ProfileTypes(types) => {
            out.byte(PROFILE_TYPES);
            labels::encode_types(types, &mut out);
        }
        Answer::Names(names) => {
            out.byte(NAMES);
            out.texts(names.iter().map(String::as_str));
        }
        Answer::Series(series) => {
            out.byte(SERIES);
            labels::encode_series(series, &mut out);
        }
        Answer::Stats(Stats { oldest_newest }) => {
            out.byte(STATS);
            out.byte(u8::from(oldest_newest.is_some()));
            if let Some((oldest, newest)) = oldest_newest {
                out.int(oldest.0);
                out.int(newest.0);
            }
        }
        Answer::Estimate(estimate) => {
            out.byte(ESTIMATE);
            estimate_fields(*estimate).into_iter().for_each(|field| out.uint(field));
        }
        Answer::Tally(tally) => {
            out.byte(TALLY);
            tally::encode(tally, &mut out);
        }
    }
    Ok(out.bytes)
}

/// Decodes an answer.
pub fn decode(bytes: &[u8]) -> Result<Answer, InvalidAnswer> {
    let mut from = Reader::new(bytes);
    if from.byte()? != VERSION {
        return Err(from.error("of another version"));
    }
    let answer = match from.byte()? {
        TREE => Answer::Tree(tree::decode(&mut from)?),
        PPROF => Answer::Pprof(merge::decode(&mut from)?),
        POINTS => Answer::Points(labels::decode_points(&mut from)?),
        PROFILE_TYPES => Answer::ProfileTypes(labels::decode_types(&mut from)?),
        NAMES => Answer::Names(from.texts()?.iter().map(str::to_owned).collect::<BTreeSet<_>>()),
        SERIES => Answer::Series(labels::decode_series(&mut from)?),
        STATS => {
            let some = from.byte()? != 0;
            let mut time = || from.int().map(TimestampNs);
            let oldest_newest = if some { Some((time()?, time()?)) } else { None };
            Answer::Stats(Stats { oldest_newest })
        }
        ESTIMATE => Answer::Estimate(estimate(&mut from)?),
        TALLY => Answer::Tally(tally::decode(&mut from)?),
        _ => return Err(from.error("of an unknown kind")),
    };
    if from.left() > 0 {
        return Err(from.error("longer than its content"));
    }
    Ok(answer)
}

fn estimate_fields(estimate: Estimate) -> [u64; 7] {
    let Estimate { blocks, series, profiles, samples, index_bytes, profile_bytes, symbol_bytes } = estimate;
    [blocks, series, profiles, samples, index_bytes, profile_bytes, symbol_bytes]
}

fn estimate(from: &mut Reader<'_>) -> Result<Estimate, InvalidAnswer> {
    Ok(Estimate {
        blocks: from.uint()?,
        series: from.uint()?,
        profiles: from.uint()?,
        samples: from.uint()?,
        index_bytes: from.uint()?,
        profile_bytes: from.uint()?,
        symbol_bytes: from.uint()?,
    })
}
