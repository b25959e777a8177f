//! Counts what a selector selects, by service and type, exactly: what a deletion would take.

use hearth_common::{TimeRange, TimestampNs};
use hearth_model::tally::{Counted, Tally};
use hearth_model::{Answer, Selector, View};

use super::fetch::{Fetched, Wanted};
use super::hidden::{HiddenOfRun, HiddenRows, any_has};
use super::meta::Meta;
use super::plan::overlaps;
use super::rows::{Column, Table, decoder};
use crate::error::BlockError;
use crate::meta::datasets::{Dataset, Run};
use crate::write::profiles::column;

/// A run that has selected rows, or may have.
struct Chosen<'m> {
    dataset: &'m Dataset,
    run: &'m Run,
    /// Selected series, ascending.
    series: Vec<u32>,
    hidden: HiddenOfRun,
    whole: bool,
}

fn chosen<'m>(meta: &'m Meta, range: TimeRange, selector: &Selector, hidden: &HiddenRows) -> Vec<Chosen<'m>> {
    let mut found = Vec::new();
    for dataset in &meta.datasets {
        let ty = dataset.ty as usize;
        let matches = |id: &&u32| {
            let labels = &meta.series[**id as usize].labels;
            View { labels, ty: &meta.types[ty], type_id: &meta.type_ids[ty] }.matches(selector)
        };
        let runs = dataset.slices.iter().flat_map(|slice| &slice.runs);
        for run in runs.filter(|run| overlaps(range, run)) {
            let mut series: Vec<u32> = run.series.iter().filter(matches).copied().collect();
            let hidden = hidden.of_run(meta, ty, run, &series);
            series.retain(|series| !hidden.hides_all_of(*series));
            if series.is_empty() {
                continue;
            }
            let span = TimeRange { start: TimestampNs(run.min_time), end: TimestampNs(run.max_time) };
            let whole = series.len() == run.series.len() && range.covers(span) && !hidden.needs_rows();
            found.push(Chosen { dataset, run, series, hidden, whole });
        }
    }
    found
}

/// Adds the columns that tell how many rows of a run are selected, where that is not known.
pub(super) fn want(
    meta: &Meta,
    range: TimeRange,
    selector: &Selector,
    hidden: &HiddenRows,
    wanted: &mut Wanted,
) {
    let columns = &[column::TIME, column::SERIES, column::SAMPLES];
    for chosen in chosen(meta, range, selector, hidden).iter().filter(|chosen| !chosen.whole) {
        Table::profiles(meta).want(columns, &chosen.run.profile_rows(), wanted);
    }
}

/// The count.
pub(super) fn answer(
    meta: &Meta,
    range: TimeRange,
    selector: &Selector,
    hidden: &HiddenRows,
    fetched: &Fetched,
) -> Result<Answer, BlockError> {
    let table = Table::profiles(meta);
    let mut times = Column::<i64>::new(table, column::TIME, fetched);
    let mut series = Column::<u32>::new(table, column::SERIES, fetched);
    let mut samples = Column::<u32>::new(table, column::SAMPLES, fetched);
    let mut decoder = decoder()?;
    let mut tally = Tally::default();
    for Chosen { dataset, run, series: selected, hidden, whole } in chosen(meta, range, selector, hidden) {
        let mut counted = Counted::default();
        if whole {
            counted.add_rows(run.profiles, run.samples);
            counted.see(TimestampNs(run.min_time), TimestampNs(run.max_time));
        } else {
            for (page, part, _) in table.parts(run.profile_rows()) {
                let times = &times.page(page, &mut decoder)?[part.clone()];
                let series = &series.page(page, &mut decoder)?[part.clone()];
                let samples = &samples.page(page, &mut decoder)?[part];
                for ((&time, series), &samples) in times.iter().zip(series).zip(samples) {
                    let at = TimestampNs(time);
                    let is_selected = range.contains(at) && selected.binary_search(series).is_ok();
                    if is_selected && !any_has(hidden.times_of(*series), time) {
                        counted.add_rows(1, u64::from(samples));
                        counted.see(at, at);
                    }
                }
            }
        }
        if counted.profiles > 0 {
            let bytes =
                Table::samples(meta).bytes_of(&run.sample_rows()) + table.bytes_of(&run.profile_rows());
            let share = u128::from(bytes) * u128::from(counted.samples) / u128::from(run.samples.max(1));
            counted.bytes = u64::try_from(share).unwrap_or(u64::MAX);
            let service = &meta.units[dataset.unit as usize].service;
            tally.add(service, &meta.types[dataset.ty as usize], counted);
        }
    }
    tally.blocks = u64::from(!tally.counted.is_empty());
    Ok(Answer::Tally(tally))
}
