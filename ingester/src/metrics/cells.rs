//! What an ingester says of each cell that it keeps: whether it leads it, how many copies there are, how far the log is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hearth_cell::{Role, Status};
use hearth_common::CellId;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A member that the leader has not heard for so long counts as silent: heartbeats come many times a second.
const SILENT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCell {
    cell: Arc<str>,
}

type Levels = Family<OfCell, Gauge>;

/// Levels of cells; only of those that are kept here now. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct CellMetrics {
    leads: Levels,
    damaged: Levels,
    /// The rest is what a leader knows.
    voters: Levels,
    silent_voters: Levels,
    lag_entries: Levels,
    uncommitted_bytes: Levels,
    unpublished_entries: Levels,
    known: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl CellMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_cell");
        let levels = [
            ("leads", "Whether this member leads the cell; told by each member of the cell", &self.leads),
            ("damaged", "Whether this member lost entries and has not got them back", &self.damaged),
            ("voters", "Members whose disks count for an acknowledgement; told by the leader", &self.voters),
            (
                "silent_voters",
                "Voters that the leader has not heard for 10 seconds; told by the leader",
                &self.silent_voters,
            ),
            (
                "lag_entries",
                "Entries that the voter farthest behind lacks; told by the leader",
                &self.lag_entries,
            ),
            (
                "uncommitted_bytes",
                "Bytes of entries that no majority has on disk yet; told by the leader",
                &self.uncommitted_bytes,
            ),
            (
                "unpublished_entries",
                "Committed entries that no root covers yet; told by the leader",
                &self.unpublished_entries,
            ),
        ];
        for (name, help, family) in levels {
            registry.register(name, help, family.clone());
        }
    }

    /// Takes how the cells are now; others are forgotten.
    pub(super) fn update(&self, cells: &[(CellId, Status)]) {
        let mut known = self.known.lock();
        let kept: BTreeSet<Arc<str>> = cells.iter().map(|(cell, _)| Arc::clone(&cell.0.0)).collect();
        for cell in known.difference(&kept) {
            let gone = OfCell { cell: Arc::clone(cell) };
            self.leads.remove(&gone);
            self.damaged.remove(&gone);
            self.forget_led(&gone);
        }
        *known = kept;
        drop(known);
        for (cell, status) in cells {
            let cell = OfCell { cell: Arc::clone(&cell.0.0) };
            let leads = status.role == Role::Leader;
            set(&self.leads, &cell, u64::from(leads));
            set(&self.damaged, &cell, u64::from(status.damaged));
            if leads { self.led(&cell, status) } else { self.forget_led(&cell) }
        }
    }

    fn led(&self, cell: &OfCell, status: &Status) {
        let voters = || status.peers.iter().filter(|peer| peer.voter);
        let silent = voters().filter(|peer| peer.heard_ago.is_none_or(|ago| ago > SILENT)).count();
        set(&self.voters, cell, status.membership.voters.len() as u64);
        set(&self.silent_voters, cell, silent as u64);
        set(&self.lag_entries, cell, voters().map(|peer| peer.lag_entries).max().unwrap_or(0));
        set(&self.uncommitted_bytes, cell, status.uncommitted_bytes);
        set(&self.unpublished_entries, cell, status.commit.0.saturating_sub(status.released.0));
    }

    fn forget_led(&self, cell: &OfCell) {
        let told_by_leaders = [
            &self.voters,
            &self.silent_voters,
            &self.lag_entries,
            &self.uncommitted_bytes,
            &self.unpublished_entries,
        ];
        told_by_leaders.into_iter().for_each(|family| _ = family.remove(cell));
    }
}

fn set(family: &Levels, cell: &OfCell, value: u64) {
    family.get_or_create(cell).set(i64::try_from(value).unwrap_or(i64::MAX));
}
