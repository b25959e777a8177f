//! Time series from heads: totals of profiles, or sums of some of their stacks, by group and step.

use hearth_model::points::Collector;
use hearth_model::{AnswerError, PointSet, ProfileQuery, StepGrid, View};

use super::stacks::{call_site_stacks, row_sum};
use super::{columns, selected};
use crate::head::{Filter, UnitView};

/// Collects buckets.
#[derive(Debug)]
pub(crate) struct Points<'a> {
    group_by: &'a [String],
    grid: StepGrid,
    set: PointSet,
}

impl<'a> Points<'a> {
    pub(crate) fn new(group_by: &'a [String], grid: StepGrid) -> Self {
        Self { group_by, grid, set: PointSet::default() }
    }

    /// Adds what a query selects of a unit.
    pub(crate) fn add(
        &mut self,
        query: &ProfileQuery,
        view: &UnitView,
        ty: u32,
        filter: &Filter,
    ) -> Result<(), AnswerError> {
        let counts = call_site_stacks(view, &query.call_site);
        let by_total = query.spans.is_none() && counts.is_none();
        let own = &view.types[ty as usize];
        for series in &view.series {
            let labels = View { labels: &series.labels, ty: &own.ty, type_id: &own.id };
            let hides = filter.hides(labels);
            let mut buckets = Collector::default();
            for row in series.chunks.iter().flat_map(|chunk| selected(chunk, query, filter, &hides)) {
                let Some(step) = self.grid.index_of(row.head.time) else { continue };
                for column in columns(view, &row, ty) {
                    let total = row.total(column).0;
                    if by_total && total == i64::MAX {
                        return Err(AnswerError::Overflow);
                    }
                    let bucket = buckets.bucket(step);
                    bucket.sum += match by_total {
                        true => i128::from(total),
                        false => row_sum(query, &row, column, counts.as_deref()),
                    };
                    bucket.count += 1;
                    bucket.annotations.extend(row.annotations());
                }
            }
            let buckets = buckets.finish();
            if !buckets.is_empty() {
                self.set.group(&labels.project(self.group_by)).merge(buckets);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> PointSet {
        self.set
    }
}
