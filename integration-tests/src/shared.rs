//! The checks from outside that may lie beside the project: conformance questions and real clients.

use std::path::PathBuf;

pub use hearth_testkit::report::{report, skipped};

/// A folder of checks beside the project; `None`, with a note, when it is not there.
pub fn find(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("shared").join(name);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("{} is not there", path.display()));
    None
}
