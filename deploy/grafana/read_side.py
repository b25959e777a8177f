"""Dashboards of what is published: reads, the object store, compaction."""

from panels import dashboard, panel, quantiles, stat


def reads():
    return dashboard(
        "reads",
        "Reads",
        "Queries: how many, how long, what they read.",
        (
            "Overview",
            [
                stat("Queries", "Queries a second.", "reqps", "sum(rate(hearth_querier_queries_total{$S}[$R]))"),
                stat(
                    "Failed",
                    "Share of the last ten minutes that failed for reasons that are not the client's. Needs hearth-rules.yaml.",
                    "percentunit",
                    'max(hearth:query_errors:ratio_rate10m{namespace=~"$namespace"})',
                ),
                stat(
                    "Inexact",
                    "Answers of the last hour that may lack something that was acknowledged.",
                    "short",
                    "sum(increase(hearth_querier_inexact_answers_total{$S}[1h]))",
                ),
                stat(
                    "Partial",
                    "Answers of the last hour that lack cells or blocks, as the client allowed.",
                    "short",
                    "sum(increase(hearth_querier_partial_answers_total{$S}[1h]))",
                ),
                stat(
                    "Too large",
                    "Queries of the last hour refused beforehand, as they would have read too much.",
                    "short",
                    "sum(increase(hearth_querier_too_large_total{$S}[1h]))",
                ),
                stat("Open blocks", "Memory of open blocks.", "bytes", "sum(hearth_querier_open_block_bytes{$S})"),
            ],
        ),
        (
            "Queries",
            [
                panel(
                    "Queries by method",
                    "A second.",
                    "reqps",
                    ("sum by (rpc) (rate(hearth_querier_queries_total{$S}[$R]))", "{{rpc}}"),
                    stack=True,
                ),
                panel(
                    "Errors by method and code",
                    "A second; invalid_argument and the like are the client's.",
                    "reqps",
                    (
                        'sum by (rpc, outcome) (rate(hearth_querier_queries_total{$S, outcome!="ok"}[$R]))',
                        "{{rpc}} {{outcome}}",
                    ),
                    stack=True,
                ),
                quantiles("Time of queries", "By method.", "hearth_querier_query_seconds", by="rpc"),
            ],
        ),
        (
            "Blocks",
            [
                panel(
                    "Blocks for each query",
                    "Blocks that answered, and those of them that had to be opened. Many: the compactor is behind.",
                    "short",
                    (
                        "sum(rate(hearth_querier_blocks_read_total{$S}[$R])) / sum(rate(hearth_querier_queries_total{$S}[$R]))",
                        "read",
                    ),
                    (
                        "sum(rate(hearth_querier_block_opens_total{$S}[$R])) / sum(rate(hearth_querier_queries_total{$S}[$R]))",
                        "opened",
                    ),
                ),
                panel(
                    "Bytes fetched",
                    "Bytes fetched from blocks a second, by querier.",
                    "Bps",
                    ("sum by (instance) (rate(hearth_querier_block_bytes_fetched_total{$S}[$R]))", "{{instance}}"),
                ),
                panel(
                    "Local disk",
                    "Parts of blocks found on the local disk of queriers, and asked of the store. Empty without querier.disk_cache.",
                    "cps",
                    ("sum(rate(hearth_querier_disk_cache_hits_total{$S}[$R]))", "hits"),
                    ("sum(rate(hearth_querier_disk_cache_misses_total{$S}[$R]))", "misses"),
                    ("sum(rate(hearth_querier_disk_cache_failures_total{$S}[$R]))", "failures"),
                ),
            ],
        ),
        (
            "Others that are asked",
            [
                panel(
                    "Cells",
                    "Requests to ingesters by how they ended; silences: not answered soon; left out: answers without a cell.",
                    "cps",
                    ("sum by (outcome) (rate(hearth_querier_cells_fetches_total{$S}[$R]))", "{{outcome}}"),
                    ("sum(rate(hearth_querier_cells_silences_total{$S}[$R]))", "silences"),
                    ("sum(rate(hearth_querier_cells_left_out_total{$S}[$R]))", "left out"),
                ),
                panel(
                    "Queriers",
                    "Calls of queriers to each other by how they ended. Many late: one querier is slow.",
                    "cps",
                    ("sum by (outcome) (rate(hearth_querier_share_calls_total{$S}[$R]))", "{{outcome}}"),
                ),
                panel(
                    "Native frames",
                    "Addresses without names in answers, by what became of them (docs/operations/symbols.md).",
                    "cps",
                    ("sum by (outcome) (rate(hearth_querier_symbol_frames_total{$S}[$R]))", "{{outcome}}"),
                ),
            ],
        ),
    )


