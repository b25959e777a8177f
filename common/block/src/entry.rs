//! What a root's page says of a block: enough to prune, to plan reads and to verify, without opening it.

use hearth_common::{BlockId, TenantId, TimestampNs};

use crate::input::SourceRange;

/// One object of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Name in the block's folder: `index`, `profiles.parquet`, `samples.parquet`, `spans.parquet`.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Checksum of the whole object.
    pub crc32c: u32,
}

/// A published block. The default is no block that anybody wrote: for whoever fills in what matters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockEntry {
    /// Hash of the sources.
    pub id: BlockId,
    /// Which attempt to write this block: keeps the objects of two attempts apart.
    pub attempt: String,
    /// Major version of the block format.
    pub format: u16,
    /// UTC day of all profiles.
    pub day: i32,
    /// 0 = from a head.
    pub level: u8,
    /// Earliest profile.
    pub min_time: TimestampNs,
    /// Latest profile.
    pub max_time: TimestampNs,
    /// Smallest service name.
    pub first_service: String,
    /// Greatest service name.
    pub last_service: String,
    /// Profile type ids, sorted.
    pub types: Vec<String>,
    /// The objects.
    pub objects: Vec<ObjectEntry>,
    /// Offset of the directory in the `index` object.
    pub index_directory_offset: u64,
    /// Records.
    pub profiles: u64,
    /// Rows of `samples.parquet`.
    pub samples: u64,
    /// Series.
    pub series: u64,
    /// Units.
    pub units: u64,
    /// Journal positions that the block holds.
    pub sources: Vec<SourceRange>,
}

impl BlockEntry {
    /// The block's folder in the object store, without a slash at the end:
    /// `t/<tenant>/blocks/<day>/<level>-<min time ms>-<id>.<attempt>`.
    pub fn folder(&self, tenant: &TenantId) -> String {
        format!(
            "t/{tenant}/blocks/{}/{}-{}-{}.{}",
            self.day,
            self.level,
            self.min_time.as_ms(),
            self.id,
            self.attempt
        )
    }

    /// An object of the block.
    pub fn object(&self, name: &str) -> Option<&ObjectEntry> {
        self.objects.iter().find(|o| o.name == name)
    }

    /// All bytes of the block.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.bytes).sum()
    }
}
