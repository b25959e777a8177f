//! The tail of the index: units, types, series, datasets, pages and annotations, as the writer puts them and the reader
//! takes them. Encoder and decoder of each section stand side by side.

pub(crate) mod datasets;
pub(crate) mod origin;
pub(crate) mod pages;
pub(crate) mod rollups;
pub(crate) mod series;

use std::sync::Arc;

use hearth_model::ProfileType;

use crate::codec::{CodecResult, Cursor, put_text, put_varint};

/// A unit's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitKey {
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
}

pub(crate) fn put_units<'a>(units: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(units.len() as u64, &mut out);
    for (name, service) in units {
        put_text(name, &mut out);
        put_text(service, &mut out);
    }
    out
}

pub(crate) fn take_units(bytes: &[u8]) -> CodecResult<Vec<UnitKey>> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.count()?;
    let unit = |_| Ok(UnitKey { name: Arc::from(cursor.text()?), service: Arc::from(cursor.text()?) });
    let units: Vec<UnitKey> = (0..count).map(unit).collect::<CodecResult<_>>()?;
    cursor.end()?;
    Ok(units)
}

pub(crate) fn put_types(types: &[ProfileType]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(types.len() as u64, &mut out);
    for ty in types {
        for part in [&ty.name, &ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit] {
            put_text(part, &mut out);
        }
    }
    out
}

pub(crate) fn take_types(bytes: &[u8]) -> CodecResult<Vec<ProfileType>> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.count()?;
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        let mut part = || cursor.text();
        types.push(ProfileType::new(part()?, part()?, part()?, part()?, part()?));
    }
    cursor.end()?;
    Ok(types)
}

/// Annotations: a table of pairs, then profile rows that have some.
pub(crate) fn put_annotations<'a>(rows: &[(u32, &'a [(String, String)])]) -> Vec<u8> {
    let mut pairs: Vec<&'a (String, String)> = rows.iter().flat_map(|(_, pairs)| pairs.iter()).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut out = Vec::new();
    put_varint(pairs.len() as u64, &mut out);
    for (key, value) in &pairs {
        put_text(key, &mut out);
        put_text(value, &mut out);
    }
    put_varint(rows.len() as u64, &mut out);
    let mut before = 0;
    for (row, of_row) in rows {
        put_varint(u64::from(row - before), &mut out);
        before = *row;
        put_varint(of_row.len() as u64, &mut out);
        for pair in *of_row {
            put_varint(pairs.partition_point(|p| *p < pair) as u64, &mut out);
        }
    }
    out
}

/// Annotations of profile rows, sorted by row.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    pub(crate) pairs: Vec<(String, String)>,
    /// (profile row, indices of pairs).
    pub(crate) rows: Vec<(u32, Vec<u32>)>,
}

impl Annotations {
    /// The pairs of a profile row.
    pub(crate) fn of(&self, row: u32) -> impl Iterator<Item = &(String, String)> {
        let at = self.rows.binary_search_by_key(&row, |(row, _)| *row).ok();
        let indices = at.map_or(&[][..], |at| &self.rows[at].1);
        indices.iter().map(|&pair| &self.pairs[pair as usize])
    }
}

pub(crate) fn take_annotations(bytes: &[u8]) -> CodecResult<Annotations> {
    if bytes.is_empty() {
        return Ok(Annotations::default());
    }
    let mut cursor = Cursor::new(bytes);
    let mut found = Annotations::default();
    for _ in 0..cursor.count()? {
        found.pairs.push((cursor.text()?.to_owned(), cursor.text()?.to_owned()));
    }
    let mut row = 0u32;
    for _ in 0..cursor.count()? {
        row = row.checked_add(cursor.varint_u32()?).ok_or("a profile row is too large")?;
        let mut pairs = Vec::new();
        for _ in 0..cursor.count()? {
            let pair = cursor.varint_u32()?;
            if pair as usize >= found.pairs.len() {
                return Err(format!("annotation {pair} of {}", found.pairs.len()));
            }
            pairs.push(pair);
        }
        found.rows.push((row, pairs));
    }
    cursor.end()?;
    Ok(found)
}
