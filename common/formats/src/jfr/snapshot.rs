//! The snapshot of labels that the Java agent sends beside a recording: what the contexts of its events mean.
//!
//! Protobuf: `LabelsSnapshot { contexts#1: map<int64, Context>, strings#2: map<int64, string> }`,
//! `Context { labels#1: map<int64, int64> }`, both numbers of a label being keys of strings (api-semantics §3.12).

use std::ops::Range;

use hashbrown::HashMap;

use crate::pprof::PprofError;
use crate::wire::{LEN, Reader, VARINT};

/// The labels of contexts.
#[derive(Debug, Clone, Default)]
pub struct LabelsSnapshot<'a> {
    contexts: HashMap<i64, Range<u32>>,
    pairs: Vec<(i64, i64)>,
    strings: HashMap<i64, &'a str>,
}

/// The bytes are no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not the protobuf of a snapshot.
    #[error("the snapshot of labels is damaged or cut off at byte {0}")]
    Damaged(usize),
    /// A string that is no text.
    #[error("string {0} of the snapshot of labels is not UTF-8")]
    Utf8(i64),
}

impl From<PprofError> for SnapshotError {
    fn from(error: PprofError) -> Self {
        match error {
            PprofError::Truncated(at) | PprofError::Number(at) | PprofError::WireType { at, .. } => {
                Self::Damaged(at)
            }
            PprofError::TooLarge => Self::Damaged(usize::MAX),
        }
    }
}

impl<'a> LabelsSnapshot<'a> {
    /// Reads a snapshot; of equal keys the last counts.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let mut out = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => out.context(reader.message()?)?,
                (2, LEN) => {
                    let (key, text) = entry(reader.message()?)?;
                    let text = text.map_or(Ok(""), |text| std::str::from_utf8(text.rest()));
                    out.strings.insert(key, text.map_err(|_| SnapshotError::Utf8(key))?);
                }
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(out)
    }

    fn context(&mut self, reader: Reader<'a>) -> Result<(), SnapshotError> {
        let (key, context) = entry(reader)?;
        let first = self.pairs.len() as u32;
        if let Some(mut context) = context {
            while let Some((field, wire)) = context.key()? {
                match (field, wire) {
                    (1, LEN) => self.pairs.push(pair(context.message()?)?),
                    (field, wire) => context.skip(field, wire)?,
                }
            }
        }
        self.contexts.insert(key, first..self.pairs.len() as u32);
        Ok(())
    }

    /// Name and value of each label of a context, in the order of the snapshot; those whose strings are not there are left
    /// out.
    pub fn labels(&self, context: i64) -> impl Iterator<Item = (&'a str, &'a str)> {
        let range = self.contexts.get(&context).cloned().unwrap_or_default();
        let pairs = &self.pairs[range.start as usize..range.end as usize];
        pairs.iter().filter_map(|(name, value)| Some((self.string(*name)?, self.string(*value)?)))
    }

    /// A string by its key.
    pub fn string(&self, key: i64) -> Option<&'a str> {
        self.strings.get(&key).copied()
    }
}

/// An entry of a map: its key, and its value when that is bytes.
fn entry(mut reader: Reader<'_>) -> Result<(i64, Option<Reader<'_>>), SnapshotError> {
    let (mut key, mut value) = (0, None);
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => key = reader.varint()? as i64,
            (2, LEN) => value = Some(reader.message()?),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok((key, value))
}

/// An entry of a map of numbers.
fn pair(mut reader: Reader<'_>) -> Result<(i64, i64), SnapshotError> {
    let (mut key, mut value) = (0, 0);
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => key = reader.varint()? as i64,
            (2, VARINT) => value = reader.varint()? as i64,
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contexts 7 (name 1 = value 2, and one whose strings are missing) and 9 (none); strings 1 and 2.
    const BYTES: &[u8] = b"\x0a\x10\x08\x07\x12\x0c\x0a\x04\x08\x01\x10\x02\x0a\x04\x08\x01\x10\x05\
        \x0a\x02\x08\x09\x12\x08\x08\x01\x12\x04path\x12\x08\x08\x02\x12\x04slow";

    #[test]
    fn labels_of_contexts() {
        let snapshot = LabelsSnapshot::parse(BYTES).expect("valid");
        assert_eq!(snapshot.labels(7).collect::<Vec<_>>(), [("path", "slow")]);
        assert_eq!(snapshot.labels(9).count() + snapshot.labels(1).count(), 0);
        assert_eq!((snapshot.string(2), snapshot.string(3)), (Some("slow"), None));
    }

    #[test]
    fn damage_is_refused() {
        for at in 0..BYTES.len() {
            // Between two entries of a map everything is whole.
            let whole = [0, 18, 22, 32].contains(&at);
            assert_eq!(LabelsSnapshot::parse(&BYTES[..at]).is_ok(), whole, "cut at {at}");
        }
        assert_eq!(
            LabelsSnapshot::parse(b"\x12\x04\x08\x03\x12\x00\x12\x05\x08\x04\x12\x01\xff").err(),
            Some(SnapshotError::Utf8(4))
        );
    }
}
