//! One state of an upload, as it lies in the store: JSON in an envelope, a version of a chain. Pure.

use hearth_common::{BlockId, TimestampNs};
use hearth_symbols::BuildId;
use serde::{Deserialize, Serialize};

use crate::envelope;
use crate::error::Error;

/// Most bytes of each name that a client gives to a file.
pub const NAME_BYTES_MAX: usize = 4096;
/// Most bytes of a state: three names, each byte of which JSON may escape by six.
pub(crate) const RECORD_BYTES_MAX: u64 = 18 * NAME_BYTES_MAX as u64 + 4096;

/// What a client says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What the linker has written into the program.
    pub build_id: BuildId,
    /// Go's own id; not used.
    pub go_build_id: String,
    /// The id of OpenTelemetry's profiler; not used.
    pub otel_file_id: String,
    /// The file's name.
    pub name: String,
    /// What is in it.
    pub kind: FileKind,
}

impl FileInfo {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let names =
            [("name", &self.name), ("go_build_id", &self.go_build_id), ("otel_file_id", &self.otel_file_id)];
        match names.into_iter().find(|(_, text)| text.len() > NAME_BYTES_MAX) {
            Some((field, text)) => Err(Error::Name { field, bytes: text.len() }),
            None => Ok(()),
        }
    }
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// The program as it runs.
    ExecutableFull,
    /// What `strip --only-keep-debug` leaves of it.
    ExecutableNoText,
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Begun; a file may have come.
    Uploading,
    /// Finished: the file is there, and does not change.
    Uploaded,
    /// As if it had never been; the next one goes on from here.
    Deleted,
}

/// Names one attempt to send a file: its object has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadId(pub(crate) u128);

/// A file that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Names the object.
    pub(crate) upload: UploadId,
    pub(crate) bytes: u64,
}

/// One state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// 1, 2, 3 …
    pub(crate) version: u64,
    /// Whose write it is.
    pub(crate) nonce: u128,
    /// The nonce of the version before; 0: none.
    pub(crate) parent: u128,
    pub(crate) state: State,
    pub(crate) file: FileInfo,
    pub(crate) started: TimestampNs,
    pub(crate) finished: Option<TimestampNs>,
    pub(crate) received: Option<Received>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    nonce: String,
    parent: String,
    state: State,
    file: StoredFile,
    started_at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    received: Option<StoredReceived>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFile {
    gnu_build_id: String,
    #[serde(default)]
    go_build_id: String,
    #[serde(default)]
    otel_file_id: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: FileKind,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredReceived {
    /// The object below `exe/`.
    upload: String,
    size_bytes: u64,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let file = &self.file;
        let stored = Stored {
            version: self.version,
            nonce: hex(self.nonce),
            parent: hex(self.parent),
            state: self.state,
            file: StoredFile {
                gnu_build_id: file.build_id.as_str().to_owned(),
                go_build_id: file.go_build_id.clone(),
                otel_file_id: file.otel_file_id.clone(),
                name: file.name.clone(),
                kind: file.kind,
            },
            started_at_ms: self.started.as_ms(),
            finished_at_ms: self.finished.map(TimestampNs::as_ms),
            received: self
                .received
                .map(|it| StoredReceived { upload: hex(it.upload.0), size_bytes: it.bytes }),
        };
        envelope::wrap(&serde_json::to_vec(&stored).expect("texts and numbers are JSON"))
    }

    pub(crate) fn decode(key: &str, object: &[u8]) -> Result<Self, Error> {
        let damaged = |why: String| Error::Damaged { key: key.to_owned(), why };
        let json = envelope::unwrap(key, object)?;
        let stored: Stored = serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
        let number = |text: &str| {
            BlockId::from_hex(text)
                .map(|id| id.0)
                .ok_or_else(|| damaged(format!("'{text}' is not 32 hex digits")))
        };
        let received = match &stored.received {
            Some(it) => Some(Received { upload: UploadId(number(&it.upload)?), bytes: it.size_bytes }),
            None => None,
        };
        let (nonce, parent) = (number(&stored.nonce)?, number(&stored.parent)?);
        let StoredFile { gnu_build_id, go_build_id, otel_file_id, name, kind } = stored.file;
        let build_id =
            BuildId::parse(&gnu_build_id).map_err(|_| damaged(format!("'{gnu_build_id}' is no build id")))?;
        if stored.state == State::Uploaded && received.is_none() {
            return Err(damaged("it is finished and names no file".to_owned()));
        }
        Ok(Self {
            version: stored.version,
            nonce,
            parent,
            state: stored.state,
            file: FileInfo { build_id, go_build_id, otel_file_id, name, kind },
            started: TimestampNs::from_ms(stored.started_at_ms),
            finished: stored.finished_at_ms.map(TimestampNs::from_ms),
            received,
        })
    }
}

fn hex(number: u128) -> String {
    format!("{number:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: 3,
            nonce: 0x11,
            parent: 0x10,
            state: State::Uploaded,
            file: FileInfo {
                build_id: BuildId::parse("9f86d081884c7d65").expect("valid"),
                go_build_id: String::new(),
                otel_file_id: "ab".to_owned(),
                name: "shop \"1\"".to_owned(),
                kind: FileKind::ExecutableNoText,
            },
            started: TimestampNs::from_ms(1_700_000_000_000),
            finished: Some(TimestampNs::from_ms(1_700_000_007_000)),
            received: Some(Received { upload: UploadId(0xabc), bytes: 4711 }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = record();
        assert_eq!(Record::decode("k", &whole.encode()).expect("valid"), whole);
        let bare = Record { state: State::Uploading, finished: None, received: None, ..whole };
        assert_eq!(Record::decode("k", &bare.encode()).expect("valid"), bare);
    }

    /// The state of docs/formats/debug-info.md, as version 1 wrote it.
    #[test]
    fn the_golden_state_is_read() {
        let golden = include_bytes!("../tests/golden/state-1.bin");
        assert_eq!(Record::decode("k", golden).expect("valid"), record());
        assert_eq!(record().encode(), golden);
    }

    #[test]
    fn other_texts_are_errors() {
        let text =
            String::from_utf8(record().encode()[hearth_objstore::ENVELOPE_BYTES..].to_vec()).expect("JSON");
        assert!(Record::decode("k", &envelope::wrap(text.as_bytes())).is_ok());
        for bad in [
            String::new(),
            text[..text.len() - 1].to_owned(),
            text.replacen("9f86d081884c7d65", "no hex", 1),
            text.replacen("00000abc", "0000xabc", 1),
            text.replacen("\"received\"", "\"ignored\"", 1),
            text.replacen(
                "\"received\":{\"upload\":\"00000000000000000000000000000abc\",\"size_bytes\":4711}",
                "\"received\":null",
                1,
            ),
        ] {
            let object = envelope::wrap(bad.as_bytes());
            assert!(matches!(Record::decode("k", &object), Err(Error::Damaged { .. })), "{bad}");
        }
    }

    #[test]
    fn names_have_a_limit() {
        let mut file = record().file;
        assert!(file.check().is_ok());
        file.name = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(file.check().expect_err("too long").to_string().starts_with("name has 4097 bytes"));
    }
}
