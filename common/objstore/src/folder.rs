//! Reads of a local folder: one blocking task a call, `pread` for every range.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::error::StoreErrorKind;

/// Why a local read failed.
#[derive(Debug)]
pub(crate) struct LocalError(pub(crate) StoreErrorKind, pub(crate) Option<io::Error>);

impl From<io::Error> for LocalError {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            // A path below something that is a file does not exist either.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => StoreErrorKind::Denied,
            io::ErrorKind::UnexpectedEof => StoreErrorKind::OutOfRange,
            _ => StoreErrorKind::Unavailable,
        };
        Self(kind, Some(error))
    }
}

/// Runs blocking work off the executor.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> Result<T, LocalError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(LocalError(StoreErrorKind::Unavailable, Some(io::Error::other(error)))),
    }
}

/// A whole file of at most `limit` bytes.
pub(crate) fn read_whole(path: &PathBuf, limit: u64) -> Result<Bytes, LocalError> {
    let file = open(path)?;
    let len = file.metadata()?.len();
    if len > limit {
        return Err(LocalError(StoreErrorKind::TooLarge { bytes: len, limit }, None));
    }
    read_at(&file, 0..len)
}

/// Ranges of a file, in the order given.
pub(crate) fn read_ranges(path: &PathBuf, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, LocalError> {
    let file = open(path)?;
    let len = file.metadata()?.len();
    // Before anything is allocated for it.
    if ranges.iter().any(|range| range.start > range.end || range.end > len) {
        return Err(LocalError(StoreErrorKind::OutOfRange, None));
    }
    ranges.iter().map(|range| read_at(&file, range.clone())).collect()
}

fn open(path: &PathBuf) -> Result<File, LocalError> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(LocalError(StoreErrorKind::NotFound, None));
    }
    Ok(file)
}

fn read_at(file: &File, range: Range<u64>) -> Result<Bytes, LocalError> {
    let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(Bytes::from(bytes))
}
