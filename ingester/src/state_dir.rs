//! The small files beside the log: whose disk this is, which pushes of each cell were published lately, what was lost. Each is written whole beside its place, fsynced and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hearth_common::{DiskId, TimestampNs};

use crate::options::StartError;

/// First bytes of a file of pushes.
const IDS_MAGIC: [u8; 8] = *b"HEARTHID";
const IDS_VERSION: u32 = 1;
/// Most records that are kept because they could not be built.
const QUARANTINE_FILES_MAX: usize = 256;
/// Magic, version, count, checksum.
const IDS_HEADER_BYTES: usize = 20;

/// The folder.
#[derive(Debug)]
pub(crate) struct StateDir {
    dir: PathBuf,
    pub(crate) disk: DiskId,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.display().to_string();
    move |source| StartError::Folder { doing, path, source }
}

impl StateDir {
    /// Opens the folder. `fresh_disk` names a disk that has no name yet.
    pub(crate) fn open(dir: &Path, fresh_disk: DiskId) -> Result<Self, StartError> {
        let ids = dir.join("ids");
        fs::create_dir_all(&ids).map_err(failed("create", &ids))?;
        let disk_file = dir.join("disk-id");
        let disk = match read_text(&disk_file)? {
            Some(text) => DiskId::from_hex(text.trim()).ok_or(StartError::Damaged {
                path: disk_file.display().to_string(),
                what: "not 32 hex digits",
            })?,
            None => {
                replace(&disk_file, fresh_disk.to_string().as_bytes())
                    .map_err(failed("write", &disk_file))?;
                fresh_disk
            }
        };
        Ok(Self { dir: dir.to_owned(), disk })
    }

    /// Opens a folder that an ingester has used; nothing is made.
    pub(crate) fn open_existing(dir: &Path) -> Result<Self, StartError> {
        let disk_file = dir.join("disk-id");
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no ingester has used this folder");
        if read_text(&disk_file)?.is_none() {
            return Err(failed("read", &disk_file)(missing()));
        }
        Self::open(dir, DiskId(0))
    }

    /// The error of something that was done with the folder.
    pub(crate) fn failed(&self, doing: &'static str, source: io::Error) -> StartError {
        failed(doing, &self.dir)(source)
    }

    /// The folder of the log.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.dir.join("wal")
    }

    fn ids_dir(&self, cell: u16) -> PathBuf {
        self.dir.join("ids").join(cell.to_string())
    }

    /// Keeps the identities of published records of a cell; `now` names the file.
    pub(crate) fn save_ids(&self, cell: u16, now: TimestampNs, ids: &[u128]) -> io::Result<()> {
        let folder = self.ids_dir(cell);
        fs::create_dir_all(&folder)?;
        let mut bytes = Vec::with_capacity(IDS_HEADER_BYTES + ids.len() * 16);
        bytes.extend_from_slice(&IDS_MAGIC);
        bytes.extend_from_slice(&IDS_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(ids.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        ids.iter().for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()));
        let crc = crc32c::crc32c(&bytes[IDS_HEADER_BYTES..]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        // Two lists of one millisecond must not replace each other.
        let path = |ms: i64| folder.join(format!("{ms:020}.ids"));
        let mut ms = now.as_ms();
        while path(ms).exists() {
            ms += 1;
        }
        replace(&path(ms), &bytes)
    }

    /// Keeps the bytes of a record that could not be built, named by their hash, up to a bound.
    pub(crate) fn keep_aside(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.dir.join("quarantine");
        fs::create_dir_all(&folder)?;
        if fs::read_dir(&folder)?.count() >= QUARANTINE_FILES_MAX {
            return Err(io::Error::other(format!(
                "{} holds {QUARANTINE_FILES_MAX} records already: look at them and remove them",
                folder.display()
            )));
        }
        replace(&folder.join(format!("{:032x}.record", xxhash_rust::xxh3::xxh3_128(bytes))), bytes)
    }

    /// Identities of a cell saved since `since`, with the time of their file; older files are removed. A damaged file is passed over
    /// with a warning: a retry of what it held would count twice until compaction.
    pub(crate) fn load_ids(&self, cell: u16, since: TimestampNs) -> Vec<(TimestampNs, Vec<u128>)> {
        let Ok(entries) = fs::read_dir(self.ids_dir(cell)) else { return Vec::new() };
        let mut found = Vec::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(time) = stem.map(TimestampNs::from_ms) else { continue };
            if time < since {
                remove(&path);
                continue;
            }
            match fs::read(&path).ok().and_then(|bytes| parse_ids(&bytes)) {
                Some(ids) => found.push((time, ids)),
                None => tracing::warn!(file = %path.display(), "a list of recent pushes is damaged"),
            }
        }
        found.sort();
        found
    }

    /// Removes lists older than `since`, of all cells.
    pub(crate) fn forget_ids(&self, since: TimestampNs) {
        let Ok(cells) = fs::read_dir(self.dir.join("ids")) else { return };
        let lists = cells.filter_map(|cell| fs::read_dir(cell.ok()?.path()).ok()).flatten();
        for path in lists.filter_map(|entry| Some(entry.ok()?.path())) {
            let stem =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<i64>().ok());
            if stem.is_some_and(|ms| TimestampNs::from_ms(ms) < since) {
                remove(&path);
            }
        }
    }

    /// What earlier lives found damaged, until an operator removes the file.
    pub(crate) fn damage(&self) -> Option<String> {
        fs::read_to_string(self.damage_file()).ok().filter(|text| !text.trim().is_empty())
    }

    /// Adds to what is damaged.
    pub(crate) fn report_damage(&self, line: &str) -> io::Result<()> {
        let text = self.damage().unwrap_or_default();
        if text.lines().any(|known| known == line) {
            return Ok(());
        }
        replace(&self.damage_file(), format!("{text}{line}\n").as_bytes())
    }

    fn damage_file(&self) -> PathBuf {
        self.dir.join("damage")
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "an old list of pushes was not removed");
    }
}

