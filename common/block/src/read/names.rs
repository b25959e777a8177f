//! Questions about what there is: types, label names and values, series, times, estimates.

use std::collections::BTreeSet;
use std::ops::Range;

use hashbrown::HashSet;
use hearth_common::{TimeRange, TimestampNs};
use hearth_model::question::{Estimate, Stats};
use hearth_model::{Answer, Question, Selector};

use super::fetch::{Fetched, Wanted};
use super::meta::Meta;
use super::plan::overlaps;
use super::rows::{Column, Table, decoder};
use super::select::View;
use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::meta::datasets::{Dataset, Run};
use crate::write::profiles::column;

/// Runs of all datasets that share a time with the range.
fn runs(meta: &Meta, range: Option<TimeRange>) -> impl Iterator<Item = (&Dataset, &Run)> {
    let each = meta
        .datasets
        .iter()
        .flat_map(|d| d.slices.iter().flat_map(move |s| s.runs.iter().map(move |r| (d, r))));
    each.filter(move |(_, run)| range.is_none_or(|range| overlaps(range, run)))
}

/// Whether only the profile rows of a run can tell which of its series have profiles in the range.
fn is_cut(range: Option<TimeRange>, run: &Run) -> bool {
    range.is_some_and(|range| range.start.0 > run.min_time || range.end.0 < run.max_time)
}

/// Adds the times and series of profiles in runs that the range cuts.
pub(crate) fn want(meta: &Meta, range: Option<TimeRange>, wanted: &mut Wanted) {
    for (_, run) in runs(meta, range).filter(|(_, run)| is_cut(range, run)) {
        Table::profiles(meta).want(&[column::TIME, column::SERIES], &run.profile_rows(), wanted);
    }
}

/// Calls `each` for every (type, series) that has a profile in the range; may repeat some.
fn each_series(
    meta: &Meta,
    range: Option<TimeRange>,
    fetched: &Fetched,
    mut each: impl FnMut(u32, u32),
) -> Result<(), BlockError> {
    let table = Table::profiles(meta);
    let mut times = Column::<i64>::new(table, column::TIME, fetched);
    let mut series = Column::<u32>::new(table, column::SERIES, fetched);
    let mut decoder = decoder()?;
    for (dataset, run) in runs(meta, range) {
        let Some(range) = range.filter(|_| is_cut(range, run)) else {
            run.series.iter().for_each(|&series| each(dataset.ty, series));
            continue;
        };
        let mut last = u32::MAX;
        for (page, part, _) in table.parts(run.profile_rows()) {
            let times = &times.page(page, &mut decoder)?[part.clone()];
            let series = &series.page(page, &mut decoder)?[part];
            for (&time, &series) in times.iter().zip(series) {
                if series != last
                    && range.contains(TimestampNs(time))
                    && run.series.binary_search(&series).is_ok()
                {
                    last = series;
                    each(dataset.ty, series);
                }
            }
        }
    }
    Ok(())
}

/// Answers the questions about names.
pub(crate) fn answer(meta: &Meta, question: &Question, fetched: &Fetched) -> Result<Answer, BlockError> {
    let range = question.range();
    let view = |ty: u32, series: u32| View {
        labels: &meta.series[series as usize].labels,
        ty: &meta.types[ty as usize],
        type_id: &meta.type_ids[ty as usize],
    };
    match question {
        Question::ProfileTypes { .. } => {
            let mut found = BTreeSet::new();
            each_series(meta, range, fetched, |ty, _| _ = found.insert(ty))?;
            Ok(Answer::ProfileTypes(found.into_iter().map(|ty| meta.types[ty as usize].clone()).collect()))
        }
        Question::LabelNames { matchers, .. } => label_names(meta, range, matchers, fetched),
        Question::LabelValues { name, matchers, .. } => {
            let mut found: HashSet<&str> = HashSet::new();
            each_series(meta, range, fetched, |ty, series| {
                let view = view(ty, series);
                if let Some(value) =
                    view.get(name).filter(|value| !value.is_empty() && !found.contains(value))
                    && view.matches_any(matchers)
                {
                    found.insert(value);
                }
            })?;
            Ok(Answer::Names(found.into_iter().map(str::to_owned).collect()))
        }
        Question::Series { matchers, label_names, .. } => {
            let mut found = BTreeSet::new();
            let mut seen: HashSet<Vec<Option<&str>>> = HashSet::new();
            each_series(meta, range, fetched, |ty, series| {
                let view = view(ty, series);
                if !view.matches_any(matchers) {
                    return;
                }
                if label_names.is_empty() {
                    found.insert(view.labels.with_type(view.ty));
                } else if seen.insert(label_names.iter().map(|name| view.get(name)).collect()) {
                    found.insert(view.project(label_names));
                }
            })?;
            Ok(Answer::Series(found))
        }
        // The other questions are about profiles and have their own answers.
        _ => Ok(Answer::empty(question)),
    }
}

