//! One process owns a data folder.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::NodeError;

/// Held as long as the process lives; the kernel lets it go whatever happens to the process.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if it is missing, and takes it.
    pub fn take(folder: &Path) -> Result<Self, NodeError> {
        let fail = |doing, source: io::Error| NodeError::Folder { doing, folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|error| fail("make", error))?;
        let path = folder.join("lock");
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| fail("write to", error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(NodeError::FolderTaken(folder.to_owned())),
            Err(error) => Err(fail("lock", error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("deep/data");
        let lock = FolderLock::take(&folder).expect("free");
        let error = FolderLock::take(&folder).expect_err("taken").to_string();
        assert!(error.starts_with("another process uses the data folder "), "{error}");
        drop(lock);
        FolderLock::take(&folder).expect("free again");
    }
}
