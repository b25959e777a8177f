//! Questions about what there is: types, label names and values, series, times.

use std::collections::BTreeSet;

use hashbrown::HashSet;
use hearth_common::{TimeRange, TimestampNs};
use hearth_model::question::Stats;
use hearth_model::{Answer, Question, Selector, View};

use super::fetch::{Fetched, Wanted};
use super::hidden::{HiddenOfRun, HiddenRows, any_has};
use super::meta::Meta;
use super::plan::overlaps;
use super::rows::{Column, Table, decoder};
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

/// Whether a range holds a part of a run only.
fn is_cut(range: Option<TimeRange>, run: &Run) -> bool {
    range.is_some_and(|range| range.start.0 > run.min_time || range.end.0 < run.max_time)
}

/// What is hidden of a run; nothing is looked at when nothing is hidden.
fn hidden_of(meta: &Meta, hidden: &HiddenRows, dataset: &Dataset, run: &Run) -> HiddenOfRun {
    match hidden.is_empty() {
        true => HiddenOfRun::default(),
        false => hidden.of_run(meta, dataset.ty as usize, run, &run.series),
    }
}

/// Adds the times and series of profiles in runs of which only the rows can tell which series are there: the range cuts
/// them, or some of their rows are hidden.
pub(crate) fn want(meta: &Meta, range: Option<TimeRange>, hidden: &HiddenRows, wanted: &mut Wanted) {
    for (dataset, run) in runs(meta, range) {
        if is_cut(range, run) || !hidden_of(meta, hidden, dataset, run).is_empty() {
            Table::profiles(meta).want(&[column::TIME, column::SERIES], &run.profile_rows(), wanted);
        }
    }
}

/// What is there of a run.
enum There {
    /// The run as a whole.
    Run,
    /// A profile of a series, at a time.
    Row(u32, i64),
}

/// Calls `each` for every run that is there as a whole, and for every row in the range of the others.
fn each_there(
    meta: &Meta,
    range: Option<TimeRange>,
    hidden: &HiddenRows,
    fetched: &Fetched,
    mut each: impl FnMut(&Dataset, &Run, There),
) -> Result<(), BlockError> {
    let table = Table::profiles(meta);
    let mut times = Column::<i64>::new(table, column::TIME, fetched);
    let mut series = Column::<u32>::new(table, column::SERIES, fetched);
    let mut decoder = decoder()?;
    for (dataset, run) in runs(meta, range) {
        let of_run = hidden_of(meta, hidden, dataset, run);
        if !is_cut(range, run) && of_run.is_empty() {
            each(dataset, run, There::Run);
            continue;
        }
        let range = range.unwrap_or(TimeRange::ALL);
        let mut last = (u32::MAX, false, &[][..]);
        for (page, part, _) in table.parts(run.profile_rows()) {
            let times = &times.page(page, &mut decoder)?[part.clone()];
            let series = &series.page(page, &mut decoder)?[part];
            for (&time, &series) in times.iter().zip(series) {
                if series != last.0 {
                    let known = run.series.binary_search(&series).is_ok();
                    last = (series, known && !of_run.hides_all_of(series), of_run.times_of(series));
                }
                if last.1 && range.contains(TimestampNs(time)) && !any_has(last.2, time) {
                    each(dataset, run, There::Row(series, time));
                }
            }
        }
    }
    Ok(())
}

/// Calls `each` for every (type, series) that has a profile in the range; may repeat some.
fn each_series(
    meta: &Meta,
    range: Option<TimeRange>,
    hidden: &HiddenRows,
    fetched: &Fetched,
    mut each: impl FnMut(u32, u32),
) -> Result<(), BlockError> {
    let mut last = (u32::MAX, u32::MAX);
    each_there(meta, range, hidden, fetched, |dataset, run, there| match there {
        There::Run => run.series.iter().for_each(|&series| each(dataset.ty, series)),
        There::Row(series, _) if last == (dataset.ty, series) => {}
        There::Row(series, _) => {
            last = (dataset.ty, series);
            each(dataset.ty, series);
        }
    })
}

/// Answers the questions about names.
pub(crate) fn answer(
    meta: &Meta,
    question: &Question,
    hidden: &HiddenRows,
    fetched: &Fetched,
) -> Result<Answer, BlockError> {
    let range = question.range();
    let view = |ty: u32, series: u32| View {
        labels: &meta.series[series as usize].labels,
        ty: &meta.types[ty as usize],
        type_id: &meta.type_ids[ty as usize],
    };
    match question {
        Question::ProfileTypes { .. } => {
            let mut found = BTreeSet::new();
            each_series(meta, range, hidden, fetched, |ty, _| _ = found.insert(ty))?;
            Ok(Answer::ProfileTypes(found.into_iter().map(|ty| meta.types[ty as usize].clone()).collect()))
        }
        Question::LabelNames { matchers, .. } => label_names(meta, range, matchers, hidden, fetched),
        Question::LabelValues { name, matchers, .. } => {
            let mut found: HashSet<&str> = HashSet::new();
            each_series(meta, range, hidden, fetched, |ty, series| {
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
            each_series(meta, range, hidden, fetched, |ty, series| {
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
    hidden: &HiddenRows,
    fetched: &Fetched,
) -> Result<Answer, BlockError> {
    let mut found: HashSet<&str> = HashSet::new();
    each_series(meta, range, hidden, fetched, |ty, series| {
        let (labels, ty_at) = (&meta.series[series as usize].labels, ty as usize);
        let view = View { labels, ty: &meta.types[ty_at], type_id: &meta.type_ids[ty_at] };
        if view.matches_any(matchers) {
            found.extend(view.names());
        }
    })?;
    Ok(Answer::Names(found.into_iter().map(str::to_owned).collect()))
}

/// Oldest and newest profile.
pub(crate) fn stats(
    meta: &Meta,
    entry: &BlockEntry,
    hidden: &HiddenRows,
    fetched: &Fetched,
) -> Result<Answer, BlockError> {
    if hidden.is_empty() {
        return Ok(Answer::Stats(Stats { oldest_newest: Some((entry.min_time, entry.max_time)) }));
    }
    let mut found = Stats::default();
    let span = |from, to| Stats { oldest_newest: Some((TimestampNs(from), TimestampNs(to))) };
    each_there(meta, None, hidden, fetched, |_, run, there| match there {
        There::Run => found.merge(span(run.min_time, run.max_time)),
        There::Row(_, time) => found.merge(span(time, time)),
    })?;
    Ok(Answer::Stats(found))
}
