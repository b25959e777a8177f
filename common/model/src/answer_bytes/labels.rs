//! Answers made of labels: points, series, profile types. Texts stand in one table.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use super::InvalidAnswer;
use super::codec::{Reader, Writer};
use crate::labels::{Label, Labels};
use crate::points::{Bucket, PointSet};
use crate::profile_type::ProfileType;

/// Texts in order of first use, and what refers to them.
#[derive(Default)]
struct Table<'a> {
    places: HashMap<&'a str, u64>,
    texts: Vec<&'a str>,
    content: Writer,
}

impl<'a> Table<'a> {
    fn text(&mut self, text: &'a str) {
        let next = self.texts.len() as u64;
        let place = *self.places.entry(text).or_insert(next);
        if place == next {
            self.texts.push(text);
        }
        self.content.uint(place);
    }

    fn labels(&mut self, labels: &'a Labels) {
        self.content.len(labels.len());
        for (name, value) in labels.iter() {
            self.text(name);
            self.text(value);
        }
    }

    fn finish(mut self, out: &mut Writer) {
        out.texts(self.texts.iter().copied());
        out.bytes.append(&mut self.content.bytes);
    }
}

pub(super) fn encode_points(points: &PointSet, out: &mut Writer) {
    let mut table = Table::default();
    table.content.len(points.groups.len());
    for (group, buckets) in &points.groups {
        table.labels(group);
        table.content.len(buckets.len());
        for (index, bucket) in buckets.iter() {
            table.content.uint(u64::from(*index));
            table.content.wide(bucket.sum);
            table.content.uint(bucket.count);
            table.content.len(bucket.annotations.len());
            for (key, value) in &bucket.annotations {
                // In full: each bucket owns its texts, so that references would let few bytes make many.
                table.content.text(key);
                table.content.text(value);
            }
        }
    }
    table.finish(out);
}

pub(super) fn encode_types(types: &BTreeSet<ProfileType>, out: &mut Writer) {
    let mut table = Table::default();
    table.content.len(types.len());
    for ProfileType { name, sample_type, sample_unit, period_type, period_unit } in types {
        for part in [name, sample_type, sample_unit, period_type, period_unit] {
            table.text(part);
        }
    }
    table.finish(out);
}

pub(super) fn encode_series(series: &BTreeSet<Labels>, out: &mut Writer) {
    let mut table = Table::default();
    table.content.len(series.len());
    series.iter().for_each(|labels| table.labels(labels));
    table.finish(out);
}

/// A table of texts that label sets share.
struct Shared(Vec<Arc<str>>);

impl Shared {
    fn read(from: &mut Reader<'_>) -> Result<Self, InvalidAnswer> {
        Ok(Self(from.texts()?.iter().map(Arc::from).collect()))
    }

    fn text(&self, from: &mut Reader<'_>) -> Result<Arc<str>, InvalidAnswer> {
        from.index(self.0.len()).map(|at| Arc::clone(&self.0[at]))
    }

    fn labels(&self, from: &mut Reader<'_>) -> Result<Labels, InvalidAnswer> {
        let count = from.count(2)?;
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            labels.push(Label { name: self.text(from)?, value: self.text(from)? });
        }
        if !labels.is_sorted_by(|a, b| a.name < b.name) {
            return Err(from.error("labels are not sorted"));
        }
        Ok(Labels::from_sorted(labels))
    }
}

pub(super) fn decode_points(from: &mut Reader<'_>) -> Result<PointSet, InvalidAnswer> {
    let shared = Shared::read(from)?;
    let mut points = PointSet::default();
    for _ in 0..from.count(2)? {
        let group = shared.labels(from)?;
        let count = from.count(5)?;
        let mut buckets = Vec::with_capacity(count);
        for _ in 0..count {
            let index = u32::try_from(from.uint()?).map_err(|_| from.error("no such step"))?;
            buckets.push((index, bucket(from)?));
        }
        if !buckets.is_sorted_by(|(one, _), (two, _)| one < two) {
            return Err(from.error("steps are not sorted"));
        }
        points.groups.insert(group, buckets.into_iter().collect());
    }
    Ok(points)
}

fn bucket(from: &mut Reader<'_>) -> Result<Bucket, InvalidAnswer> {
    let (sum, count) = (from.wide()?, from.uint()?);
    let mut annotations = BTreeSet::new();
    for _ in 0..from.count(2)? {
        annotations.insert((from.text()?.to_owned(), from.text()?.to_owned()));
    }
    Ok(Bucket { sum, count, annotations })
}

pub(super) fn decode_types(from: &mut Reader<'_>) -> Result<BTreeSet<ProfileType>, InvalidAnswer> {
    let shared = Shared::read(from)?;
    let mut types = BTreeSet::new();
    for _ in 0..from.count(5)? {
        types.insert(ProfileType {
            name: shared.text(from)?,
            sample_type: shared.text(from)?,
            sample_unit: shared.text(from)?,
            period_type: shared.text(from)?,
            period_unit: shared.text(from)?,
        });
    }
    Ok(types)
}

pub(super) fn decode_series(from: &mut Reader<'_>) -> Result<BTreeSet<Labels>, InvalidAnswer> {
    let shared = Shared::read(from)?;
    let mut series = BTreeSet::new();
    for _ in 0..from.count(1)? {
        series.insert(shared.labels(from)?);
    }
    Ok(series)
}
