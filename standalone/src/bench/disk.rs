//! What the disk itself does: the time of a write with fdatasync, and the bytes that lie in the store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hearth_common::{Clock, SystemClock};
use serde_json::json;

use super::figures::{percentile_ms, print};

const PROBES: usize = 300;

/// Times appends of `bytes` with an fdatasync each, on an otherwise idle disk.
pub(super) fn print_fsync(folder: &Path, bytes: usize, clock: &SystemClock) -> Result<()> {
    let path = folder.join("fsync-probe");
    let mut file =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let block = vec![0x5a; bytes.max(1)];
    let mut times = Vec::<Duration>::with_capacity(PROBES);
    for _ in 0..PROBES {
        let begun = clock.monotonic();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(clock.monotonic() - begun);
    }
    drop(file);
    std::fs::remove_file(&path)?;
    let (p50, p99) = (percentile_ms(&mut times, 0.5), percentile_ms(&mut times, 0.99));
    print(&json!({"op": "disk", "write_bytes": bytes, "fsync_p50_ms": p50, "fsync_p99_ms": p99}));
    Ok(())
}

/// What lies below a folder.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// Bytes by file name, such as `samples.parquet`.
    pub(super) by_name: BTreeMap<String, u64>,
}

pub(super) fn stored(folder: &Path) -> Result<Stored> {
    let mut stored = Stored::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
                continue;
            }
            stored.bytes += metadata.len();
            stored.files += 1;
            *stored.by_name.entry(entry.file_name().to_string_lossy().into_owned()).or_default() +=
                metadata.len();
        }
    }
    Ok(stored)
}
