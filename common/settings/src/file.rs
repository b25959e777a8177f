//! One YAML file to a value, strictly: unknown keys are errors that name the key, its line and the nearest valid key.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::nearest::nearest;

/// Longest settings file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads and parses a file. An empty file is the defaults.
pub(crate) fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, Error> {
    parse(path, &text(path)?)
}

/// The text of a file.
pub(crate) fn text(path: &Path) -> Result<String, Error> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(fail)?.len();
    if bytes > FILE_BYTES_MAX {
        let message =
            format!("the file has {bytes} bytes, more than the {FILE_BYTES_MAX} that settings may have");
        return Err(Error::File { path: path.to_owned(), line: 0, message });
    }
    std::fs::read_to_string(path).map_err(fail)
}

/// Parses the text of a file; `path` is only named in errors.
pub(crate) fn parse<T: DeserializeOwned + Default>(path: &Path, text: &str) -> Result<T, Error> {
    let blank = text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    });
    if blank {
        return Ok(T::default());
    }
    serde_saphyr::from_str(text).map_err(|error| explain(path, text, &error))
}

fn explain(path: &Path, text: &str, error: &serde_saphyr::Error) -> Error {
    let path = path.to_owned();
    let error = error.without_snippet();
    let line = error.location().map_or(0, |location| location.line());
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let suggestion = nearest(field, expected.iter().copied()).map(str::to_owned);
            Error::UnknownKey { path, line, key: field.clone(), suggestion }
        }
        serde_saphyr::Error::InvalidScalar { ty, .. } => {
            let written = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
            let message = format!("'{}': {}", written.unwrap_or_default().trim(), needs(ty));
            Error::File { path, line, message }
        }
        other => Error::File { path, line, message: first_line(&other.to_string()) },
    }
}

/// The message without the excerpt of the file that follows it.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn needs(ty: &str) -> String {
    match ty {
        "bool" => "write true or false".to_owned(),
        ty if ty.starts_with('u') => "write a whole number, 0 or more".to_owned(),
        ty if ty.starts_with('i') => "write a whole number".to_owned(),
        ty if ty.starts_with('f') => "write a number".to_owned(),
        ty => format!("no valid {ty}"),
    }
}

/// A YAML file as it is, whatever its keys: for files of others.
pub fn read_tree(path: &Path) -> Result<serde_json::Value, Error> {
    read(path)
}

/// A tree as YAML.
pub fn tree_to_yaml(tree: &serde_json::Value) -> String {
    serde_saphyr::to_string(tree).expect("a tree of strings, numbers, lists and maps is YAML")
}
