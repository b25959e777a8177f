//! The root of a tenant: what is published, and up to which position of the cell's log. All versions stay readable.

use hearth_common::{Position, Rid};

/// A version of a root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) coverage: Position,
    /// How many of the published records it has.
    records: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Root {
    versions: Vec<Version>,
    published: Vec<Rid>,
}

impl Root {
    pub(super) fn new() -> Self {
        Self { versions: vec![Version { coverage: Position(0), records: 0 }], published: Vec::new() }
    }

    pub(super) fn newest(&self) -> Version {
        *self.versions.last().expect("a root has a first version")
    }

    /// The newest version or one of some before it.
    pub(super) fn older(&self, by: usize) -> Version {
        self.versions[self.versions.len().saturating_sub(1 + by)]
    }

    pub(super) fn records(&self, version: Version) -> &[Rid] {
        &self.published[..version.records]
    }

    /// Publishes records up to `upto` if the coverage is still `from`.
    pub(super) fn commit(&mut self, from: Position, upto: Position, records: &[Rid]) -> bool {
        if self.newest().coverage != from {
            return false;
        }
        self.published.extend(records);
        self.versions.push(Version { coverage: upto, records: self.published.len() });
        true
    }
}