def object_store():
    return dashboard(
        "object-store",
        "Object store",
        "Calls to the store, and requests as the provider counts them.",
        (
            "Calls",
            [
                panel(
                    "Calls",
                    "A second, by operation.",
                    "ops",
                    ("sum by (operation) (rate(objstore_bucket_operations_total{$S}[$R]))", "{{operation}}"),
                    stack=True,
                ),
                panel(
                    "Failures",
                    "Calls that failed after retries, a second; missing objects are none.",
                    "ops",
                    (
                        "sum by (operation) (rate(objstore_bucket_operation_failures_total{$S}[$R]))",
                        "{{operation}}",
                    ),
                ),
                quantiles("Time", "Of calls, by operation.", "objstore_bucket_operation_duration_seconds", by="operation"),
                panel(
                    "Bytes read",
                    "A second, by job.",
                    "Bps",
                    ("sum by (job) (rate(objstore_bucket_operation_fetched_bytes_total{$S}[$R]))", "{{job}}"),
                    stack=True,
                    width=12,
                ),
                panel(
                    "Bytes written",
                    "A second, by job.",
                    "Bps",
                    ("sum by (job) (rate(objstore_bucket_operation_sent_bytes_total{$S}[$R]))", "{{job}}"),
                    stack=True,
                    width=12,
                ),
            ],
        ),
        (
            "Requests (remote stores only)",
            [
                panel(
                    "By ending",
                    "failed: the provider; unanswered: the network; refused: credentials or rights.",
                    "reqps",
                    ("sum by (ending) (rate(hearth_objstore_requests_total{$S}[$R]))", "{{ending}}"),
                    stack=True,
                ),
                panel(
                    "Retries",
                    "Requests tried again, calls that failed nevertheless, and retries beyond the budget.",
                    "reqps",
                    ("sum by (class) (rate(hearth_objstore_retries_total{$S}[$R]))", "{{class}} retries"),
                    ("sum(rate(hearth_objstore_retries_exhausted_total{$S}[$R]))", "exhausted"),
                    ("sum(rate(hearth_objstore_retry_budget_refused_total{$S}[$R]))", "beyond the budget"),
                ),
                panel(
                    "At once",
                    "Requests on their way, and those that wait for a place, by class of work.",
                    "short",
                    ("sum by (class) (hearth_objstore_requests_in_flight{$S})", "{{class}} on their way"),
                    ("sum by (class) (hearth_objstore_requests_waiting{$S})", "{{class}} waiting"),
                ),
                panel(
                    "Second requests of slow reads",
                    "Sent, first to answer, and not sent.",
                    "reqps",
                    ("sum by (outcome) (rate(hearth_objstore_hedges_total{$S}[$R]))", "{{outcome}}"),
                ),
                panel(
                    "Bytes by class",
                    "Read (up to the store's own figures) and written, a second.",
                    "Bps",
                    ("sum by (class) (rate(hearth_objstore_fetched_bytes_total{$S}[$R]))", "{{class}} read"),
                    ("sum by (class) (rate(hearth_objstore_sent_bytes_total{$S}[$R]))", "{{class}} written"),
                ),
            ],
        ),
    )


