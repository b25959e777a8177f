//! Datasets: for each (type, service) its slices and runs, with the rows that they have in the tables.

use std::ops::Range;

use crate::codec::{CodecResult, Cursor, put_varint, put_varint128, unzigzag, zigzag};

/// Some profile of the dataset has annotations.
pub(crate) const HAS_ANNOTATIONS: u64 = 1;

/// The profiles of one (type, service).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dataset {
    /// Index of the type.
    pub(crate) ty: u32,
    /// Index of the unit.
    pub(crate) unit: u32,
    pub(crate) flags: u64,
    pub(crate) slices: Vec<Slice>,
}

/// The profiles of one time range of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) runs: Vec<Run>,
    /// Rows in `spans.parquet`.
    pub(crate) first_span: u64,
    pub(crate) spans: u64,
}

/// Consecutive series of a slice; their samples are sorted by stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Earliest and latest profile, nanoseconds.
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    /// Ids of its series, ascending.
    pub(crate) series: Vec<u32>,
    pub(crate) first_profile: u64,
    pub(crate) profiles: u64,
    pub(crate) first_sample: u64,
    pub(crate) samples: u64,
    /// Sum of all values.
    pub(crate) total: u128,
}

impl Run {
    pub(crate) fn profile_rows(&self) -> Range<u64> {
        self.first_profile..self.first_profile + self.profiles
    }

    pub(crate) fn sample_rows(&self) -> Range<u64> {
        self.first_sample..self.first_sample + self.samples
    }
}

impl Slice {
    pub(crate) fn span_rows(&self) -> Range<u64> {
        self.first_span..self.first_span + self.spans
    }
}

/// Encodes datasets; what follows from the counts before (first rows) is not stored.
pub(crate) fn put_datasets(datasets: &[Dataset]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(datasets.len() as u64, &mut out);
    let mut before = 0i64;
    for dataset in datasets {
        put_varint(u64::from(dataset.ty), &mut out);
        put_varint(u64::from(dataset.unit), &mut out);
        put_varint(dataset.flags, &mut out);
        put_varint(dataset.slices.len() as u64, &mut out);
        for slice in &dataset.slices {
            put_varint(slice.spans, &mut out);
            put_varint(slice.runs.len() as u64, &mut out);
            for run in &slice.runs {
                put_varint(zigzag(run.min_time.wrapping_sub(before)), &mut out);
                before = run.min_time;
                put_varint(run.max_time.wrapping_sub(run.min_time) as u64, &mut out);
                put_varint(run.profiles, &mut out);
                put_varint(run.samples, &mut out);
                put_varint128(run.total, &mut out);
                put_varint(run.series.len() as u64, &mut out);
                let mut series_before = 0;
                for series in &run.series {
                    put_varint(u64::from(series - series_before), &mut out);
                    series_before = *series;
                }
            }
        }
    }
    out
}

/// Decodes datasets and checks their references.
pub(crate) fn take_datasets(
    bytes: &[u8],
    types: usize,
    units: usize,
    series: usize,
) -> CodecResult<Vec<Dataset>> {
    let mut cursor = Cursor::new(bytes);
    let mut datasets = Vec::new();
    let mut at = Running::default();
    for _ in 0..cursor.count()? {
        let mut dataset = Dataset {
            ty: cursor.varint_u32()?,
            unit: cursor.varint_u32()?,
            flags: cursor.varint()?,
            slices: Vec::new(),
        };
        if dataset.ty as usize >= types || dataset.unit as usize >= units {
            return Err(format!(
                "a dataset has type {} of {types}, unit {} of {units}",
                dataset.ty, dataset.unit
            ));
        }
        for _ in 0..cursor.count()? {
            let spans = cursor.varint()?;
            let mut slice = Slice { runs: Vec::new(), first_span: at.span, spans };
            at.span = add(at.span, spans)?;
            for _ in 0..cursor.count()? {
                slice.runs.push(take_run(&mut cursor, &mut at, series)?);
            }
            dataset.slices.push(slice);
        }
        datasets.push(dataset);
    }
    cursor.end()?;
    Ok(datasets)
}

#[derive(Default)]
struct Running {
    time: i64,
    profile: u64,
    sample: u64,
    span: u64,
}

fn add(a: u64, b: u64) -> CodecResult<u64> {
    a.checked_add(b).filter(|&sum| sum < 1 << 62).ok_or_else(|| "a count of rows is too large".to_owned())
}

fn take_run(cursor: &mut Cursor<'_>, at: &mut Running, series: usize) -> CodecResult<Run> {
    let min_time = at.time.wrapping_add(unzigzag(cursor.varint()?));
    at.time = min_time;
    let mut run = Run {
        min_time,
        max_time: min_time.wrapping_add(cursor.varint()? as i64),
        series: Vec::new(),
        first_profile: at.profile,
        profiles: cursor.varint()?,
        first_sample: at.sample,
        samples: cursor.varint()?,
        total: cursor.varint128()?,
    };
    at.profile = add(at.profile, run.profiles)?;
    at.sample = add(at.sample, run.samples)?;
    let count = cursor.count()?;
    run.series.reserve(count);
    let mut id = 0u32;
    for _ in 0..count {
        id = id
            .checked_add(cursor.varint_u32()?)
            .filter(|&id| (id as usize) < series)
            .ok_or("a run has an unknown series")?;
        run.series.push(id);
    }
    if run.max_time < run.min_time || at.profile > u64::from(u32::MAX) {
        return Err("a run has an impossible time range or number of profiles".to_owned());
    }
    Ok(run)
}
