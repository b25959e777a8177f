//! Counts what a selector selects, by service and type.

use std::sync::Arc;

use hearth_common::TimeRange;
use hearth_model::tally::{Counted, Tally};
use hearth_model::{Selector, View, labels};

use super::rows_in;
use crate::head::{Filter, Unit, admitted};

/// The count. Bytes are those of rows in memory, shared among them by their samples.
pub(super) fn answer(units: &[Arc<Unit>], range: TimeRange, selector: &Selector, filter: &Filter) -> Tally {
    let mut tally = Tally::default();
    for unit in units {
        let is_service = |name| selector.admits(name, &unit.service);
        if !is_service(labels::SERVICE_NAME) || !is_service(labels::SERVICE_NAME_COPY) {
            continue;
        }
        let view = unit.view(false, |_| true);
        for series in &view.series {
            let is_selected: Vec<bool> = view
                .types
                .iter()
                .map(|own| View { labels: &series.labels, ty: &own.ty, type_id: &own.id }.matches(selector))
                .collect();
            if !is_selected.contains(&true) {
                continue;
            }
            let hides = view.hides(series, filter);
            for chunk in &series.chunks {
                let columns = |set: u32| 0..view.type_sets[set as usize].len();
                let samples: u64 = admitted(chunk, filter)
                    .flat_map(|row| columns(row.head.type_set).map(move |column| row.total(column).1))
                    .sum();
                for row in rows_in(chunk, range, filter) {
                    for (column, ty) in view.columns(&row, &hides).filter(|(_, ty)| is_selected[*ty as usize])
                    {
                        let mut counted = Counted::default();
                        counted.add_rows(1, row.total(column).1);
                        counted.see(row.head.time, row.head.time);
                        counted.bytes = chunk.bytes.len() as u64 * counted.samples / samples.max(1);
                        tally.add(&unit.service, &view.types[ty as usize].ty, counted);
                    }
                }
            }
        }
    }
    tally
}
