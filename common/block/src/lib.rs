//! The block format: parquet tables and one index; encoder, reader, and answers from a block.
//!
//! Owns `docs/formats/block.md`. Must not know: object stores, tenants' limits, clocks, async runtimes (reads come through
//! `RangeRead`).

pub mod entry;
pub mod input;

pub use entry::{BlockEntry, ObjectEntry};
pub use input::{BlockSpec, SourceRange};
