//! What stands around the JSON of a root, a page or a record of a deletion. Pure.

use hearth_objstore::{Envelope, EnvelopeError};

use crate::error::CatalogError;
use crate::record::RECORD_FORMAT;
use crate::root::ROOT_FORMAT;

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Root,
    Page,
    Deletion,
    /// As the first versions wrote it; read only.
    FirstDeletion,
}

impl Kind {
    fn envelope(self) -> Envelope {
        let (magic, format) = match self {
            Self::Root => (*b"HEARTHRT", ROOT_FORMAT),
            Self::Page => (*b"HEARTHPG", ROOT_FORMAT),
            Self::Deletion => (*b"HEARTHDL", RECORD_FORMAT),
            Self::FirstDeletion => (*b"HEARTHDL", 1),
        };
        Envelope { magic, format }
    }
}

/// Wraps a JSON text.
pub(crate) fn wrap(kind: Kind, json: &[u8]) -> Vec<u8> {
    kind.envelope().wrap(json)
}

/// Checks an object and gives its JSON text; `key` is for the error.
pub(crate) fn unwrap<'a>(kind: Kind, key: &str, object: &'a [u8]) -> Result<&'a [u8], CatalogError> {
    let key = || key.to_owned();
    kind.envelope().unwrap(object).map_err(|error| match error {
        EnvelopeError::Damaged(why) => CatalogError::Damaged { key: key(), why: why.to_owned() },
        EnvelopeError::NewerFormat { found, known } => CatalogError::NewerFormat { key: key(), found, known },
    })
}
