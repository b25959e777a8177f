//! The block format: parquet tables and one index; encoder, reader, and answers from a block.
//!
//! Owns `docs/formats/block.md`. Must not know: object stores, tenants' limits, clocks, async runtimes (reads come through
//! `RangeRead`).

mod codec;
pub mod deletion;
pub mod entry;
pub mod error;
mod frame;
pub mod input;
pub mod merge;
mod meta;
mod pages;
pub mod read;
pub mod recover;
mod rollup;
mod stacks_table;
pub mod verify;
pub mod write;

pub use deletion::{Deletion, Hidden};
pub use entry::{BlockEntry, ObjectEntry};
pub use error::BlockError;
pub use input::{BlockSpec, SourceRange};
pub use merge::{MergeError, MergeOptions, Merged, merge};
pub use meta::origin::Origin;
pub use read::{BlockReader, Prepared};
pub use recover::recover_entry;
pub use rollup::{ROLLUP_LEVEL_MIN, ROLLUP_OBJECTS};
pub use verify::{Verified, verify};
pub use write::{EncodedBlock, WriteOptions, write_block};

/// Major version of the format; part of `created_by` and of every entry.
pub const FORMAT_MAJOR: u16 = 1;
/// Name of the index object.
pub const INDEX: &str = "index";
/// Name of the profile table.
pub const PROFILES: &str = "profiles.parquet";
/// Name of the sample table.
pub const SAMPLES: &str = "samples.parquet";
/// Name of the span table.
pub const SPANS: &str = "spans.parquet";
/// Name of the table of totals by five minutes.
pub const TOTALS_5M: &str = "totals_5m.parquet";
/// Name of the table of totals by hour.
pub const TOTALS_1H: &str = "totals_1h.parquet";
/// Name of the table of stacks of a whole day.
pub const STACKS_1D: &str = "stacks_1d.parquet";
/// All objects that a block can have, in the order of its entry.
pub const OBJECTS: [&str; 7] = [PROFILES, SAMPLES, SPANS, TOTALS_5M, TOTALS_1H, STACKS_1D, INDEX];
