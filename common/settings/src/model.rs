//! Every key with its default and its meaning. Field names are the YAML keys.

use std::path::PathBuf;

use hearth_common::TenantLimits;
use hearth_common::units::GoDuration;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Gossip};
use crate::size::ByteSize;
use crate::store::ObjectStoreClient;
use crate::symbols::{DebugInfo, Symbolizer};
use crate::telemetry::{Liveness, Profiling, SelfProfiling, Tracing};

/// All settings of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port of the one listener. The default answers this machine only; `0.0.0.0:4040` answers all.
    pub listen: String,
    /// How long requests are still served after the process was told to stop, while `/ready` and health checks say that it is going:
    /// as long as whoever sends requests needs to notice. 0: not at all, as where a pause before SIGTERM has done it already.
    pub shutdown_delay: GoDuration,
    /// Folder of the write-ahead log, of caches and, unless `object_store` says otherwise, of the store.
    pub data_dir: PathBuf,
    /// Where published data lives: `file:///path`, `s3://bucket/prefix`, `gs://…`, `az://…`. Empty: `data_dir`/store.
    pub object_store: String,
    /// How a bucket is spoken with.
    pub store: ObjectStoreClient,
    /// Tells tenants apart by the header `X-Scope-OrgID`; off, all requests are the tenant `anonymous`.
    pub multitenancy: bool,
    /// A YAML file with limits of single tenants: `overrides: {tenant-a: {ingestion_rate_mb: 10}}`. Empty: none.
    pub overrides_file: PathBuf,
    /// How often that file is looked at while the process runs; 0: never.
    pub overrides_reload: GoDuration,
    /// Limits of every tenant that `overrides_file` does not name.
    #[serde(deserialize_with = "hearth_common::limits::ignored::limits")]
    pub limits: TenantLimits,
    /// The write-ahead log.
    pub wal: Wal,
    /// When heads are cut into blocks.
    pub ingester: Ingester,
    /// Queries.
    pub querier: Querier,
    /// Upkeep of published data.
    pub compactor: Compactor,
    /// Uploads of programs and debug files, from which addresses get names.
    pub debug_info: DebugInfo,
    /// Where names of addresses come from beside uploads; which tenants get them is said by `limits.symbolizer`.
    pub symbolizer: Symbolizer,
    /// Where the process runs: machines of one zone may fail together. A cell's members are in distinct zones if they can.
    pub zone: String,
    /// Name of the process, unique in the cluster and stable over restarts. Empty: the host's name.
    pub instance_id: String,
    /// On how many disks each profile is kept, 1 to 3. Decided when the cluster begins; Hearth on one machine has one.
    pub replication_factor: u32,
    /// The cluster.
    pub cluster: Cluster,
    /// How its processes find each other.
    pub gossip: Gossip,
    /// Logs.
    pub log: Log,
    /// Whether the process lives.
    pub liveness: Liveness,
    /// Traces of requests.
    pub tracing: Tracing,
    /// Profiles of the process itself, for whoever asks.
    pub profiling: Profiling,
    /// Profiles of the process itself that it pushes.
    pub self_profiling: SelfProfiling,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4040".to_owned(),
            shutdown_delay: GoDuration::from_secs(0),
            data_dir: PathBuf::from("hearth-data"),
            object_store: String::new(),
            store: ObjectStoreClient::default(),
            multitenancy: false,
            overrides_file: PathBuf::new(),
            overrides_reload: GoDuration::from_secs(10),
            limits: TenantLimits::default(),
            wal: Wal::default(),
            ingester: Ingester::default(),
            querier: Querier::default(),
            compactor: Compactor::default(),
            debug_info: DebugInfo::default(),
            symbolizer: Symbolizer::default(),
            zone: String::new(),
            instance_id: String::new(),
            replication_factor: 3,
            cluster: Cluster::default(),
            gossip: Gossip::default(),
            log: Log::default(),
            liveness: Liveness::default(),
            tracing: Tracing::default(),
            profiling: Profiling::default(),
            self_profiling: SelfProfiling::default(),
        }
    }
}

impl Settings {
    /// The URL of the object store that is really used.
    pub fn object_store_url(&self) -> String {
        if !self.object_store.is_empty() {
            return self.object_store.clone();
        }
        let store = self.data_dir.join("store");
        let absolute = std::path::absolute(&store).unwrap_or(store);
        format!("file://{}", absolute.display())
    }
}

/// The write-ahead log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wal {
    /// A new segment file is begun before one would grow beyond this.
    pub segment_bytes: ByteSize,
    /// Most bytes of all segments; a push beyond it is refused until data has been published.
    pub quota_bytes: ByteSize,
    /// Bytes of the disk that stay free; a push that would use them is refused.
    pub reserve_bytes: ByteSize,
    /// Most bytes that wait for the disk at once.
    pub queue_bytes: ByteSize,
}

impl Default for Wal {
    fn default() -> Self {
        Self {
            segment_bytes: ByteSize::mib(64),
            quota_bytes: ByteSize::mib(8 << 10),
            reserve_bytes: ByteSize::mib(256),
            queue_bytes: ByteSize::mib(64),
        }
    }
}

