//! The settings that come out, as YAML with a comment at each that says where it came from.

use std::fmt::Write as _;

use hearth_settings::tree_to_yaml;
use serde_json::Value;

/// One setting.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// With dots; names of tenants may hold dots themselves.
    pub(super) path: Vec<String>,
    pub(super) value: Value,
    /// What it came from.
    pub(super) from: String,
}

/// Settings as a file. A later one of a key replaces an earlier one.
pub(super) fn yaml(head: &str, settings: &[Setting]) -> String {
    let mut text = String::new();
    for line in head.lines() {
        _ = writeln!(text, "# {line}");
    }
    let last = |at: usize| !settings[at + 1..].iter().any(|later| later.path == settings[at].path);
    let kept: Vec<&Setting> =
        settings.iter().enumerate().filter(|(at, _)| last(*at)).map(|(_, setting)| setting).collect();
    level(&mut text, &kept, 0);
    text
}

fn level(text: &mut String, settings: &[&Setting], depth: usize) {
    let indent = "  ".repeat(depth);
    let mut names: Vec<&str> = Vec::new();
    for setting in settings {
        if !names.contains(&setting.path[depth].as_str()) {
            names.push(&setting.path[depth]);
        }
    }
    // Values first, then maps.
    names.sort_by_key(|name| settings.iter().any(|s| s.path[depth] == *name && s.path.len() > depth + 1));
    for name in names {
        let here: Vec<&Setting> = settings.iter().filter(|s| s.path[depth] == name).copied().collect();
        let key = scalar(&Value::from(name));
        match here[..] {
            [setting] if setting.path.len() == depth + 1 => {
                _ = writeln!(text, "{indent}# from {}", setting.from);
                value(text, &indent, &key, &setting.value);
            }
            _ => {
                _ = writeln!(text, "{indent}{key}:");
                level(text, &here, depth + 1);
            }
        }
    }
}

fn value(text: &mut String, indent: &str, key: &str, value: &Value) {
    let block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if !block {
        _ = writeln!(text, "{indent}{key}: {}", scalar(value));
        return;
    }
    _ = writeln!(text, "{indent}{key}:");
    for line in tree_to_yaml(value).lines() {
        _ = writeln!(text, "{indent}  {line}");
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        value => tree_to_yaml(value).trim().to_owned(),
    }
}
