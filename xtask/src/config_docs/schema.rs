//! The JSON schema of a settings file, for editors.

use anyhow::Result;
use hearth_common::limits::ignored;
use serde_json::{Map, Value, json};

use super::at;
use super::source::{Kind, Model, Section};

const DURATION: &str = r"^(0|([0-9.]+(ns|us|µs|ms|s|m|h|d|w|y))+)$";
const SIZE: &str = r"^[0-9.]+ ?(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?$";

pub(super) fn write(model: &Model, defaults: &Value) -> Result<String> {
    let mut schema = section(&model.settings, "", defaults);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Settings of Hearth");
    Ok(format!("{}\n", serde_json::to_string_pretty(&schema)?))
}

fn section(section: &Section, path: &str, defaults: &Value) -> Value {
    let mut properties = Map::new();
    for key in &section.keys {
        let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        let mut schema = kind(&key.kind, &path, defaults);
        schema["description"] = json!(key.doc);
        let is_section = matches!(key.kind, Kind::Section(_));
        if let Some(default) = at(defaults, &path).filter(|_| !is_section) {
            schema["default"] = default.clone();
        }
        properties.insert(key.name.clone(), schema);
    }
    let ignored = ignored_below(path);
    if path == "limits" {
        for (theirs, own) in ignored::RENAMED {
            properties.insert((*theirs).to_owned(), properties[*own].clone());
        }
    }
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties,
        "description": section.doc});
    if !ignored.is_empty() {
        schema["patternProperties"] = Value::Object(ignored);
    }
    schema
}

/// Keys of Pyroscope's limits that are taken in a section and have no meaning, as patterns.
fn ignored_below(section: &str) -> Map<String, Value> {
    let Some(below) = section.strip_prefix("limits") else { return Map::new() };
    let rows = ignored::rows().filter_map(|(row, why)| {
        let (prefix, key) = row.rsplit_once('.').unwrap_or(("", row));
        let pattern = match key.strip_suffix('*') {
            Some(family) => format!("^{family}(_.*)?$"),
            None => format!("^{key}$"),
        };
        let said = json!({"description": format!("Ignored: {}.", why.text())});
        (below.trim_start_matches('.') == prefix).then_some((pattern, said))
    });
    rows.collect()
}

fn kind(of: &Kind, path: &str, defaults: &Value) -> Value {
    match of {
        Kind::Text | Kind::Path => json!({"type": "string"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Whole => json!({"type": "integer", "minimum": 0}),
        Kind::Signed => json!({"type": "integer"}),
        Kind::Number => json!({"type": "number"}),
        Kind::Duration => json!({"anyOf": [{"type": "string", "pattern": DURATION}, {"const": 0}]}),
        Kind::Size => json!({"type": ["string", "integer"], "pattern": SIZE, "minimum": 0}),
        Kind::Choice(choices) => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| name.as_str()).collect();
            json!({"enum": names})
        }
        Kind::Optional(inner) => json!({"anyOf": [kind(inner, path, defaults), {"type": "null"}]}),
        // Entries have no defaults of their own to look up.
        Kind::List(inner) => json!({"type": "array", "items": kind(inner, "-", defaults)}),
        Kind::Map(inner) => json!({"type": "object", "additionalProperties": kind(inner, "-", defaults)}),
        Kind::Section(inner) => section(inner, path, defaults),
    }
}
