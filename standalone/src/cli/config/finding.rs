//! What a check finds, and how it is said.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// A start or a reload refuses it, or it cannot be meant.
    Error,
    /// It works, and is probably not what was wanted.
    Warning,
}

/// One thing that was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) line: Option<u64>,
    pub(super) key: Option<String>,
    pub(super) message: String,
}

/// A file that is looked at, for the lines of its keys.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    text: String,
}

impl Place {
    pub(super) fn read(path: &Path) -> Self {
        // What cannot be read was said before; then only lines are missing.
        Self { path: path.to_owned(), text: std::fs::read_to_string(path).unwrap_or_default() }
    }

    pub(super) fn finding(&self, level: Level, key: &str, message: impl Into<String>) -> Finding {
        let line = line_of(&self.text, key);
        Finding { level, file: self.path.clone(), line, key: Some(key.to_owned()), message: message.into() }
    }
}

/// The line on which a dotted key stands in block notation, else that of the nearest map around it.
fn line_of(text: &str, key: &str) -> Option<u64> {
    let lines: Vec<(usize, &str)> =
        text.lines().map(|line| (line.len() - line.trim_start().len(), line.trim_start())).collect();
    let (mut at, mut indent, mut found) = (0, None, None);
    for part in key.split('.') {
        let part = part.split('[').next().unwrap_or(part);
        let is_it = |line: &str| {
            let name = line.split(':').next().unwrap_or_default().trim_matches(['"', '\'']);
            name == part && line.contains(':')
        };
        let below = |line_indent: usize| indent.is_none_or(|indent| line_indent > indent);
        let mut next = None;
        for (place, (line_indent, line)) in lines.iter().enumerate().skip(at) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !below(*line_indent) {
                break;
            }
            if is_it(line) {
                next = Some((place, *line_indent));
                break;
            }
        }
        let Some((place, line_indent)) = next else { break };
        found = Some(place as u64 + 1);
        (at, indent) = (place + 1, Some(line_indent));
    }
    found
}

impl Finding {
    /// One line for a person.
    pub(super) fn text(&self) -> String {
        let level = if self.level == Level::Error { "error" } else { "warning" };
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let key = self.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
        format!("{}{line}: {level}: {key}{}", self.file.display(), self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_on_their_lines() {
        let text = "# limits:\nwal:\n  quota_bytes: 1\nlimits:\n\n  # a\n  retention:\n    - selector: x\n  a: 2\noverrides:\n  t-1: {a: 1}\n";
        for (key, line) in [
            ("wal.quota_bytes", Some(3)),
            ("limits.retention[0]", Some(7)),
            ("limits.a", Some(9)),
            ("overrides.t-1.a", Some(11)),
            ("limits.missing", Some(4)),
            ("missing", None),
        ] {
            assert_eq!(line_of(text, key), line, "{key}");
        }
    }
}
