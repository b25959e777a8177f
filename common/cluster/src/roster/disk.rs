//! The copy of the roster in the data folder: with it a process starts, and goes on, while the object store is away.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::RosterError;
use super::json::{decode_roster, encode_roster};
use super::types::Roster;

/// Name of the file in the data folder.
pub(crate) const FILE: &str = "roster";
const FILE_NEW: &str = "roster.new";

/// Reads the copy; `None` if there is none.
pub(crate) fn read(folder: &Path) -> Result<Option<Roster>, RosterError> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => decode_roster(&path.to_string_lossy(), &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RosterError::Disk { path: path.to_string_lossy().into_owned(), source }),
    }
}

/// Replaces the copy; on `Ok` it is on disk.
pub(crate) fn write(folder: &Path, roster: &Roster) -> Result<(), RosterError> {
    let replace = || {
        let (new, path) = (folder.join(FILE_NEW), folder.join(FILE));
        let mut file = File::create(&new)?;
        file.write_all(&encode_roster(roster))?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(|source| RosterError::Disk {
        path: folder.join(FILE).to_string_lossy().into_owned(),
        source,
    })
}

/// As [`write`], from a task.
pub(crate) async fn write_from_task(
    folder: PathBuf,
    roster: std::sync::Arc<Roster>,
) -> Result<(), RosterError> {
    let path = folder.join(FILE).to_string_lossy().into_owned();
    let written = tokio::task::spawn_blocking(move || write(&folder, &roster)).await;
    written.unwrap_or_else(|error| Err(RosterError::Disk { path, source: io::Error::other(error) }))
}
