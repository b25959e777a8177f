"""Dashboards of pushes: writes, and ingesters."""

from panels import dashboard, panel, quantiles, stat


def writes():
    requests = "pyroscope_request_duration_seconds"
    return dashboard(
        "writes",
        "Writes",
        "Pushes from the client to the acknowledgement.",
        (
            "Overview",
            [
                stat("Pushes", "Pushes a second.", "reqps", f"sum(rate({requests}_count{{$S, $PUSH}}[$R]))"),
                stat(
                    "Not acknowledged in 1 s",
                    "Share of the last hour, without mistakes of clients. The objective is 0.1 %. Needs hearth-rules.yaml.",
                    "percentunit",
                    'max(hearth:push_bad:ratio_rate1h{namespace=~"$namespace"})',
                ),
                stat(
                    "Profiles",
                    "Profiles received a second.",
                    "cps",
                    "sum(rate(pyroscope_distributor_profiles_received_total{$S}[$R]))",
                ),
                stat(
                    "Bytes",
                    "Bytes of profiles received a second, decompressed.",
                    "Bps",
                    "sum(rate(pyroscope_distributor_received_decompressed_bytes_sum{$S}[$R]))",
                ),
                stat(
                    "Discarded",
                    "Profiles discarded a second.",
                    "cps",
                    "sum(rate(pyroscope_discarded_samples_total{$S}[$R]))",
                ),
                stat("Connections", "Open connections.", "short", "sum(pyroscope_tcp_connections{$S})"),
            ],
        ),
        (
            "Requests",
            [
                panel(
                    "Pushes by status",
                    "5xx are failures of the server, which clients repeat; 429 are limits; other 4xx are mistakes of clients.",
                    "reqps",
                    (f"sum by (status_code) (rate({requests}_count{{$S, $PUSH}}[$R]))", "{{status_code}}"),
                    stack=True,
                ),
                quantiles(
                    "Time to the acknowledgement",
                    "From the first byte to the acknowledgement by a majority of disks. Long: disks, or CPU of distributors.",
                    requests,
                    selector="$PUSH",
                ),
                panel(
                    "Pushes by route",
                    "Which protocol clients speak.",
                    "reqps",
                    (f"sum by (route) (rate({requests}_count{{$S, $PUSH}}[$R]))", "{{route}}"),
                    stack=True,
                ),
            ],
        ),
        (
            "Profiles",
            [
                panel(
                    "Bytes by type",
                    "Bytes received a second, decompressed, by profile name.",
                    "Bps",
                    (
                        "sum by (type) (rate(pyroscope_distributor_received_decompressed_bytes_sum{$S}[$R]))",
                        "{{type}}",
                    ),
                    stack=True,
                ),
                panel(
                    "Discarded by reason",
                    "Profiles discarded a second. docs/operations/alerts/HearthProfilesDiscarded.md says what to do.",
                    "cps",
                    ("sum by (reason) (rate(pyroscope_discarded_samples_total{$S}[$R]))", "{{reason}}"),
                    stack=True,
                ),
                quantiles(
                    "Time to parse a profile",
                    "Grows with the size of profiles.",
                    "pyroscope_distributor_parse_duration_seconds",
                ),
            ],
        ),
        (
            "Records to cells",
            [
                panel(
                    "Batches by how they ended",
                    "Batches of records sent to leaders of cells; others than ok are pushes that failed.",
                    "cps",
                    ("sum by (outcome) (rate(hearth_distributor_cells_pushes_total{$S}[$R]))", "{{outcome}}"),
                ),
                panel(
                    "Tries that were repeated",
                    "By reason; some are usual while a leader changes. election waits: no member took records for a round.",
                    "cps",
                    ("sum by (reason) (rate(hearth_distributor_cells_retries_total{$S}[$R]))", "{{reason}}"),
                    ("sum(rate(hearth_distributor_cells_election_waits_total{$S}[$R]))", "election waits"),
                ),
                panel(
                    "Bytes in flight",
                    "Bytes of records on their way to cells. At the limit pushes are refused.",
                    "bytes",
                    ("sum by (instance) (hearth_distributor_cells_in_flight_bytes{$S})", "{{instance}}"),
                ),
            ],
        ),
    )


