//! What a flame graph would read of a block: pruned and summed as it would be, from the index alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashSet;
use hearth_common::TimeRange;
use hearth_model::question::Estimate;
use hearth_model::{ProfileQuery, Question, Selector, View};

use super::fetch::Wanted;
use super::hidden::HiddenRows;
use super::meta::Meta;
use super::plan::{RunPlan, overlaps};
use super::{Inner, Prepared};
use crate::INDEX;

/// Profiles and samples that match, and the bytes that a flame graph of each matching type would fetch, all types in one.
/// `index_bytes` are those that opening the block reads: symbols that came with them, or are kept already, count no more.
pub(super) fn estimate(
    inner: &Arc<Inner>,
    range: TimeRange,
    selector: &Selector,
    hidden: &HiddenRows,
) -> Estimate {
    let meta = &inner.meta;
    let (mut found, mut wanted) = (Estimate::default(), Wanted::default());
    let mut series = HashSet::new();
    for ty in matching_types(meta, range, selector) {
        let query = ProfileQuery {
            profile_type: meta.types[ty as usize].clone(),
            selector: selector.clone(),
            range,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        };
        let (prepared, of_type) = Prepared::plan(inner, &Question::Tree(query), hidden.clone());
        wanted.extend(of_type);
        for run in prepared.plan.datasets.iter().flat_map(|dataset| &dataset.runs) {
            let before = series.len();
            series.extend(run.series.iter().copied());
            // A profile has a row for each of its types: it is counted with the first that names its series.
            if series.len() > before {
                found.profiles += share(run, run.run.profiles);
            }
            found.samples += share(run, run.run.samples);
        }
    }
    if series.is_empty() {
        return found;
    }
    found.blocks = 1;
    found.series = series.len() as u64;
    found.symbol_bytes = wanted.bytes_of(INDEX);
    found.profile_bytes = wanted.bytes() - found.symbol_bytes;
    found.index_bytes = meta.opened_bytes;
    found
}

/// Of a run whose series do not all match, a share by number of series.
fn share(run: &RunPlan, count: u64) -> u64 {
    count * run.series.len() as u64 / run.run.series.len().max(1) as u64
}

/// Types with a series that matches, in runs that share a time with the range.
fn matching_types(meta: &Meta, range: TimeRange, selector: &Selector) -> BTreeSet<u32> {
    let matches = |ty: u32, series: u32| {
        let labels = &meta.series[series as usize].labels;
        View { labels, ty: &meta.types[ty as usize], type_id: &meta.type_ids[ty as usize] }.matches(selector)
    };
    let mut types = BTreeSet::new();
    for dataset in &meta.datasets {
        let mut runs = dataset.slices.iter().flat_map(|slice| &slice.runs).filter(|run| overlaps(range, run));
        if !types.contains(&dataset.ty)
            && runs.any(|run| run.series.iter().any(|&series| matches(dataset.ty, series)))
        {
            types.insert(dataset.ty);
        }
    }
    types
}
