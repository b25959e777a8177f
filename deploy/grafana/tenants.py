"""Dashboards of who uses what: tenants, and cost."""

from panels import dashboard, panel, stat, variable


def tenants():
    choose = variable("tenant", "label_values(pyroscope_distributor_profiles_received_total, tenant)", "Tenant")
    tenant = 'tenant=~"$tenant"'
    return dashboard(
        "tenants",
        "Tenants",
        "Who pushes how much, what is discarded, what is stored.",
        (
            "Pushes",
            [
                panel(
                    "Bytes",
                    "Bytes received a second, decompressed: the ten greatest.",
                    "Bps",
                    (
                        f"topk(10, sum by (tenant) (rate(pyroscope_distributor_received_decompressed_bytes_sum{{$S, {tenant}}}[$R])))",
                        "{{tenant}}",
                    ),
                    stack=True,
                ),
                panel(
                    "Profiles",
                    "Profiles received a second: the ten greatest.",
                    "cps",
                    (
                        f"topk(10, sum by (tenant) (rate(pyroscope_distributor_profiles_received_total{{$S, {tenant}}}[$R])))",
                        "{{tenant}}",
                    ),
                    stack=True,
                ),
                panel(
                    "Discarded",
                    "Profiles discarded a second by tenant and reason: the ten greatest.",
                    "cps",
                    (
                        f"topk(10, sum by (tenant, reason) (rate(pyroscope_discarded_samples_total{{$S, {tenant}}}[$R])))",
                        "{{tenant}} {{reason}}",
                    ),
                ),
                panel(
                    "Use of the rate limit",
                    "Bytes a second as a share of ingestion_rate_mb, of tenants that the overrides name.",
                    "percentunit",
                    (
                        f"sum by (tenant) (rate(pyroscope_distributor_received_decompressed_bytes_sum{{$S, {tenant}}}[$R])) "
                        f'/ (1048576 * max by (tenant) (pyroscope_limits_overrides{{$S, limit_name="ingestion_rate_mb", {tenant}}}))',
                        "{{tenant}}",
                    ),
                ),
                panel(
                    "Usage groups",
                    "Bytes received a second by usage group.",
                    "Bps",
                    (
                        f"topk(10, sum by (tenant, usage_group) (rate(pyroscope_usage_group_received_decompressed_total{{$S, {tenant}}}[$R])))",
                        "{{tenant}} {{usage_group}}",
                    ),
                    stack=True,
                ),
                panel(
                    "Series of a push",
                    "Mean.",
                    "short",
                    (
                        f"sum by (tenant) (rate(pyroscope_distributor_push_batch_series_sum{{$S, {tenant}}}[$R])) "
                        f"/ sum by (tenant) (rate(pyroscope_distributor_push_batch_series_count{{$S, {tenant}}}[$R]))",
                        "{{tenant}}",
                    ),
                ),
            ],
        ),
        (
            "Stored",
            [
                panel(
                    "Bytes",
                    "Of all blocks, as of the compactor's last round: the ten greatest.",
                    "bytes",
                    (f"topk(10, max by (tenant) (hearth_compactor_stored_bytes{{$S, {tenant}}}))", "{{tenant}}"),
                    stack=True,
                ),
                panel(
                    "Profiles",
                    "Rows of all blocks: the ten greatest.",
                    "short",
                    (f"topk(10, max by (tenant) (hearth_compactor_stored_profiles{{$S, {tenant}}}))", "{{tenant}}"),
                    stack=True,
                ),
                panel(
                    "Blocks",
                    "The ten greatest.",
                    "short",
                    (
                        'topk(10, sum by (user) (max by (user, compaction_level) (pyroscope_bucket_blocks_count{$S, user=~"$tenant"})))',
                        "{{user}}",
                    ),
                    stack=True,
                ),
            ],
        ),
        variables=(choose,),
    )


