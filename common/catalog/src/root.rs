//! The root of a tenant: one small object per version that says all about the tenant's published data.

use std::collections::{BTreeMap, BTreeSet};

use hearth_common::{BlockId, JournalId, Position, TimestampNs};

use crate::coverage::Coverage;

/// Format of roots and pages written by this version.
pub const ROOT_FORMAT: u32 = 1;

/// One version of a tenant's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// 1, 2, 3 …
    pub version: u64,
    /// Random, of this version: tells whose write it was.
    pub nonce: u128,
    /// The nonce of the version before; 0 for the first.
    pub parent: u128,
    /// The pages by UTC day, which name the blocks.
    pub pages: BTreeMap<i32, PageRef>,
    /// What of each journal is published, or was and is gone by retention or deletion.
    pub coverage: Coverage,
    /// Entries beyond the coverage of their journal that must not be published: another journal's copy counts.
    pub voids: BTreeMap<JournalId, BTreeSet<Position>>,
    /// Deletions that some block may not have applied yet.
    pub tombstones: Vec<Tombstone>,
    /// Objects that are being deleted: by folder of a block (with a slash at the end) or key of a page.
    pub condemned: BTreeMap<String, Condemned>,
}

/// Which page holds the blocks of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// Part of the page's key.
    pub unique: u128,
    /// Length of the page.
    pub bytes: u64,
    /// Checksum of the page.
    pub crc32c: u32,
    /// Number of blocks.
    pub blocks: u32,
}

/// A deletion by a user (design: replication B10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Random.
    pub id: u128,
    /// What is deleted, as a selector.
    pub selector: String,
    /// First instant that is deleted.
    pub start: TimestampNs,
    /// Last instant.
    pub end: TimestampNs,
    /// Rows of these journals up to these positions are deleted, later ones are not.
    pub upto: BTreeMap<JournalId, Position>,
    /// Blocks of the root at that time that have not applied it.
    pub blocks: BTreeSet<BlockId>,
}

impl Tombstone {
    /// A checksum over the ids of the blocks that have not applied it, to tell whether they are the same as before: a number of
    /// others may be as great.
    pub fn blocks_crc32c(&self) -> u32 {
        self.blocks.iter().fold(0, |sum, id| crc32c::crc32c_append(sum, &id.0.to_be_bytes()))
    }
}

/// What is known of a condemned object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condemned {
    /// When it was condemned, by the clock of the process that did.
    pub since: TimestampNs,
}

impl Root {
    /// The state before the first commit: version 0, nothing published.
    pub fn empty() -> Self {
        Self {
            version: 0,
            nonce: 0,
            parent: 0,
            pages: BTreeMap::new(),
            coverage: Coverage::default(),
            voids: BTreeMap::new(),
            tombstones: Vec::new(),
            condemned: BTreeMap::new(),
        }
    }

    /// Whether an entry is declared void.
    pub fn is_void(&self, journal: &JournalId, position: Position) -> bool {
        self.voids.get(journal).is_some_and(|positions| positions.contains(&position))
    }
}
