//! Which rows of a block are hidden by deletions that it has not applied yet: decided by run and series before anything is
//! read, and then by time.

use std::sync::Arc;

use hearth_common::{TimeRange, TimestampNs};

use super::meta::Meta;
use crate::deletion::Hidden;
use crate::meta::datasets::Run;
use hearth_model::View;

/// The times of one series that are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HiddenSeries {
    pub(crate) series: u32,
    pub(crate) ranges: Vec<TimeRange>,
}

/// What is hidden of the block.
#[derive(Debug, Clone, Default)]
pub(crate) struct HiddenRows(Vec<Arc<Hidden>>);

/// What is hidden of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HiddenOfRun {
    /// Series of which some times are hidden, ascending.
    some: Vec<HiddenSeries>,
    /// Series that are hidden as a whole, ascending.
    whole: Vec<u32>,
}

impl HiddenRows {
    pub(crate) fn new(hidden: &[Arc<Hidden>]) -> Self {
        Self(hidden.to_vec())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is hidden of some series of a run.
    pub(crate) fn of_run(&self, meta: &Meta, ty: usize, run: &Run, series: &[u32]) -> HiddenOfRun {
        let mut found = HiddenOfRun::default();
        let span = TimeRange { start: TimestampNs(run.min_time), end: TimestampNs(run.max_time) };
        let near: Vec<&Arc<Hidden>> = self.0.iter().filter(|hidden| hidden.range.overlaps(span)).collect();
        if near.is_empty() {
            return found;
        }
        for &series in series {
            let labels = &meta.series[series as usize].labels;
            let view = View { labels, ty: &meta.types[ty], type_id: &meta.type_ids[ty] };
            let matching = near.iter().filter(|hidden| view.matches(&hidden.selector));
            let ranges: Vec<TimeRange> = matching.map(|hidden| hidden.range).collect();
            if ranges.iter().any(|range| range.covers(span)) {
                found.whole.push(series);
            } else if !ranges.is_empty() {
                found.some.push(HiddenSeries { series, ranges });
            }
        }
        found
    }
}

impl HiddenOfRun {
    pub(crate) fn is_empty(&self) -> bool {
        self.some.is_empty() && self.whole.is_empty()
    }

    /// Whether rows have to be looked at.
    pub(crate) fn needs_rows(&self) -> bool {
        !self.some.is_empty()
    }

    /// Whether all of a series is hidden.
    pub(crate) fn hides_all_of(&self, series: u32) -> bool {
        self.whole.binary_search(&series).is_ok()
    }

    /// The hidden times of a series that is not hidden as a whole.
    pub(crate) fn times_of(&self, series: u32) -> &[TimeRange] {
        let at = self.some.binary_search_by_key(&series, |hidden| hidden.series);
        at.map_or(&[], |at| &self.some[at].ranges)
    }
}

/// Whether one of the ranges has the time.
#[inline]
pub(crate) fn any_has(ranges: &[TimeRange], time_ns: i64) -> bool {
    ranges.iter().any(|range| range.contains(TimestampNs(time_ns)))
}
