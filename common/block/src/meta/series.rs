//! Series: a dictionary of label names and values, and label sets by service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_model::Labels;
use hearth_model::labels::Label;

use crate::codec::{CodecResult, Cursor, put_text, put_varint};

/// A series: the unit that it belongs to and its label set as sent.
#[derive(Debug, Clone)]
pub(crate) struct SeriesRow {
    pub(crate) unit: u32,
    pub(crate) labels: Labels,
}

/// Encodes (dictionary, series).
pub(crate) fn put_series(series: &[SeriesRow]) -> (Vec<u8>, Vec<u8>) {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in series {
        for (name, value) in row.labels.iter() {
            names.entry(name).or_default().insert(value);
        }
    }
    let mut dictionary = Vec::new();
    let mut ids: BTreeMap<&str, (u64, BTreeMap<&str, u64>)> = BTreeMap::new();
    put_varint(names.len() as u64, &mut dictionary);
    for (at, (name, values)) in (0u64..).zip(names) {
        put_text(name, &mut dictionary);
        put_varint(values.len() as u64, &mut dictionary);
        values.iter().for_each(|value| put_text(value, &mut dictionary));
        ids.insert(name, (at, values.into_iter().zip(0..).collect()));
    }
    let mut out = Vec::new();
    put_varint(series.len() as u64, &mut out);
    for row in series {
        put_varint(u64::from(row.unit), &mut out);
        put_varint(row.labels.len() as u64, &mut out);
        for (name, value) in row.labels.iter() {
            let (name_id, values) = &ids[name];
            put_varint(*name_id, &mut out);
            put_varint(values[value], &mut out);
        }
    }
    (dictionary, out)
}

/// Decodes what [`put_series`] encoded. Label texts are shared between the sets.
pub(crate) fn take_series(dictionary: &[u8], series: &[u8], units: usize) -> CodecResult<Vec<SeriesRow>> {
    let mut cursor = Cursor::new(dictionary);
    let mut names: Vec<(Arc<str>, Vec<Arc<str>>)> = Vec::new();
    for _ in 0..cursor.count()? {
        let name = Arc::from(cursor.text()?);
        let count = cursor.count()?;
        let values = (0..count).map(|_| cursor.text().map(Arc::from)).collect::<CodecResult<_>>()?;
        names.push((name, values));
    }
    cursor.end()?;
    let mut cursor = Cursor::new(series);
    let mut rows = Vec::new();
    for _ in 0..cursor.count()? {
        let unit = cursor.varint_u32()?;
        if unit as usize >= units {
            return Err(format!("a series belongs to unit {unit} of {units}"));
        }
        let mut labels: Vec<Label> = Vec::new();
        for _ in 0..cursor.count()? {
            let (name, value) = (cursor.varint()? as usize, cursor.varint()? as usize);
            let (name, values) = names.get(name).ok_or("a label name is not in the dictionary")?;
            let value = values.get(value).ok_or("a label value is not in the dictionary")?;
            if labels.last().is_some_and(|last| last.name >= *name) {
                return Err("the labels of a series are not sorted".to_owned());
            }
            labels.push(Label { name: Arc::clone(name), value: Arc::clone(value) });
        }
        rows.push(SeriesRow { unit, labels: Labels::from_sorted(labels) });
    }
    cursor.end()?;
    Ok(rows)
}
