//! From the header of a record to the cell that takes it. Pure.

use hearth_cluster::roster::{Homes, PlaceKey, Placed};
use hearth_common::{TenantId, TimestampNs};
use hearth_formats::record::RecordHeader;

/// The cell of a record: [`Homes::place_record`].
pub fn place(homes: &Homes, tenant: &TenantId, header: &RecordHeader<'_>, now: TimestampNs) -> Placed {
    let RecordHeader { service_hash, series_hash, time, .. } = header;
    let key = PlaceKey { service_hash: *service_hash, series_hash: *series_hash, profile_time: *time };
    homes.place_record(tenant, key, now)
}
