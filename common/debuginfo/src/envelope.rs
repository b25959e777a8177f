//! What stands around the JSON of a state. Pure.

use hearth_objstore::{Envelope, EnvelopeError};

use crate::error::Error;

const STATE: Envelope = Envelope { magic: *b"HEARTHDI", format: 1 };

/// Wraps a JSON text.
pub(crate) fn wrap(json: &[u8]) -> Vec<u8> {
    STATE.wrap(json)
}

/// Checks an object and gives its JSON text; `key` is for the error.
pub(crate) fn unwrap<'a>(key: &str, object: &'a [u8]) -> Result<&'a [u8], Error> {
    let key = || key.to_owned();
    STATE.unwrap(object).map_err(|error| match error {
        EnvelopeError::Damaged(why) => Error::Damaged { key: key(), why: why.to_owned() },
        EnvelopeError::NewerFormat { found, known } => Error::NewerFormat { key: key(), found, known },
    })
}