def ingesters():
    return dashboard(
        "ingesters",
        "Ingesters",
        "Cells, the write-ahead log, and publishing.",
        (
            "Overview",
            [
                stat(
                    "Cells without leader",
                    "Must be 0, but for seconds.",
                    "short",
                    "count(max by (namespace, cell) (hearth_cell_leads{$S}) == 0) or vector(0)",
                ),
                stat(
                    "Silent voters",
                    "Members that their leaders have not heard for ten seconds, of all cells.",
                    "short",
                    "sum(max by (namespace, cell) (hearth_cell_silent_voters{$S}))",
                ),
                stat(
                    "Missing ingesters",
                    "Of the roster, and not heard.",
                    "short",
                    'max(pyroscope_ring_members{$S, name="ingester", state="Unhealthy"})',
                ),
                stat("Oldest cut", "How long the oldest cut waits.", "s", "max(hearth_ingester_oldest_cut_age_seconds{$S})"),
                stat("Active series", "Of all cells.", "short", "sum(pyroscope_tsdb_head_series{$S})"),
                stat(
                    "Fullest log",
                    "Share of its quota.",
                    "percentunit",
                    "max(hearth_wal_bytes{$S} / hearth_wal_quota_bytes{$S})",
                ),
            ],
        ),
        (
            "Cells",
            [
                panel(
                    "Cells led",
                    "By ingester. Each leads its own when all are well; one that leads none was started lately, or is not well.",
                    "short",
                    ("sum by (instance) (hearth_cell_leads{$S})", "{{instance}}"),
                    stack=True,
                ),
                panel(
                    "Copies in touch",
                    "Voters that the leader hears, itself included, by cell. Below the replication factor: a member is away.",
                    "short",
                    (
                        "max by (cell) (hearth_cell_voters{$S} - hearth_cell_silent_voters{$S})",
                        "{{cell}}",
                    ),
                ),
                panel(
                    "Lag",
                    "Entries that the voter farthest behind lacks, by cell.",
                    "short",
                    ("max by (cell) (hearth_cell_lag_entries{$S})", "{{cell}}"),
                ),
            ],
        ),
        (
            "Write-ahead log",
            [
                quantiles(
                    "fsync",
                    "By ingester. A push waits for the fsync of a majority.",
                    "hearth_wal_fsync_duration_seconds",
                    by="instance",
                ),
                panel(
                    "Size",
                    "Bytes of the log by ingester. It grows until cuts are published. Beside it the least quota.",
                    "bytes",
                    ("sum by (instance) (hearth_wal_bytes{$S})", "{{instance}}"),
                    ("min(hearth_wal_quota_bytes{$S})", "least quota"),
                ),
                panel(
                    "Free on its disk",
                    "At the reserve nothing more is taken.",
                    "bytes",
                    ("min by (instance) (hearth_wal_disk_free_bytes{$S})", "{{instance}}"),
                    ("max(hearth_wal_reserve_bytes{$S})", "greatest reserve"),
                ),
                panel(
                    "Written",
                    "Bytes written a second.",
                    "Bps",
                    ("sum by (instance) (rate(hearth_wal_written_bytes_total{$S}[$R]))", "{{instance}}"),
                    stack=True,
                ),
                panel(
                    "Waiting",
                    "Bytes accepted and not yet on disk.",
                    "bytes",
                    ("sum by (instance) (hearth_wal_waiting_bytes{$S})", "{{instance}}"),
                ),
                panel(
                    "Not taken",
                    "Records that the log or the limit of series refused, and appends that found no room, a second.",
                    "cps",
                    ("sum(rate(hearth_ingester_wal_refused_total{$S}[$R]))", "log"),
                    ("sum(rate(hearth_ingester_series_refused_total{$S}[$R]))", "series"),
                    ("sum(rate(hearth_cell_appends_without_room_total{$S}[$R]))", "appends without room"),
                ),
            ],
        ),
        (
            "Heads and cuts",
            [
                panel(
                    "Memory of heads",
                    "By ingester; falls with each cut that is published.",
                    "bytes",
                    ("sum by (instance) (hearth_ingester_head_bytes{$S})", "{{instance}}"),
                    stack=True,
                ),
                panel(
                    "Cuts",
                    "Published, and attempts that failed, an hour.",
                    "short",
                    ("3600 * sum(rate(hearth_ingester_cuts_total{$S}[$R]))", "published"),
                    ("3600 * sum(rate(hearth_ingester_publish_failures_total{$S}[$R]))", "failures"),
                ),
                quantiles(
                    "Time to publish",
                    "From the cut to the committed root, all attempts included.",
                    "hearth_ingester_publish_duration_seconds",
                ),
                panel(
                    "Not published",
                    "Committed entries that no root covers, by cell.",
                    "short",
                    ("max by (cell) (hearth_cell_unpublished_entries{$S})", "{{cell}}"),
                ),
                panel(
                    "Records",
                    "Records built into heads, and those that had been taken before, a second.",
                    "cps",
                    ("sum(rate(pyroscope_head_profiles_created_total{$S}[$R]))", "built"),
                    ("sum(rate(hearth_ingester_duplicates_total{$S}[$R]))", "known before"),
                ),
                panel(
                    "Links between members",
                    "Bytes of entries sent a second, and frames that were dropped.",
                    "Bps",
                    (
                        'sum by (instance) (rate(hearth_internode_link_bytes_total{$S, direction="sent"}[$R]))',
                        "{{instance}}",
                    ),
                ),
            ],
        ),
        (
            "Who is there",
            [
                panel(
                    "Members",
                    "Processes by role and state, as the one that sees most says.",
                    "short",
                    ("max by (name, state) (pyroscope_ring_members{$S}) > 0", "{{name}} {{state}}"),
                ),
                panel(
                    "Seen by gossip",
                    "Processes that each one takes to be alive; all lines should be one.",
                    "short",
                    ("hearth_gossip_peers{$S}", "{{instance}}"),
                ),
                panel(
                    "Memory",
                    "Resident memory by process.",
                    "bytes",
                    ("process_resident_memory_bytes{$S} and on (namespace, instance) pyroscope_build_info{$S}", "{{instance}}"),
                ),
            ],
        ),
    )
