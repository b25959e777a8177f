//! The reference as a page.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use hearth_settings::{reference_flag, variable_name};
use serde_json::Value;

use super::at;
use super::source::{Key, Kind, Model, Section};

/// Limits that do not simply follow the overrides file while a process runs.
const NOT_RELOADED: &[(&str, &str)] = &[
    ("s3_sse_type", "at a start"),
    ("s3_sse_kms_key_id", "at a start"),
    ("reject_older_than", "yes; in a cluster, more than at the start waits for a restart"),
];
const LIMITS: &str = "limits";

const HEAD: &str = "# All settings

<!-- Written by `cargo xtask config-docs` from the code: edit the comments of the settings there. -->

A setting comes from the first of these that names it: a flag; `--set KEY=VALUE`, which wins over other flags; the variable; the
YAML file (`--config FILE`, or `HEARTH_CONFIG`); the default. Keys are written here with dots, `wal.segment_bytes`; in the file
each part is a map:

```yaml
wal:
  segment_bytes: 128MiB
```

| Type | How it is written |
|---|---|
| duration | a number and a unit, several in a row: `ns`, `us`, `ms`, `s`, `m`, `h`, `d`, `w`, `y`; `90s`, `1h30m`, `7d`; `0` needs none |
| size | bytes, or a number and a unit: `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024, `kB`, `MB`, `GB`, `TB` powers of 1000 |
| list | in the file a YAML list; in a flag or variable `[a, b]`, lists of texts also `a,b` |
| map | in the file a YAML map; in a flag or variable `{name: value}` |

`hearth config check FILE` says whether a file can be used and what in it is doubtful. `hearth config --defaults` prints all keys,
`hearth config` those in force. `deploy/config.schema.json` is a schema of the file: editors complete and check keys with it after
a first line `# yaml-language-server: $schema=config.schema.json`.

A flag marked † is of the programs of a cluster (`hearth-distributor`, `hearth-ingester`, `hearth-querier`, `hearth-compactor`)
only; every key without a flag can be set by `--set`.
";

struct Page<'a> {
    text: String,
    model: &'a Model,
    defaults: &'a Value,
    /// Kinds of entries that have their table already.
    entries: BTreeSet<String>,
}

pub(super) fn write(model: &Model, defaults: &Value) -> Result<String> {
    let mut page = Page { text: HEAD.to_owned(), model, defaults, entries: BTreeSet::new() };
    page.other_flags();
    page.section(&model.settings, "", "")?;
    Ok(page.text)
}

