//! Real profiles that lie beside the project (`../shared`): used when they are there, skipped with a note when not.

use std::fs;
use std::path::{Path, PathBuf};

use hearth_formats::gunzip::{inflate_capped, is_gzip};

/// Largest file that is read, inflated.
const FILE_BYTES_MAX: usize = 256 << 20;

/// A real file.
#[derive(Debug, Clone)]
pub struct RealFile {
    /// Its name.
    pub name: String,
    /// As it lies there, gzipped or not.
    pub sent: Vec<u8>,
    /// Inflated.
    pub raw: Vec<u8>,
}

/// The eleven profiles of the benchmark; empty, with a printed note, when they are not there.
pub fn bench_profiles() -> Vec<RealFile> {
    read_all("bench/profiles", |_| true)
}

/// The pprof files of the conformance corpus; empty, with a printed note, when they are not there.
pub fn corpus_profiles() -> Vec<RealFile> {
    read_all("conformance/corpus", |name| name.ends_with(".pprof"))
}

/// The flight recordings of the conformance corpus; empty, with a printed note, when they are not there.
pub fn corpus_recordings() -> Vec<RealFile> {
    read_all("conformance/corpus", |name| name.ends_with(".jfr.gz"))
}

#[allow(clippy::print_stderr, reason = "a test that checks nothing says so")]
fn read_all(folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<RealFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("skipped: {} is not there", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| read(&path)).filter(|file| wanted(&file.name)).collect()
}

fn read(path: &Path) -> Option<RealFile> {
    let sent = fs::read(path).ok()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    let mut raw = Vec::new();
    if is_gzip(&sent) {
        inflate_capped(&sent, FILE_BYTES_MAX, &mut raw).ok()?;
    } else {
        raw.clone_from(&sent);
    }
    Some(RealFile { name, sent, raw })
}