fn parse_ids(bytes: &[u8]) -> Option<Vec<u128>> {
    let (header, ids) = bytes.split_first_chunk::<IDS_HEADER_BYTES>()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let valid = header[..8] == IDS_MAGIC
        && word(8) == IDS_VERSION
        && ids.len() == word(12) as usize * 16
        && crc32c::crc32c(ids) == word(16);
    valid.then(|| ids.as_chunks::<16>().0.iter().map(|id| u128::from_le_bytes(*id)).collect())
}

fn read_text(path: &Path) -> Result<Option<String>, StartError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = StateDir::open(dir.path(), DiskId(7)).expect("opens");
        let second = StateDir::open(dir.path(), DiskId(8)).expect("opens");
        assert_eq!((first.disk, second.disk), (DiskId(7), DiskId(7)));
        fs::write(dir.path().join("disk-id"), "x").expect("written");
        assert!(StateDir::open(dir.path(), DiskId(8)).is_err());
    }

    /// docs/formats/data-folder.md: every later version must read this.
    #[test]
    fn a_list_of_version_1_is_read_for_ever() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(dir.path(), DiskId(7)).expect("opens");
        state.save_ids(3, TimestampNs::from_ms(1000), &[1, 0x0203]).expect("written");
        let golden = include_bytes!("../tests/golden/published-v1.ids");
        let written = fs::read(dir.path().join("ids/3/00000000000000001000.ids")).expect("there");
        assert_eq!(written, golden);
        assert_eq!(parse_ids(golden), Some(vec![1, 0x0203]));
    }

    #[test]
    fn lists_of_pushes_come_back_until_they_are_old_or_damaged() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(dir.path(), DiskId(7)).expect("opens");
        let at = TimestampNs::from_ms;
        state.save_ids(3, at(1000), &[1, 2]).expect("written");
        state.save_ids(3, at(2000), &[u128::MAX]).expect("written");
        assert_eq!(state.load_ids(3, at(0)), [(at(1000), vec![1, 2]), (at(2000), vec![u128::MAX])]);
        assert_eq!(state.load_ids(3, at(1500)), [(at(2000), vec![u128::MAX])]);
        assert!(!dir.path().join("ids/3").join(format!("{:020}.ids", 1000)).exists());
        let path = dir.path().join("ids/3").join(format!("{:020}.ids", 2000));
        let mut bytes = fs::read(&path).expect("there");
        bytes[25] ^= 1;
        fs::write(&path, bytes).expect("written");
        assert_eq!(state.load_ids(3, at(0)), []);
    }
}
