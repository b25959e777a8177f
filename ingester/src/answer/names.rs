//! Questions about what there is: types, label names and values, series, times, estimates.

use std::collections::BTreeSet;
use std::sync::Arc;

use hearth_common::TimeRange;
use hearth_model::question::{Estimate, Stats};
use hearth_model::{Answer, Question, Selector, View};

use super::rows_in;
use crate::head::{Filter, Share, Unit, UnitView, admitted, span};

/// Most types of a unit for which chunks know which they hold.
const TYPES_KNOWN: usize = 64;

/// Answers all questions that are not about stacks or totals.
pub(crate) fn answer(question: &Question, units: &[Arc<Unit>], filter: &Filter) -> Answer {
    let range = question.range();
    match question {
        Question::ProfileTypes { .. } => {
            let mut found = BTreeSet::new();
            each_series(units, range, filter, |view| _ = found.insert(view.ty.clone()));
            Answer::ProfileTypes(found)
        }
        Question::LabelNames { matchers, .. } => {
            let mut found: BTreeSet<String> = BTreeSet::new();
            each_series(units, range, filter, |view| {
                if view.matches_any(matchers) {
                    for name in view.names() {
                        if !found.contains(name) {
                            found.insert(name.to_owned());
                        }
                    }
                }
            });
            Answer::Names(found)
        }
        Question::LabelValues { name, matchers, .. } => {
            let mut found: BTreeSet<String> = BTreeSet::new();
            each_series(units, range, filter, |view| {
                if let Some(value) =
                    view.get(name).filter(|value| !value.is_empty() && !found.contains(*value))
                    && view.matches_any(matchers)
                {
                    found.insert(value.to_owned());
                }
            });
            Answer::Names(found)
        }
        Question::Series { matchers, label_names, .. } => {
            let mut found = BTreeSet::new();
            each_series(units, range, filter, |view| {
                if view.matches_any(matchers) {
                    found.insert(match label_names.is_empty() {
                        true => view.labels.with_type(view.ty),
                        false => view.project(label_names),
                    });
                }
            });
            Answer::Series(found)
        }
        Question::Stats => Answer::Stats(stats(units, filter)),
        Question::Estimate { range, selector } => Answer::Estimate(estimate(units, *range, selector, filter)),
        // The other questions are about profiles and have their own answers.
        question => Answer::empty(question),
    }
}

/// Calls `each` for every (series, type) that has an admitted profile in the range.
fn each_series(
    units: &[Arc<Unit>],
    range: Option<TimeRange>,
    filter: &Filter,
    mut each: impl FnMut(View<'_>),
) {
    for unit in units {
        let view = unit.view(false, |_| true);
        for at in 0..view.series.len() {
            for ty in types_present(&view, at, range, filter) {
                let own = &view.types[ty as usize];
                each(View { labels: &view.series[at].labels, ty: &own.ty, type_id: &own.id });
            }
        }
    }
}

/// The types of which a series has an admitted profile in the range.
fn types_present(view: &UnitView, series: usize, range: Option<TimeRange>, filter: &Filter) -> BTreeSet<u32> {
    let range = range.unwrap_or(TimeRange::ALL);
    let mut found = BTreeSet::new();
    let hides = view.hides(&view.series[series], filter);
    for chunk in &view.series[series].chunks {
        let whole = range.covers(span(&chunk.meta))
            && filter.share(&chunk.meta) == Share::All
            && !hides.touches(&chunk.meta);
        if whole && view.types.len() <= TYPES_KNOWN {
            let has = |at: &u32| chunk.meta.types >> at & 1 == 1;
            found.extend((0..view.types.len() as u32).filter(has));
            continue;
        }
        for row in rows_in(chunk, range, filter) {
            found.extend(view.columns(&row, &hides).map(|(_, ty)| ty));
        }
    }
    found
}

fn stats(units: &[Arc<Unit>], filter: &Filter) -> Stats {
    let mut found = Stats::default();
    for unit in units {
        let view = unit.view(false, |_| true);
        for series in &view.series {
            let hides = view.hides(series, filter);
            for chunk in &series.chunks {
                if filter.share(&chunk.meta) == Share::All && !hides.touches(&chunk.meta) {
                    found.merge(Stats { oldest_newest: Some((chunk.meta.min_time, chunk.meta.max_time)) });
                    continue;
                }
                for row in admitted(chunk, filter).filter(|row| view.has_column(row, &hides)) {
                    found.merge(Stats { oldest_newest: Some((row.head.time, row.head.time)) });
                }
            }
        }
    }
    found
}

fn estimate(units: &[Arc<Unit>], range: TimeRange, selector: &Selector, filter: &Filter) -> Estimate {
    let mut found = Estimate::default();
    for unit in units {
        let view = unit.view(false, |_| true);
        let series_before = found.series;
        for at in 0..view.series.len() {
            let series = &view.series[at];
            let matching: Vec<u32> = types_present(&view, at, Some(range), filter)
                .into_iter()
                .filter(|ty| {
                    let own = &view.types[*ty as usize];
                    View { labels: &series.labels, ty: &own.ty, type_id: &own.id }.matches(selector)
                })
                .collect();
            if matching.is_empty() {
                continue;
            }
            found.series += 1;
            found.index_bytes += series.labels.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() as u64;
            for chunk in series.chunks.iter().filter(|chunk| range.overlaps(span(&chunk.meta))) {
                found.profile_bytes += chunk.bytes.len() as u64;
                for row in rows_in(chunk, range, filter) {
                    let types = &view.type_sets[row.head.type_set as usize];
                    let own = types.iter().enumerate().filter(|(_, ty)| matching.contains(ty));
                    let samples: u64 = own.map(|(column, _)| row.total(column).1).sum();
                    found.samples += samples;
                    found.profiles += u64::from(samples > 0);
                }
            }
        }
        if found.series > series_before {
            found.symbol_bytes += view.symbol_bytes as u64;
        }
    }
    found.blocks = u64::from(found.series > 0);
    found
}