impl Page<'_> {
    /// Flags that set no key.
    fn other_flags(&mut self) {
        self.text.push_str("\n## Flags that are no setting\n\n| Flag | Meaning |\n|---|---|\n");
        for flag in self.model.flags.iter().filter(|flag| flag.key.is_none()) {
            _ = writeln!(self.text, "| `{}` | {} |", flag.name, cell(&flag.doc));
        }
    }

    /// A table of the keys that hold values, then the sections in it.
    fn section(&mut self, section: &Section, path: &str, doc: &str) -> Result<()> {
        let title = if path.is_empty() { "The process".to_owned() } else { format!("`{path}`") };
        _ = write!(self.text, "\n## {title}\n");
        // What the key says, or its type if that has more to say.
        let said = if path != LIMITS && section.doc.len() > doc.len() { &section.doc } else { doc };
        if !path.is_empty() {
            _ = write!(self.text, "\n{said}\n");
        }
        let limits = path.split('.').next() == Some(LIMITS);
        if path == LIMITS {
            self.text.push_str(LIMITS_SAID);
        }
        self.text.push_str(if limits { LIMITS_TABLE } else { TABLE });
        let path_of = |key: &Key| match path.is_empty() {
            true => key.name.clone(),
            false => format!("{path}.{}", key.name),
        };
        for key in section.keys.iter().filter(|key| !matches!(key.kind, Kind::Section(_))) {
            self.row(key, &path_of(key), limits)?;
        }
        for key in &section.keys {
            self.entries_of(&key.kind, &path_of(key));
        }
        for key in &section.keys {
            if let Kind::Section(inner) = &key.kind {
                self.section(inner, &path_of(key), &key.doc)?;
            }
        }
        Ok(())
    }

    fn row(&mut self, key: &Key, path: &str, limits: bool) -> Result<()> {
        let default = at(self.defaults, path).with_context(|| format!("{path} has no default"))?;
        let (default, variable) = (shown(default), variable_name(path));
        let (kind, doc) = (kind_name(&key.kind), cell(&key.doc));
        if limits {
            let name = path.strip_prefix("limits.").unwrap_or(path);
            let flag = reference_flag(name).map(|flag| format!("`-{flag}`")).unwrap_or_default();
            let reload =
                NOT_RELOADED.iter().find(|(known, _)| *known == name).map_or("yes", |(_, when)| *when);
            _ = writeln!(
                self.text,
                "| `{path}` | `{variable}` | {kind} | {default} | {reload} | {flag} | {doc} |"
            );
            return Ok(());
        }
        let flags = self.model.flags.iter().filter(|flag| flag.key.as_deref() == Some(path));
        let flags: Vec<String> =
            flags.map(|flag| format!("`{}`{}", flag.name, if flag.cluster { "†" } else { "" })).collect();
        let flags = flags.join(", ");
        _ = writeln!(self.text, "| `{path}` | {flags} | `{variable}` | {kind} | {default} | {doc} |");
        Ok(())
    }

    /// Tables of what stands in lists and maps.
    fn entries_of(&mut self, kind: &Kind, path: &str) {
        match kind {
            Kind::Optional(inner) => self.entry(inner, path),
            Kind::List(inner) => self.entry(inner, &format!("{path}[]")),
            Kind::Map(inner) => self.entry(inner, &format!("{path}.<name>")),
            _ => {}
        }
    }

    fn entry(&mut self, kind: &Kind, path: &str) {
        let Kind::Section(section) = kind else { return self.entries_of(kind, path) };
        if !self.entries.insert(section.name.clone()) {
            return;
        }
        let what = if path.ends_with(['>', ']']) { "Entries" } else { "Keys" };
        _ = write!(self.text, "\n### {what} of `{path}`\n\n{}\n", section.doc);
        self.text.push_str("\n| Key | Type | Meaning |\n|---|---|---|\n");
        for key in &section.keys {
            _ = writeln!(self.text, "| `{}` | {} | {} |", key.name, kind_name(&key.kind), cell(&key.doc));
        }
        for key in &section.keys {
            match &key.kind {
                Kind::Section(_) => self.entry(&key.kind, &format!("{path}.{}", key.name)),
                kind => self.entries_of(kind, &format!("{path}.{}", key.name)),
            }
        }
    }
}

const LIMITS_SAID: &str = "
Under `limits` for all tenants, without the word `limits` for one in the overrides file. *Reload*: whether a change in the overrides
file is taken while the process runs; changes of the settings file wait for a restart. Keys that Pyroscope has are the same here;
its flags are named for reference, Hearth has none of them.
";

const TABLE: &str = "
| Key | Flag | Variable | Type | Default | Meaning |
|---|---|---|---|---|---|
";

const LIMITS_TABLE: &str = "
| Key | Variable | Type | Default | Reload | Pyroscope's flag | Meaning |
|---|---|---|---|---|---|---|
";

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Whole | Kind::Signed => "whole number".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Choice(names) => {
            names.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Optional(inner) => format!("{}, or nothing", kind_name(inner)),
        Kind::List(inner) => format!("list of {}", plural(inner)),
        Kind::Map(inner) => format!("map of names to {}", plural(inner)),
        Kind::Section(_) => "map".to_owned(),
    }
}

fn plural(kind: &Kind) -> String {
    match kind {
        Kind::Text => "texts".to_owned(),
        Kind::Section(_) => "maps".to_owned(),
        kind => kind_name(kind),
    }
}

/// A default as it would be written.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Null => "nothing".to_owned(),
        Value::Array(values) if values.is_empty() => "empty".to_owned(),
        Value::Object(values) if values.is_empty() => "empty".to_owned(),
        value => format!("`{value}`"),
    }
}

/// Text in a cell of a table; what stands in backticks is taken as it is.
fn cell(text: &str) -> String {
    let escaped = |(at, part): (usize, &str)| match at % 2 {
        0 => part.replace('<', "&lt;"),
        _ => part.to_owned(),
    };
    let parts: Vec<String> = text.split('`').enumerate().map(escaped).collect();
    parts.join("`").replace('|', "\\|")
}
