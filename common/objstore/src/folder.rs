//! Reads of a local folder: one blocking task a call, `pread` for every range; and what writers that died left in it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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

/// Whether this is a file that `LocalFileSystem` writes before it gives it the name of its object: `name#1`. No listing
/// shows such files.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes files below `dir` that were begun before a time and never became objects, and folders that are empty then, up to
/// `root`. Says how many.
pub(crate) fn remove_unfinished(root: &Path, dir: PathBuf, before: SystemTime) -> Result<u64, LocalError> {
    let (mut removed, mut folders) = (0, vec![dir]);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Others clean up too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let old = || entry.metadata().and_then(|data| data.modified()).is_ok_and(|at| at < before);
            if !entry.file_name().to_str().is_some_and(is_unfinished) || !old() {
                continue;
            }
            match std::fs::remove_file(entry.path()) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            }
            let emptied = folder.ancestors().take_while(|above| *above != root);
            // The first that has something in it ends this.
            let _ = emptied.map(std::fs::remove_dir).take_while(Result::is_ok).count();
        }
    }
    Ok(removed)
}
