//! What works and is probably not what was wanted.

use std::path::Path;

use hearth_common::{TenantId, TenantLimits};
use hearth_settings::{Settings, TenantOverrides};

use super::finding::{Finding, Level, Place};

/// Of a process.
pub(super) fn of_settings(place: &Place, settings: &Settings, found: &mut Vec<Finding>) {
    of_limits(place, "limits", &settings.limits, None, found);
    let mut doubt = |key: &str, message: String| found.push(place.finding(Level::Warning, key, message));
    let Settings { cluster, gossip, querier, compactor, wal, ingester, .. } = settings;
    if !gossip.seeds.is_empty() && settings.object_store.is_empty() {
        doubt(
            "object_store",
            "empty: the processes of a cluster share a store and refuse to start without".into(),
        );
    }
    if !gossip.seeds.is_empty() && settings.replication_factor == 1 {
        let message = "1: a disk that is lost takes with it what it had not published yet";
        doubt("replication_factor", message.into());
    }
    if compactor.deletion_delay < querier.timeout {
        let message = format!(
            "{} is shorter than querier.timeout ({}): long queries may miss objects that are deleted under them",
            compactor.deletion_delay, querier.timeout
        );
        doubt("compactor.deletion_delay", message);
    }
    if compactor.interval.is_zero() {
        doubt("compactor.interval", "0: nothing is merged, and nothing expires".into());
    }
    if wal.quota_bytes.0 / 2 < ingester.cut_bytes.0 {
        let message = format!(
            "{}: heads are published early when the log is over half of it, which ingester.cut_bytes ({}) is",
            wal.quota_bytes, ingester.cut_bytes
        );
        doubt("wal.quota_bytes", message);
    }
    let tls = [
        ("cluster.tls.cert_file", &cluster.tls.cert_file),
        ("cluster.tls.key_file", &cluster.tls.key_file),
        ("cluster.tls.ca_file", &cluster.tls.ca_file),
    ];
    for (key, file) in tls.into_iter().filter(|(_, file)| cluster.tls.enabled && !Path::new(file).is_file()) {
        doubt(key, format!("{file} is no file here; a start needs it"));
    }
}

/// Of all tenants, or of one; what one has from all (`base`) was said there.
pub(super) fn of_limits(
    place: &Place,
    of: &str,
    limits: &TenantLimits,
    base: Option<&TenantLimits>,
    found: &mut Vec<Finding>,
) {
    let said = base.map(doubts_of).unwrap_or_default();
    let new = doubts_of(limits).into_iter().filter(|doubt| !said.contains(doubt));
    found.extend(new.map(|(key, message)| place.finding(Level::Warning, &format!("{of}.{key}"), message)));
}

fn doubts_of(limits: &TenantLimits) -> Vec<(&'static str, String)> {
    let mut found = rates_and_sizes(limits);
    let (older, lookback) = (limits.reject_older_than, limits.max_query_lookback);
    if !lookback.is_zero() && (older.is_zero() || older > lookback) {
        let older = if older.is_zero() { "of any age".to_owned() } else { format!("up to {older} old") };
        let message =
            format!("profiles {older} are taken, but queries look back {lookback} only (max_query_lookback)");
        found.push(("reject_older_than", message));
    }
    let kept = limits.compactor_blocks_retention_period;
    if !kept.is_zero() && (older.is_zero() || older > kept) {
        let message = format!(
            "profiles are kept for {kept}, less than the age at which they are still taken (reject_older_than)"
        );
        found.push(("compactor_blocks_retention_period", message));
    }
    for rule in limits.retention.iter().filter(|rule| !kept.is_zero() && rule.period >= kept) {
        let message = format!(
            "the rule for {} keeps {}, and everything goes after {kept} (compactor_blocks_retention_period)",
            rule.selector, rule.period
        );
        found.push(("retention", message));
    }
    for (group, _) in limits.distributor_sampling.iter().flat_map(|sampling| &sampling.usage_groups) {
        // With values of labels in its name, a group is not known before series come.
        let known = |name: &String| name == group || name.contains("${labels.");
        if !limits.distributor_usage_groups.keys().any(known) {
            let message = format!("there is no group '{group}' in distributor_usage_groups");
            found.push(("distributor_sampling", message));
        }
    }
    found
}

fn rates_and_sizes(limits: &TenantLimits) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let (rate, burst) = (limits.ingestion_rate_mb, limits.ingestion_burst_size_mb);
    // By default the burst is half of a second's rate.
    if rate > 0.0 && burst > 0.0 && burst < rate / 4.0 {
        let message = format!(
            "{burst} MiB may come at once, far below a second of ingestion_rate_mb ({rate}): larger pushes are refused whatever the rate"
        );
        found.push(("ingestion_burst_size_mb", message));
    }
    if limits.max_label_names_per_series == 0 {
        let message = "0 does not switch this limit off: every push is refused".to_owned();
        found.push(("max_label_names_per_series", message));
    }
    let (usual, most) = (limits.max_flamegraph_nodes_default, limits.max_flamegraph_nodes_max);
    if most > 0 && usual > most {
        let message = format!("{usual} is more than max_flamegraph_nodes_max ({most})");
        found.push(("max_flamegraph_nodes_default", message));
    }
    found
}

/// Of the overrides as a whole.
pub(super) fn of_tenants(
    place: &Place,
    settings: &Settings,
    limits: &TenantOverrides,
    found: &mut Vec<Finding>,
) {
    let others = limits.named().filter(|(tenant, _)| *tenant != TenantId::anonymous().as_str()).count();
    if !settings.multitenancy && others > 0 {
        let message = format!(
            "multitenancy is off: all requests are the tenant anonymous, and {others} entries are for others"
        );
        found.push(place.finding(Level::Warning, "overrides", message));
    }
}