def cost():
    puts = 'operation=~"upload|create|iter"'
    gets = 'operation=~"get|get_range|attributes"'
    return dashboard(
        "cost",
        "Cost",
        "What a provider bills: requests, bytes stored, bytes moved; and what the machines use.",
        (
            "Overview",
            [
                stat(
                    "Stored",
                    "Bytes of all blocks of all tenants.",
                    "bytes",
                    "sum(max by (namespace, tenant) (hearth_compactor_stored_bytes{$S}))",
                ),
                stat(
                    "PUT an hour",
                    "Requests that write or list, which most providers bill alike.",
                    "short",
                    f"3600 * sum(rate(hearth_objstore_requests_total{{$S, {puts}}}[1h]))",
                ),
                stat(
                    "GET an hour",
                    "Requests that read.",
                    "short",
                    f"3600 * sum(rate(hearth_objstore_requests_total{{$S, {gets}}}[1h]))",
                ),
                stat(
                    "Read a day",
                    "Bytes read in the last day; billed if they leave the region.",
                    "bytes",
                    "sum(increase(hearth_objstore_fetched_bytes_total{$S}[1d]))",
                ),
                stat(
                    "CPU",
                    "Cores in use.",
                    "short",
                    "sum(rate(process_cpu_seconds_total{$S}[$R]) and on (namespace, instance) pyroscope_build_info{$S})",
                ),
                stat(
                    "Memory",
                    "Resident memory of all processes.",
                    "bytes",
                    "sum(process_resident_memory_bytes{$S} and on (namespace, instance) pyroscope_build_info{$S})",
                ),
            ],
        ),
        (
            "Requests (remote stores only)",
            [
                panel(
                    "PUT and LIST an hour",
                    "By class of work: publishing by ingesters, compaction. Deletions are free with most providers.",
                    "short",
                    (f"3600 * sum by (class) (rate(hearth_objstore_requests_total{{$S, {puts}}}[$R]))", "{{class}}"),
                    stack=True,
                ),
                panel(
                    "GET an hour",
                    "By class of work.",
                    "short",
                    (f"3600 * sum by (class) (rate(hearth_objstore_requests_total{{$S, {gets}}}[$R]))", "{{class}}"),
                    stack=True,
                ),
                panel(
                    "Requests an hour by operation",
                    "All, each retry by itself.",
                    "short",
                    (
                        "3600 * sum by (operation) (rate(hearth_objstore_requests_total{$S}[$R]))",
                        "{{operation}}",
                    ),
                    stack=True,
                ),
            ],
        ),
        (
            "Bytes",
            [
                panel(
                    "Stored",
                    "By tenant: the ten greatest.",
                    "bytes",
                    ("topk(10, max by (tenant) (hearth_compactor_stored_bytes{$S}))", "{{tenant}}"),
                    stack=True,
                ),
                panel(
                    "Stored of each byte pushed",
                    "Bytes written to the store by ingesters for each byte received, decompressed. What merges write is not in it.",
                    "percentunit",
                    (
                        'sum(rate(hearth_objstore_sent_bytes_total{$S, class="publish"}[$R])) '
                        "/ sum(rate(pyroscope_distributor_received_decompressed_bytes_sum{$S}[$R]))",
                        "stored",
                    ),
                ),
                panel(
                    "Written by merges for each byte published",
                    "How often a byte is written again.",
                    "short",
                    (
                        'sum(rate(hearth_objstore_sent_bytes_total{$S, class="compaction"}[6h])) '
                        '/ sum(rate(hearth_objstore_sent_bytes_total{$S, class="publish"}[6h]))',
                        "times",
                    ),
                ),
            ],
        ),
        (
            "Machines",
            [
                panel(
                    "CPU",
                    "Cores in use, by job.",
                    "short",
                    (
                        "sum by (job) (rate(process_cpu_seconds_total{$S}[$R]) and on (namespace, instance) pyroscope_build_info{$S})",
                        "{{job}}",
                    ),
                    stack=True,
                    width=12,
                ),
                panel(
                    "Memory",
                    "Resident, by job.",
                    "bytes",
                    (
                        "sum by (job) (process_resident_memory_bytes{$S} and on (namespace, instance) pyroscope_build_info{$S})",
                        "{{job}}",
                    ),
                    stack=True,
                    width=12,
                ),
            ],
        ),
    )
