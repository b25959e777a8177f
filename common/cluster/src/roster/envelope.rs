//! What stands around a JSON text in the store and on disk (`docs/formats/roster.md`). Pure.

use hearth_objstore::{Envelope, EnvelopeError};

use super::error::RosterError;

/// Checks an object and gives its JSON text; `key` is for the error.
pub(crate) fn unwrap<'a>(kind: Envelope, key: &str, object: &'a [u8]) -> Result<&'a [u8], RosterError> {
    let key = || key.to_owned();
    kind.unwrap(object).map_err(|error| match error {
        EnvelopeError::Damaged(why) => RosterError::Damaged { key: key(), why: why.to_owned() },
        EnvelopeError::NewerFormat { found, known } => RosterError::NewerFormat { key: key(), found, known },
    })
}
