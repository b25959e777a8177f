//! Answers questions from heads: the same answers, by the same rules, that blocks of the same profiles give.
//!
//! Must not know: which rows are published (the [`Filter`] says it), the log, requests.

mod names;
mod points;
mod stacks;
mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use hearth_common::TimeRange;
use hearth_model::{Answer, AnswerError, NameTree, PprofMerge, ProfileQuery, Question, View, labels};

use crate::head::{Chunk, Filter, Head, Hides, Row, Unit, UnitView, admitted, span};
use stacks::{PprofBuilder, TreeBuilder};

/// From this many bytes of heads on, two threads answer a question about stacks.
const PARALLEL_BYTES: u64 = 8 << 20;

/// Answers from all admitted rows of some heads. CPU only; never waits but for a unit's short lock.
pub(crate) fn answer(
    question: &Question,
    heads: &[Arc<Head>],
    filter: &Filter,
) -> Result<Answer, AnswerError> {
    let units: Vec<Arc<Unit>> = heads.iter().flat_map(|head| head.units()).collect();
    let bytes: u64 = heads.iter().map(|head| head.sizes().bytes).sum();
    match question {
        Question::Tree(query) => in_two(units, bytes, NameTree::merge, |units| {
            let mut builder = TreeBuilder::default();
            each_view(query, &units, true, |view, ty| builder.add(query, &view, ty, filter))?;
            builder.finish()
        })
        .map(Answer::Tree),
        Question::Pprof(query) => in_two(units, bytes, PprofMerge::merge, |units| {
            let mut builder = PprofBuilder::default();
            each_view(query, &units, true, |view, ty| builder.add(query, &view, ty, filter))?;
            builder.finish()
        })
        .map(Answer::Pprof),
        Question::Points { query, group_by, grid } => {
            let with_stacks = !query.call_site.is_empty();
            let mut points = points::Points::new(group_by, *grid);
            each_view(query, &units, with_stacks, |view, ty| points.add(query, &view, ty, filter))?;
            Ok(Answer::Points(points.finish()))
        }
        Question::Tally { range, selector } => {
            Ok(Answer::Tally(tally::answer(&units, *range, selector, filter)))
        }
        question => Ok(names::answer(question, &units, filter)),
    }
}

/// Gives each of two threads half of the units when there is much to do.
fn in_two<T: Send>(
    units: Vec<Arc<Unit>>,
    bytes: u64,
    merge: impl FnOnce(&mut T, &T) -> Result<(), AnswerError>,
    work: impl Fn(Vec<Arc<Unit>>) -> Result<T, AnswerError> + Sync,
) -> Result<T, AnswerError> {
    if bytes < PARALLEL_BYTES || units.len() < 2 {
        return work(units);
    }
    let (even, odd): (Vec<_>, Vec<_>) = units.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let strip = |units: Vec<(usize, Arc<Unit>)>| units.into_iter().map(|(_, unit)| unit).collect::<Vec<_>>();
    let (even, odd) = (strip(even), strip(odd));
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(odd));
        (work(even), other.join())
    });
    let two = two.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let mut one = one?;
    merge(&mut one, &two?)?;
    Ok(one)
}

/// Calls `each` with every unit that may have rows for a query: its matching series, and the number of the type in it.
fn each_view(
    query: &ProfileQuery,
    units: &[Arc<Unit>],
    symbols: bool,
    mut each: impl FnMut(UnitView, u32) -> Result<(), AnswerError>,
) -> Result<(), AnswerError> {
    let type_id = query.profile_type.id();
    for unit in units {
        let selector = &query.selector;
        let service_fits = selector.admits(labels::SERVICE_NAME, &unit.service)
            && selector.admits(labels::SERVICE_NAME_COPY, &unit.service);
        if unit.name != query.profile_type.name || !service_fits || !unit.has_type(&query.profile_type) {
            continue;
        }
        let ty = &query.profile_type;
        let view =
            unit.view(symbols, |labels| View { labels, ty, type_id: &type_id }.matches(&query.selector));
        if let Some(ty) = view.find_type(ty).filter(|_| !view.series.is_empty()) {
            each(view, ty)?;
        }
    }
    Ok(())
}

/// The columns of a row that are of the type and have values.
fn columns<'v>(view: &'v UnitView, row: &Row<'v>, ty: u32) -> impl Iterator<Item = usize> + use<'v> {
    let types = view.type_sets.get(row.head.type_set as usize).map_or(&[][..], Vec::as_slice);
    let row = *row;
    types.iter().enumerate().filter(move |(at, own)| **own == ty && row.total(*at).1 > 0).map(|(at, _)| at)
}

/// The rows of a chunk in a range whose places a filter admits.
fn rows_in<'c>(chunk: &'c Chunk, range: TimeRange, filter: &'c Filter) -> impl Iterator<Item = Row<'c>> {
    let overlaps = range.overlaps(span(&chunk.meta));
    let all = range.covers(span(&chunk.meta));
    let rows = overlaps.then(|| admitted(chunk, filter)).into_iter().flatten();
    rows.filter(move |row| all || range.contains(row.head.time))
}

/// The rows of a chunk that a query selects, apart from their series.
fn selected<'c>(
    chunk: &'c Chunk,
    query: &'c ProfileQuery,
    filter: &'c Filter,
    hides: &'c Hides<'c>,
) -> impl Iterator<Item = Row<'c>> {
    let ids = &query.profile_ids;
    rows_in(chunk, query.range, filter)
        .filter(move |row| !hides.has(&row.head) && (ids.is_empty() || ids.contains(&row.head.rid.0)))
}
