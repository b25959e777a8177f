//! The copy of the roster: with it a process starts, and goes on, while the object store is away. What a member knows of
//! placements it must not forget: others rely on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::error::RosterError;
use super::json::{decode_roster, encode_roster};
use super::types::Roster;

/// Name of the file in the data folder.
const FILE: &str = "roster";
const FILE_NEW: &str = "roster.new";

/// Where a process keeps its copy of the roster.
#[async_trait]
pub trait RosterCopy: Send + Sync {
    /// The copy; `None` if there is none. Blocks for a moment.
    fn read(&self) -> Result<Option<Roster>, RosterError>;
    /// Replaces it; on `Ok` a power cut leaves it there.
    async fn write(&self, roster: Arc<Roster>) -> Result<(), RosterError>;
}

/// In a folder, as `roster`.
#[derive(Debug)]
pub struct FolderCopy(pub PathBuf);

#[async_trait]
impl RosterCopy for FolderCopy {
    fn read(&self) -> Result<Option<Roster>, RosterError> {
        read(&self.0)
    }

    async fn write(&self, roster: Arc<Roster>) -> Result<(), RosterError> {
        let (folder, path) = (self.0.clone(), self.0.join(FILE).to_string_lossy().into_owned());
        let written = tokio::task::spawn_blocking(move || write(&folder, &roster)).await;
        written.unwrap_or_else(|error| Err(RosterError::Disk { path, source: io::Error::other(error) }))
    }
}

/// Reads the copy; `None` if there is none.
fn read(folder: &Path) -> Result<Option<Roster>, RosterError> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => decode_roster(&path.to_string_lossy(), &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RosterError::Disk { path: path.to_string_lossy().into_owned(), source }),
    }
}

/// Replaces the copy; on `Ok` it is on disk.
fn write(folder: &Path, roster: &Roster) -> Result<(), RosterError> {
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
