//! Whether records belong to the cell that they were sent to. A distributor that has not learned of a newer roster may send
//! one elsewhere than the others do; its retry would then count twice, as no cell knows another's records. Pure.

use bytes::Bytes;
use hearth_cluster::roster::{Homes, PlaceKey};
use hearth_common::{CellId, TenantId, TimestampNs};
use hearth_formats::record;

/// For each record whether this roster places it in another cell. Those that are placed by the time at which they are
/// received may go to any: two clocks may differ. What is no record is left to whoever decodes it.
pub(super) fn misplaced(homes: &Homes, cell: &CellId, records: &[Bytes], now: TimestampNs) -> Vec<bool> {
    let elsewhere = |bytes: &Bytes| {
        let Ok((header, _)) = record::peek(bytes) else { return false };
        let Ok(tenant) = TenantId::parse(header.tenant) else { return false };
        let key = PlaceKey {
            service_hash: header.service_hash,
            series_hash: header.series_hash,
            profile_time: header.time,
        };
        let placed = homes.place_record(&tenant, key, now);
        !placed.loose && placed.cell != *cell
    };
    records.iter().map(elsewhere).collect()
}

/// For each record whether what is announced may place it in another cell: whoever knows more may have placed it there.
pub(super) fn doubtful(homes: &Homes, cell: &CellId, records: &[Bytes], now: TimestampNs) -> Vec<bool> {
    let Some((from, announced)) = homes.announced() else { return vec![false; records.len()] };
    let late = |bytes: &Bytes| record::peek(bytes).is_ok_and(|(header, _)| header.time >= from);
    if !records.iter().any(late) {
        return vec![false; records.len()];
    }
    let moves = misplaced(announced, cell, records, now);
    records.iter().zip(moves).map(|(record, moves)| moves && late(record)).collect()
}