/// When heads are cut into blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingester {
    /// A tenant's head of this size is cut at once.
    pub cut_bytes: ByteSize,
    /// A head of this age is cut if it has `cut_min_bytes`.
    pub cut_age: GoDuration,
    /// Heads smaller than this wait for `cut_age_max`: tiny objects cost more than they hold.
    pub cut_min_bytes: ByteSize,
    /// A head of this age is cut whatever its size.
    pub cut_age_max: GoDuration,
    /// How long the identity of a pushed profile is known after its first arrival: a retry within it counts once.
    pub remember_pushes: GoDuration,
    /// `POST /flush` answers after this long at the latest, and says what is not published by then. A stop publishes no longer
    /// than that, too: what is left stays in the log.
    pub flush_timeout: GoDuration,
}

impl Default for Ingester {
    fn default() -> Self {
        Self {
            cut_bytes: ByteSize::mib(192),
            cut_age: GoDuration::from_secs(15 * 60),
            cut_min_bytes: ByteSize::mib(1),
            cut_age_max: GoDuration::from_secs(3600),
            remember_pushes: GoDuration::from_secs(45 * 60),
            flush_timeout: GoDuration::from_secs(60),
        }
    }
}

/// Queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Querier {
    /// Memory for parts of blocks that were read before.
    pub cache_bytes: ByteSize,
    /// A folder on a local disk for parts of blocks that were read before; empty: none.
    pub disk_cache: PathBuf,
    /// What that folder may take of the disk.
    pub disk_cache_bytes: ByteSize,
    /// Most bytes that one query may fetch from blocks.
    pub query_bytes_max: ByteSize,
    /// A query that takes longer is given up; a client may ask for less.
    pub timeout: GoDuration,
    /// Blocks that are computed at once, over all queries; 0 is one a core.
    pub threads: usize,
    /// Cells that nobody answers for, and damaged blocks, are left out of every query, and answers say so. Otherwise such a query fails, unless
    /// its header `X-Hearth-Allow-Partial: true` allows it.
    pub allow_partial: bool,
    /// In a cluster: queriers read blocks of large queries for each other, so that each keeps a part of all blocks in memory.
    /// Off, this one neither asks nor is asked.
    pub share_blocks: bool,
    /// Only with queriers of the same `zone`, as long as there are others in it: less traffic between zones, and each zone keeps
    /// all blocks in its memory.
    pub share_in_zone: bool,
    /// A query of fewer blocks is answered by one querier alone, …
    pub share_blocks_min: usize,
    /// … and so is one that is expected to read less than this of them.
    pub share_bytes_min: ByteSize,
}

impl Default for Querier {
    fn default() -> Self {
        Self {
            cache_bytes: ByteSize::mib(256),
            disk_cache: PathBuf::new(),
            disk_cache_bytes: ByteSize::mib(10 << 10),
            query_bytes_max: ByteSize::mib(4 << 10),
            timeout: GoDuration::from_secs(120),
            threads: 0,
            allow_partial: false,
            share_blocks: true,
            share_in_zone: false,
            share_blocks_min: 16,
            share_bytes_min: ByteSize::mib(16),
        }
    }
}

/// Upkeep of published data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compactor {
    /// Pause between two rounds of retention and collection, and of merges; 0 switches all of them off.
    pub interval: GoDuration,
    /// Memory that a merge of blocks takes at most, by estimate; the process needs about 100MiB beside it.
    pub memory_budget: ByteSize,
    /// Merged blocks are cut at about this size.
    pub block_bytes: ByteSize,
    /// So many blocks of one level are merged to one of the next.
    pub merge_blocks: usize,
    /// Fresh blocks whose newest profile is older than this are merged as soon as there are two of a day.
    pub merge_age: GoDuration,
    /// All blocks of a day are merged to one when it ended this long ago …
    pub day_age: GoDuration,
    /// … and once more, with what came late, when it ended this long ago.
    pub settle_age: GoDuration,
    /// Most blocks that are merged at a time.
    pub inputs_max: usize,
    /// Objects of blocks that were replaced or expired are deleted after this long: it outlasts every query.
    pub deletion_delay: GoDuration,
    /// Blocks and pages that no root names are garbage when they are older than this: it outlasts every upload.
    pub orphan_grace: GoDuration,
}

impl Default for Compactor {
    fn default() -> Self {
        Self {
            interval: GoDuration::from_secs(15 * 60),
            memory_budget: ByteSize::mib(512),
            block_bytes: ByteSize::mib(4 << 10),
            merge_blocks: 8,
            merge_age: GoDuration::from_secs(30 * 60),
            day_age: GoDuration::from_secs(2 * 3600),
            settle_age: GoDuration::from_secs(48 * 3600),
            inputs_max: 16,
            deletion_delay: GoDuration::from_secs(2 * 3600),
            orphan_grace: GoDuration::from_secs(24 * 3600),
        }
    }
}

/// Logs, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per module: `info,hearth_wal=debug`.
    pub level: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `time level module: message key=value`.
    Text,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs.
    Logfmt,
}
