//! The writer: a block as a pure function of profiles, sources and writer version.

use bytes::Bytes;

use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::input::{BlockSpec, UnitSource};

/// What a caller may choose about a block.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Distinguishes attempts to write the same block; part of the folder's name, not of any bytes.
    pub attempt: String,
}

/// A block in memory: its entry and its objects, to be stored under [`BlockEntry::folder`].
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    /// What the root's page says of it.
    pub entry: BlockEntry,
    /// Name and bytes of each object, in the order in which they must be stored (`index` last).
    pub objects: Vec<(String, Bytes)>,
}

/// Encodes a block of all profiles of `units` that lie in the spec's day. Fails with [`BlockError::Input`] when there are
/// none, when two units have the same (name, service), or when the contract of [`UnitSource`] is broken.
pub fn write_block(
    _spec: &BlockSpec,
    _units: &[&dyn UnitSource],
    _options: &WriteOptions,
) -> Result<EncodedBlock, BlockError> {
    Err(BlockError::Input("not written yet".to_owned()))
}
