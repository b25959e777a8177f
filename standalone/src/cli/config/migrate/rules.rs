//! What becomes of Pyroscope's keys, one row each. The longest row that a key begins with counts.

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// The same under another key, with what differs if anything does.
    To(&'static str, &'static str),
    /// A part of a value that several keys make together: see `compose`.
    Part,
    /// Stands in variables of the process, not in settings.
    Variable(&'static str),
    /// Hearth needs nothing in its place, and why.
    NotNeeded(&'static str),
    /// Hearth has nothing like it, and what to do instead.
    Cannot(&'static str),
}

use Act::{Cannot, NotNeeded, Part, To, Variable};

const RING: &str = "who keeps what is decided by a roster in the object store; there are no rings to set up";
const GOSSIP: &str = "processes find each other by gossip with few settings; see gossip.seeds";
const ONE_PORT: &str = "all APIs are on the one port of `listen`";
const TLS: &str =
    "the port of APIs has no TLS of its own: put a proxy before it (docs/operations/security.md)";
const SIZES: &str = "sized by other settings with defaults that fit: see ingester, querier and compactor in docs/operations/configuration.md";
const MERGES: &str =
    "merges are planned by size and age: see compactor.merge_blocks, compactor.day_age, compactor.settle_age";
const NO_STORE: &str = "Hearth stores in S3, GCS, Azure or a folder; many stores speak the protocol of S3: try s3:// with AWS_ENDPOINT_URL";
const V2_PART: &str = "a component of Pyroscope 2 that Hearth has no counterpart of: its work is done by ingesters, queriers and compactors";
const HTTP_CLIENT: &str = "the client of the store has its own settings under `store`";

/// Key of Pyroscope's file, and what becomes of it. Sorted.
pub(super) const RULES: &[(&str, Act)] = &[
    (
        "adhoc_profiles",
        Cannot("ad hoc profiles are not supported: push profiles that are to be looked at, and query them"),
    ),
    ("analytics", NotNeeded("Hearth reports to nobody")),
    ("api", Cannot("to serve below a path, let a proxy strip the prefix")),
    ("architecture", NotNeeded("there is one storage architecture")),
    ("auth", NotNeeded("see multitenancy_enabled")),
    ("compaction_worker", NotNeeded(V2_PART)),
    (
        "compaction_worker.metrics_exporter",
        Cannot(
            "metrics are not made of profiles by recording rules here: query with series, or export with a job of your own",
        ),
    ),
    ("compactor", NotNeeded(MERGES)),
    ("compactor.compaction_interval", To("compactor.interval", "also the pause between rounds of retention")),
    ("compactor.data_dir", NotNeeded("merges stream and keep no files")),
    (
        "compactor.deletion_delay",
        To(
            "compactor.deletion_delay",
            "it only has to outlast queries: Hearth's default is 2h where Pyroscope's is 12h",
        ),
    ),
    ("compactor.sharding_ring", NotNeeded(RING)),
    ("config", NotNeeded("variables are not filled into the file; each key has a variable HEARTH_…")),
    ("debug_info.enabled", To("debug_info.enabled", "")),
    ("debug_info.max_upload_size", To("debug_info.max_upload_size_bytes", "")),
    ("debug_info.max_upload_size_bytes", To("debug_info.max_upload_size_bytes", "")),
    ("debug_info.upload_stale_period", To("debug_info.upload_stale_period", "")),
    ("debug_info.upload_timeout", To("debug_info.upload_timeout", "")),
    ("distributor", NotNeeded(SIZES)),
    ("distributor.replication_factor", To("replication_factor", REPLICAS)),
    ("distributor.ring", NotNeeded(RING)),
    ("embedded_grafana", Cannot("run Grafana beside Hearth")),
    (
        "frontend",
        NotNeeded("queriers split and share queries themselves: there is no frontend and no scheduler"),
    ),
    (
        "frontend_worker",
        NotNeeded("queriers split and share queries themselves: there is no frontend and no scheduler"),
    ),
    ("ingester", NotNeeded(SIZES)),
    ("ingester.lifecycler", NotNeeded(RING)),
    ("ingester.lifecycler.availability_zone", To("zone", "of each process")),
    ("ingester.lifecycler.id", To("instance_id", "of each process")),
    ("ingester.lifecycler.ring.instance_availability_zone", To("zone", "of each process")),
    ("ingester.lifecycler.ring.replication_factor", To("replication_factor", REPLICAS)),
    (
        "ingester.lifecycler.ring.zone_awareness_enabled",
        NotNeeded("members of a cell are in distinct zones whenever processes name their `zone`"),
    ),
    ("memberlist", NotNeeded(GOSSIP)),
    ("memberlist.advertise_addr", To("cluster.advertise", "of each process")),
    ("memberlist.bind_addr", Part),
    ("memberlist.bind_port", Part),
    ("memberlist.cluster_label", To("cluster.id", "")),
    ("memberlist.join_members", Part),
    ("memberlist.node_name", To("instance_id", "of each process")),
    (
        "metastore",
        NotNeeded(
            "there is no metastore: what blocks there are stands in the object store, committed by conditional writes",
        ),
    ),
    ("multitenancy_enabled", To("multitenancy", "")),
    ("overrides_exporter", NotNeeded("every process exports its limits; there is no exporter of overrides")),
    ("pyroscopedb", NotNeeded(SIZES)),
    (
        "pyroscopedb.data_path",
        Cannot("Hearth needs a folder of its own, not that of Pyroscope: set data_dir (default hearth-data)"),
    ),
    (
        "pyroscopedb.max_block_duration",
        NotNeeded(
            "heads are cut by size and age, not by hours of profile time: see ingester.cut_age and ingester.cut_bytes",
        ),
    ),
    ("pyroscopedb.min_free_disk_gb", Part),
    ("querier", NotNeeded(SIZES)),
    (
        "querier.query_store_after",
        NotNeeded("an ingester answers exactly what is not published: there is no window to tune"),
    ),
    ("query_backend", NotNeeded(V2_PART)),
    (
        "query_frontend",
        NotNeeded("queriers split and share queries themselves: there is no frontend and no scheduler"),
    ),
    (
        "query_frontend.async_queries",
        Cannot("queries are answered while the client waits; see querier.timeout"),
    ),
    (
        "query_scheduler",
        NotNeeded("queriers split and share queries themselves: there is no frontend and no scheduler"),
    ),
    ("runtime_config", NotNeeded("one file, see overrides_file")),
    ("runtime_config.file", Part),
    ("runtime_config.period", To("overrides_reload", "")),
    ("segment_writer", NotNeeded(V2_PART)),
    ("self_profiling", NotNeeded("Hearth does not push profiles of itself")),
    ("server", NotNeeded("bounds of connections and requests are built in")),
    ("server.graceful_shutdown_timeout", NotNeeded("requests under way have 20 seconds at a stop")),
    ("server.grpc_listen_address", NotNeeded(ONE_PORT)),
    ("server.grpc_listen_port", NotNeeded(ONE_PORT)),
    ("server.grpc_tls_config", Cannot(TLS)),
    ("server.http_listen_address", Part),
    ("server.http_listen_port", Part),
    ("server.http_path_prefix", Cannot("to serve below a path, let a proxy strip the prefix")),
    ("server.http_tls_config", Cannot(TLS)),
    ("server.log_format", Part),
    ("server.log_level", To("log.level", "")),
    ("show_banner", NotNeeded("there is no banner")),
    ("shutdown_delay", To("shutdown_delay", "")),
    ("storage", NotNeeded(HTTP_CLIENT)),
    ("storage.azure", NotNeeded(HTTP_CLIENT)),
    ("storage.azure.account_key", Variable("AZURE_STORAGE_ACCOUNT_KEY")),
    ("storage.azure.account_name", Variable("AZURE_STORAGE_ACCOUNT_NAME")),
    ("storage.azure.az_tenant_id", Variable("AZURE_STORAGE_TENANT_ID")),
    ("storage.azure.client_id", Variable("AZURE_STORAGE_CLIENT_ID")),
    ("storage.azure.client_secret", Variable("AZURE_STORAGE_CLIENT_SECRET")),
    (
        "storage.azure.connection_string",
        Cannot("set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY instead"),
    ),
    ("storage.azure.container_name", Part),
    ("storage.backend", Part),
    ("storage.cos", Cannot(NO_STORE)),
    ("storage.filesystem.dir", Part),
    ("storage.gcs", NotNeeded(HTTP_CLIENT)),
    ("storage.gcs.bucket_name", Part),
    ("storage.gcs.service_account", Variable("GOOGLE_SERVICE_ACCOUNT_KEY")),
    ("storage.prefix", Part),
    ("storage.s3", NotNeeded(HTTP_CLIENT)),
    ("storage.s3.access_key_id", Variable("AWS_ACCESS_KEY_ID")),
    ("storage.s3.bucket_name", Part),
    ("storage.s3.endpoint", Variable("AWS_ENDPOINT_URL")),
    ("storage.s3.insecure", Variable("AWS_ALLOW_HTTP")),
    ("storage.s3.region", Variable("AWS_REGION")),
    ("storage.s3.secret_access_key", Variable("AWS_SECRET_ACCESS_KEY")),
    ("storage.s3.session_token", Variable("AWS_SESSION_TOKEN")),
    (
        "storage.s3.sse.kms_encryption_context",
        Cannot("there is no encryption context: use a key that needs none"),
    ),
    ("storage.s3.sse.kms_key_id", To("limits.s3_sse_kms_key_id", "")),
    ("storage.s3.sse.type", To("limits.s3_sse_type", "")),
    ("storage.swift", Cannot(NO_STORE)),
    (
        "store_gateway",
        NotNeeded(
            "queriers read blocks from the store themselves and keep parts in memory and, with querier.disk_cache, on disk",
        ),
    ),
    ("symbolizer", NotNeeded(SIZES)),
    ("symbolizer.debuginfod_url", To("symbolizer.debuginfod_url", "")),
    ("symbolizer.enabled", To("limits.symbolizer.enabled", "for all tenants; in the overrides for one")),
    (
        "target",
        NotNeeded(
            "each role is a program of its own: `hearth` is all of them, hearth-distributor, hearth-ingester, hearth-querier and hearth-compactor are one each",
        ),
    ),
    ("tenant_settings", NotNeeded("settings of tenants need no setup")),
    ("tenant_settings.recording_rules", Cannot("metrics are not made of profiles by recording rules here")),
    ("tracing", NotNeeded("Hearth sends no traces")),
    ("usage_stats", NotNeeded("Hearth reports to nobody")),
    ("write_path", NotNeeded("there is one way to write")),
];

const REPLICAS: &str =
    "Pyroscope's default is 1, Hearth's 3; `hearth` on one machine keeps one copy whatever it says";

/// The row for a key, if any: the longest that it is or lies below.
pub(super) fn rule(key: &str) -> Option<(&'static str, Act)> {
    let fits = |row: &str| key.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    RULES.iter().filter(|(row, _)| fits(row)).max_by_key(|(row, _)| row.len()).copied()
}

/// Flags whose key in a file is not their own name with dots and underscores.
pub(super) const FLAGS: &[(&str, &str)] = &[
    ("auth.multitenancy-enabled", "multitenancy_enabled"),
    ("config.file", "config.file"),
    ("debug-info.max-upload-size", "debug_info.max_upload_size_bytes"),
    ("distributor.replication-factor", "ingester.lifecycler.ring.replication_factor"),
    ("log.format", "server.log_format"),
    ("log.level", "server.log_level"),
    ("memberlist.join", "memberlist.join_members"),
    ("runtime-config.reload-period", "runtime_config.period"),
    ("storage.s3.access-key-id", "storage.s3.access_key_id"),
    ("ingester.availability-zone", "ingester.lifecycler.availability_zone"),
    ("usage-stats.enabled", "analytics.reporting_enabled"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_lead_to_keys_that_there_are() {
        let defaults = serde_json::to_value(hearth_settings::Settings::default()).expect("a tree");
        assert!(RULES.windows(2).all(|pair| pair[0].0 < pair[1].0), "{RULES:?}");
        let under = |key: &str| defaults.pointer(&format!("/{}", key.replace('.', "/"))).is_some();
        for (old, act) in RULES {
            assert!(!matches!(act, To(new, _) if !under(new)), "{old}");
        }
    }

    #[test]
    fn the_longest_row_counts() {
        let row = |key: &str| rule(key).map(|(row, _)| row);
        assert_eq!(row("memberlist.join_members"), Some("memberlist.join_members"));
        assert_eq!(row("memberlist.tls.enabled"), Some("memberlist"));
        assert_eq!(row("memberlists"), None);
    }
}
