//! What Pyroscope calls its limits on the command line. In a file they have the same keys here as there.

/// Key under `limits`, and Pyroscope's flag, where the flag is not named after the key.
pub const REFERENCE_FLAGS: &[(&str, &str)] = &[
    ("ingestion_rate_mb", "distributor.ingestion-rate-limit-mb"),
    ("ingestion_burst_size_mb", "distributor.ingestion-burst-size-mb"),
    ("ingestion_body_limit_mb", "distributor.ingestion-body-limit-mb"),
    ("push_max_concurrency", "distributor.push.max-concurrency"),
    ("max_label_name_length", "validation.max-length-label-name"),
    ("max_label_value_length", "validation.max-length-label-value"),
    ("max_label_names_per_series", "validation.max-label-names-per-series"),
    ("max_sessions_per_series", "validation.max-sessions-per-series"),
    ("enforce_labels_order", "validation.enforce-labels-order"),
    ("disable_label_sanitization", "validation.disable-label-sanitization"),
    ("max_profile_size_bytes", "validation.max-profile-size-bytes"),
    ("max_profile_stacktrace_samples", "validation.max-profile-stacktrace-samples"),
    ("max_profile_stacktrace_sample_labels", "validation.max-profile-stacktrace-sample-labels"),
    ("max_profile_stacktrace_depth", "validation.max-profile-stacktrace-depth"),
    ("max_profile_symbol_value_length", "validation.max-profile-symbol-value-length"),
    ("reject_older_than", "validation.reject-older-than"),
    ("reject_newer_than", "validation.reject-newer-than"),
    ("ingestion_relabeling_rules", "distributor.ingestion-relabeling-rules"),
    (
        "ingestion_relabeling_default_rules_position",
        "distributor.ingestion-relabeling-default-rules-position",
    ),
    ("sample_type_relabeling_rules", "distributor.sample-type-relabeling-rules"),
    ("ingestion_tenant_shard_size", "distributor.ingestion-tenant-shard-size"),
    ("ingestion_artificial_delay", "distributor.ingestion-artificial-delay"),
    ("distributor_aggregation_window", "distributor.aggregation-window"),
    ("distributor_aggregation_period", "distributor.aggregation-period"),
    ("keep_stripped_profiles", "distributor.sampling.keep-stripped-profiles"),
    ("max_local_series_per_tenant", "ingester.max-local-series-per-tenant"),
    ("max_global_series_per_tenant", "ingester.max-global-series-per-tenant"),
    ("max_query_lookback", "querier.max-query-lookback"),
    ("max_query_length", "querier.max-query-length"),
    ("max_query_parallelism", "querier.max-query-parallelism"),
    ("split_queries_by_interval", "querier.split-queries-by-interval"),
    ("query_analysis_enabled", "querier.query-analysis-enabled"),
    ("query_analysis_series_enabled", "querier.query-analysis-series-enabled"),
    ("query_sanitize_on_merge", "querier.sanitize-on-merge"),
    ("max_flamegraph_nodes_default", "querier.max-flamegraph-nodes-default"),
    ("max_flamegraph_nodes_max", "querier.max-flamegraph-nodes-max"),
    ("max_flamegraph_nodes_on_select_merge_profile", "querier.max-flamegraph-nodes-on-select-merge-profile"),
    ("compactor_blocks_retention_period", "compactor.blocks-retention-period"),
];

/// Pyroscope's flag for a key under `limits`.
pub fn reference_flag(key: &str) -> Option<&'static str> {
    REFERENCE_FLAGS.iter().find(|(known, _)| *known == key).map(|(_, flag)| *flag)
}
