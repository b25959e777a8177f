//! The wish to leave the cluster for good, in the data folder: a restart does not take it back.
//!
//! Owns one file. It names the disk that leaves: who comes with a new disk did not wish to leave. Removing the file and
//! restarting takes the wish back, as long as the roster says `leaving`. Must not know what leaving means.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hearth_common::DiskId;

const FILE: &str = "leaving";
const FILE_NEW: &str = "leaving.new";

/// The wish could not be kept, or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the wish to leave, {path}", path = path.display())]
pub struct WishError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Whether the folder holds the wish of this disk.
pub(super) fn is_kept(folder: &Path, disk: DiskId) -> Result<bool, WishError> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => Ok(bytes.trim_ascii() == disk.to_string().as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(WishError { doing: "read", path, source }),
    }
}

/// Keeps the wish of a disk; on `Ok` it is on disk.
pub(super) fn keep(folder: &Path, disk: DiskId) -> Result<(), WishError> {
    let path = folder.join(FILE);
    let replace = || {
        let new = folder.join(FILE_NEW);
        let mut file = File::create(&new)?;
        file.write_all(format!("{disk}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(|source| WishError { doing: "keep", path: path.clone(), source })
}