fn label_names(
    meta: &Meta,
    range: Option<TimeRange>,
    matchers: &[Selector],
    fetched: &Fetched,
) -> Result<Answer, BlockError> {
    use hearth_model::labels::{PERIOD_TYPE, PERIOD_UNIT, PROFILE_TYPE, SERVICE_NAME_COPY, TYPE, UNIT};
    let derived = [PROFILE_TYPE, TYPE, UNIT, PERIOD_TYPE, PERIOD_UNIT, SERVICE_NAME_COPY];
    let mut found: HashSet<&str> = HashSet::new();
    each_series(meta, range, fetched, |ty, series| {
        let (labels, ty_at) = (&meta.series[series as usize].labels, ty as usize);
        let view = View { labels, ty: &meta.types[ty_at], type_id: &meta.type_ids[ty_at] };
        if view.matches_any(matchers) {
            let sent = labels.iter().map(|(name, _)| name);
            found.extend(sent.chain(derived).filter(|name| view.get(name).is_some()));
        }
    })?;
    Ok(Answer::Names(found.into_iter().map(str::to_owned).collect()))
}

/// Oldest and newest profile.
pub(crate) fn stats(entry: &BlockEntry) -> Answer {
    Answer::Stats(Stats { oldest_newest: Some((entry.min_time, entry.max_time)) })
}

/// What a query over a range and some series would read: whole runs, from the index alone.
pub(crate) fn estimate(meta: &Meta, entry: &BlockEntry, range: TimeRange, selector: &Selector) -> Answer {
    let mut found = Estimate::default();
    let (mut series, mut units) = (HashSet::new(), BTreeSet::new());
    for (dataset, run) in runs(meta, Some(range)) {
        let ty = dataset.ty as usize;
        let before = series.len();
        let matching = run.series.iter().filter(|&&id| {
            let labels = &meta.series[id as usize].labels;
            View { labels, ty: &meta.types[ty], type_id: &meta.type_ids[ty] }.matches(selector)
        });
        let matching: Vec<u32> = matching.copied().collect();
        if matching.is_empty() {
            continue;
        }
        series.extend(matching.iter().copied());
        // Of a run whose series do not all match, a share by number of series.
        let share = |count: u64| count * matching.len() as u64 / run.series.len().max(1) as u64;
        // A profile has a row for each of its types: count it with the first type that names its series.
        if series.len() > before {
            found.profiles += share(run.profiles);
        }
        found.samples += share(run.samples);
        let bytes = |table: Table<'_>, rows: Range<u64>| table.bytes_of(&rows);
        found.profile_bytes += bytes(Table::profiles(meta), run.profile_rows());
        found.profile_bytes += bytes(Table::samples(meta), run.sample_rows());
        units.insert(dataset.unit);
    }
    if units.is_empty() {
        return Answer::Estimate(found);
    }
    found.blocks = 1;
    found.series = series.len() as u64;
    found.symbol_bytes = units.iter().map(|&unit| meta.symbol_bytes(unit)).sum();
    let index = entry.object(crate::INDEX).map_or(0, |object| object.bytes);
    let symbols: u64 = (0..meta.units.len() as u32).map(|unit| meta.symbol_bytes(unit)).sum();
    found.index_bytes = index.saturating_sub(symbols);
    Answer::Estimate(found)
}