def compaction():
    return dashboard(
        "compaction",
        "Compaction",
        "Merging, retention, collection.",
        (
            "Overview",
            [
                stat("Backlog", "Merges planned and not yet done.", "short", "sum(hearth_compactor_backlog{$S})"),
                stat(
                    "Backlog since",
                    "How long some tenant has had merges to be done, without a pause.",
                    "s",
                    "max(time() - (hearth_compactor_backlog_since_timestamp_seconds{$S} > 0)) or vector(0)",
                ),
                stat(
                    "Last round",
                    "How long ago retention and collection went over all tenants.",
                    "s",
                    "time() - max(pyroscope_compactor_last_successful_run_timestamp_seconds{$S} > 0)",
                ),
                stat("Set aside", "Damaged or too large blocks.", "short", "max(hearth_compactor_blocks_aside{$S})"),
                stat(
                    "Unequal duplicates",
                    "Must stay 0: a defect.",
                    "short",
                    "sum(hearth_compactor_unequal_duplicate_rows_total{$S})",
                ),
                stat(
                    "Failed runs",
                    "Of retention and collection, in the last hour.",
                    "short",
                    "sum(increase(hearth_compactor_run_failures_total{$S}[1h]))",
                ),
            ],
        ),
        (
            "Merging",
            [
                panel(
                    "Merges by outcome",
                    "An hour. gone: another compactor was first.",
                    "short",
                    ("3600 * sum by (outcome) (rate(hearth_compactor_jobs_total{$S}[$R]))", "{{outcome}}"),
                ),
                panel(
                    "Merges by reason",
                    "An hour.",
                    "short",
                    ("3600 * sum by (why) (rate(hearth_compactor_jobs_total{$S}[$R]))", "{{why}}"),
                ),
                quantiles("Time of merges", "Whatever became of them.", "hearth_compactor_job_seconds"),
                panel(
                    "Bytes",
                    "Of merged blocks, and of what was written for them, a second.",
                    "Bps",
                    ("sum(rate(hearth_compactor_merged_bytes_total{$S}[$R]))", "read"),
                    ("sum(rate(hearth_compactor_written_bytes_total{$S}[$R]))", "written"),
                ),
                panel(
                    "Rows that went",
                    "Duplicates, rows that users deleted, and rows that were too old, a second.",
                    "cps",
                    ("sum(rate(hearth_compactor_duplicate_rows_total{$S}[$R]))", "duplicates"),
                    ("sum(rate(hearth_compactor_deleted_rows_total{$S}[$R]))", "deleted"),
                    ("sum(rate(hearth_compactor_expired_rows_total{$S}[$R]))", "expired"),
                ),
                panel(
                    "Blocks by level",
                    "Level 0 comes from ingesters. If it grows, merging is behind.",
                    "short",
                    (
                        "sum by (compaction_level) (max by (user, compaction_level) (pyroscope_bucket_blocks_count{$S}))",
                        "level {{compaction_level}}",
                    ),
                    stack=True,
                ),
            ],
        ),
        (
            "Retention and collection",
            [
                panel(
                    "Blocks that expired",
                    "An hour.",
                    "short",
                    ("3600 * sum(rate(hearth_compactor_expired_blocks_total{$S}[$R]))", "blocks"),
                ),
                panel(
                    "Bytes that expired",
                    "A second.",
                    "Bps",
                    ("sum(rate(hearth_compactor_expired_bytes_total{$S}[$R]))", "bytes"),
                ),
                panel(
                    "Collected",
                    "Objects and versions of roots deleted, orphans condemned, an hour.",
                    "short",
                    ("3600 * sum(rate(hearth_compactor_deleted_objects_total{$S}[$R]))", "objects"),
                    ("3600 * sum(rate(hearth_compactor_deleted_versions_total{$S}[$R]))", "versions"),
                    ("3600 * sum(rate(hearth_compactor_condemned_orphans_total{$S}[$R]))", "orphans"),
                ),
            ],
        ),
    )
