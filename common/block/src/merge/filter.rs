//! Which rows of the inputs do not go into the output: deleted by a tombstone, or older than is kept.
//!
//! Reads times and series of those runs only that a rule can touch.

use hearth_common::{JournalId, Position, TimeRange, TimestampNs};
use hearth_model::{Selector, View};

use super::bits::Bits;
use super::error::{MergeError, OfBlock};
use super::window::{TableReader, copy};
use crate::input::SourceRange;
use crate::meta::datasets::{Dataset, Run};
use crate::read::rows::Table;
use crate::read::{BlockReader, Meta};
use crate::write::profiles::column;

/// Hides the profiles that a user has deleted.
#[derive(Debug, Clone)]
pub struct Tombstone {
    /// Which series.
    pub selector: Selector,
    /// Which times.
    pub range: TimeRange,
    /// Records up to these positions; the tombstone applies to a block all of whose sources lie within. (A block that was
    /// cut after the deletion has left them out already.)
    pub upto: Vec<(JournalId, Position)>,
}

impl Tombstone {
    /// Whether it applies to a block with these sources.
    pub fn covers(&self, sources: &[SourceRange]) -> bool {
        let within = |source: &SourceRange| {
            self.upto.iter().any(|(journal, upto)| *journal == source.journal && source.upto <= *upto)
        };
        !sources.is_empty() && sources.iter().all(within)
    }
}

/// Profiles of a selector are kept from a time on.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// Which series.
    pub selector: Selector,
    /// Profiles before this time go.
    pub before: TimestampNs,
}

/// What is left out.
#[derive(Debug, Clone, Default)]
pub struct RowFilter {
    /// Deletions.
    pub tombstones: Vec<Tombstone>,
    /// Retention: a profile goes if any of these says so.
    pub expiries: Vec<Expiry>,
}

/// A rule that applies to an input.
struct Rule<'f> {
    selector: &'f Selector,
    range: TimeRange,
    deletes: bool,
}

/// What the filter leaves of one input.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Profile rows that go.
    pub(super) dropped: Bits,
    pub(super) deleted: u64,
    pub(super) expired: u64,
    /// Units of the input that lose rows.
    pub(super) touched_units: Bits,
    /// Series that keep rows.
    pub(super) series: Bits,
    /// Profile rows that stay, by dataset.
    pub(super) rows: Vec<u64>,
    /// Earliest and latest of the rows that stay, by dataset.
    pub(super) times: Vec<(i64, i64)>,
}

impl Left {
    /// Applies a filter to an input.
    pub(super) async fn of(
        block: &BlockReader,
        filter: &RowFilter,
        window_bytes: u64,
    ) -> Result<Self, MergeError> {
        let meta = block.meta();
        let never = TimestampNs(i64::MIN);
        let deletions = filter.tombstones.iter().filter(|t| t.covers(&block.entry().sources));
        let deletions = deletions.map(|t| Rule { selector: &t.selector, range: t.range, deletes: true });
        let expiries = filter.expiries.iter().filter(|e| e.before > never).map(|e| Rule {
            selector: &e.selector,
            range: TimeRange { start: never, end: TimestampNs(e.before.0 - 1) },
            deletes: false,
        });
        let rules: Vec<Rule<'_>> = deletions.chain(expiries).collect();
        let mut left = Self::default();
        let columns = &[column::TIME, column::SERIES];
        let mut reader = TableReader::new(block, Table::profiles(meta), columns, window_bytes)?;
        for dataset in &meta.datasets {
            let (mut rows, mut times) = (0, (i64::MAX, i64::MIN));
            for run in dataset.slices.iter().flat_map(|slice| &slice.runs) {
                let rules: Vec<&Rule<'_>> =
                    rules.iter().filter(|rule| rule.touches(meta, dataset, run)).collect();
                if rules.is_empty() {
                    rows += run.profiles;
                    times = (times.0.min(run.min_time), times.1.max(run.max_time));
                    run.series.iter().for_each(|&series| left.series.insert(u64::from(series)));
                } else {
                    let (kept, of_kept) = left.run(&mut reader, dataset, run, &rules).await?;
                    rows += kept;
                    times = (times.0.min(of_kept.0), times.1.max(of_kept.1));
                }
            }
            left.rows.push(rows);
            left.times.push(times);
        }
        Ok(left)
    }

    /// Decides row by row; gives how many stay, and their earliest and latest times.
    async fn run(
        &mut self,
        reader: &mut TableReader<'_>,
        dataset: &Dataset,
        run: &Run,
        rules: &[&Rule<'_>],
    ) -> Result<(u64, (i64, i64)), MergeError> {
        let block = reader.block();
        let meta = block.meta();
        let (mut times, mut series) = (Vec::<i64>::new(), Vec::<u32>::new());
        let (mut kept, mut of_kept) = (0, (i64::MAX, i64::MIN));
        let mut of_series: Option<(u32, Vec<&Rule<'_>>)> = None;
        for (page, part, first) in reader.table().parts(run.profile_rows()) {
            reader.need(page).await?;
            copy(&mut times, reader.values(column::TIME, page, part.clone()).of(block)?);
            copy(&mut series, reader.values(column::SERIES, page, part).of(block)?);
            for ((row, &time), &id) in (first..).zip(&times).zip(&series) {
                if of_series.as_ref().is_none_or(|(of, _)| *of != id) {
                    let view = known_series(meta, dataset, id).of(block)?;
                    let matching = rules.iter().filter(|rule| view.matches(rule.selector)).copied();
                    of_series = Some((id, matching.collect()));
                }
                let matching = of_series.iter().flat_map(|(_, rules)| rules);
                let mut hits = matching.filter(|rule| rule.range.contains(TimestampNs(time)));
                match hits.next() {
                    // Tombstones stand first: what is deleted and old counts as deleted.
                    Some(rule) => {
                        self.dropped.insert(row);
                        self.touched_units.insert(u64::from(dataset.unit));
                        *(if rule.deletes { &mut self.deleted } else { &mut self.expired }) += 1;
                    }
                    None => {
                        self.series.insert(u64::from(id));
                        kept += 1;
                        of_kept = (of_kept.0.min(time), of_kept.1.max(time));
                    }
                }
            }
        }
        Ok((kept, of_kept))
    }

    /// Whether a row goes.
    pub(super) fn drops(&self, row: u64) -> bool {
        self.dropped.has(row)
    }
}

impl Rule<'_> {
    /// Whether it can concern any row of a run.
    fn touches(&self, meta: &Meta, dataset: &Dataset, run: &Run) -> bool {
        self.range.start.0 <= run.max_time
            && run.min_time <= self.range.end.0
            && run.series.iter().any(|&series| view(meta, dataset, series).matches(self.selector))
    }
}

fn view<'m>(meta: &'m Meta, dataset: &Dataset, series: u32) -> View<'m> {
    let ty = dataset.ty as usize;
    View { labels: &meta.series[series as usize].labels, ty: &meta.types[ty], type_id: &meta.type_ids[ty] }
}

fn known_series<'m>(
    meta: &'m Meta,
    dataset: &Dataset,
    series: u32,
) -> Result<View<'m>, crate::error::BlockError> {
    let known = (series as usize) < meta.series.len();
    let unknown =
        || crate::error::BlockError::damaged(crate::PROFILES, 0, format!("series {series} does not exist"));
    if known { Ok(view(meta, dataset, series)) } else { Err(unknown()) }
}
