//! From the header of a record to the cell that takes it. Pure.

use hearth_cluster::roster::{Homes, Placed};
use hearth_common::{TenantId, TimestampNs};
use hearth_formats::record::RecordHeader;

/// The name under which a schedule knows a service: the hash of its name, as the headers of records have it, in 16 hex
/// digits. Whoever gives a service several shards names it by this.
pub fn service_key(service_hash: u64) -> String {
    format!("{service_hash:016x}")
}

/// The cell of a record. A function of its header and the schedule but for records dated ahead or older than the schedule,
/// which `now` places. A series stays in one shard, so that its rows meet in one head.
pub fn place(homes: &Homes, tenant: &TenantId, header: &RecordHeader<'_>, now: TimestampNs) -> Placed {
    let key = service_key(header.service_hash);
    let placed_at = |time: TimestampNs| {
        let shards = homes.schedule().entry_at(time).shards(tenant, &key);
        let shard = (header.series_hash % u64::from(shards)) as u32;
        homes.place(tenant, &key, shard, header.time, now)
    };
    let placed = placed_at(header.time);
    // Entries may have different numbers of shards, so the one that places counts.
    if placed.loose { placed_at(now) } else { placed }
}
