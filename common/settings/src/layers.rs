//! Puts the layers on top of each other and checks the result.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::ignored::{self, IgnoredKey};
use crate::nearest::nearest;
use crate::{Compactor, Settings, cluster, env, file, redact, store, symbols, telemetry};

/// Most blocks that the merge takes at a time.
const COMPACTOR_INPUTS_MAX: usize = 64;

/// Where settings come from. Later layers win, key by key.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The YAML file, if any.
    pub file: Option<PathBuf>,
    /// The environment, as (name, value).
    pub environment: Vec<(String, String)>,
    /// Flags, as (what to call it in an error, key, value).
    pub flags: Vec<(String, String, String)>,
}

/// The result.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub settings: Settings,
    /// For the log: variables that look mistyped.
    pub warnings: Vec<String>,
    /// Keys of the file that are ignored.
    pub ignored: Vec<IgnoredKey>,
}

impl Layers {
    /// Loads all layers. Errors hold no secrets.
    pub fn load(self) -> Result<Loaded, Error> {
        self.read().map_err(Error::hidden)
    }

    fn read(self) -> Result<Loaded, Error> {
        let (base, ignored) = match &self.file {
            Some(path) => {
                let text = file::text(path)?;
                (file::parse(path, &text)?, ignored_in(path, &text)?)
            }
            None => (Settings::default(), Vec::new()),
        };
        let mut tree = tree_of(&base);
        let (from_environment, warnings) = env::assignments(self.environment, &keys(&tree));
        let mut assignments: Vec<(String, String, String)> =
            from_environment.into_iter().map(|(key, value)| (env::variable_name(&key), key, value)).collect();
        assignments.extend(self.flags);
        let mut settings = base;
        for (origin, key, value) in assignments {
            settings = assign(&mut tree, &origin, &key, &value)?;
        }
        check(&settings)?;
        Ok(Loaded { settings, warnings, ignored })
    }
}

fn ignored_in(path: &Path, text: &str) -> Result<Vec<IgnoredKey>, Error> {
    let tree: Value = file::parse(path, text)?;
    let limits = tree.get("limits").and_then(Value::as_object);
    Ok(ignored::keys_in(None, limits.into_iter().flatten()))
}

impl Settings {
    /// Parses the text of a file; `path` is only named in errors.
    pub fn from_yaml(path: &Path, text: &str) -> Result<Self, Error> {
        let read = || {
            let settings = file::parse(path, text)?;
            check(&settings)?;
            Ok(settings)
        };
        read().map_err(Error::hidden)
    }

    /// The settings as YAML, secrets hidden.
    pub fn to_yaml(&self) -> String {
        let mut tree = tree_of(self);
        redact::redact(&mut tree);
        serde_saphyr::to_string(&tree).expect("a tree of strings, numbers, lists and maps is YAML")
    }

    /// Only what differs from the defaults, as YAML, secrets hidden.
    pub fn changes_yaml(&self) -> String {
        let mut tree = tree_of(self);
        subtract(&mut tree, &tree_of(&Self::default()));
        redact::redact(&mut tree);
        serde_saphyr::to_string(&tree).expect("a tree of strings, numbers, lists and maps is YAML")
    }
}

/// Removes from a map what is the same in another.
pub(crate) fn subtract(tree: &mut Value, same: &Value) {
    let (Some(map), Some(same)) = (tree.as_object_mut(), same.as_object()) else { return };
    map.retain(|key, value| {
        let Some(other) = same.get(key) else { return true };
        subtract(value, other);
        value != other && !value.as_object().is_some_and(serde_json::Map::is_empty)
    });
}

fn tree_of(settings: &Settings) -> Value {
    serde_json::to_value(settings).expect("settings have string keys and finite numbers only")
}

/// All keys that hold a value, as dotted paths.
fn keys(tree: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_keys(tree, "", &mut found);
    found
}

fn collect_keys(tree: &Value, path: &str, found: &mut Vec<String>) {
    match tree {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect_keys(value, &path, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// Sets one key and reads the whole again, so that the value is checked by the type of its key.
fn assign(tree: &mut Value, origin: &str, key: &str, text: &str) -> Result<Settings, Error> {
    let pointer = format!("/{}", key.replace('.', "/"));
    let known = keys(tree);
    let Some(place) = tree.pointer_mut(&pointer).filter(|place| !place.is_object()) else {
        let suggestion = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(Error::UnknownSetting { origin: origin.to_owned(), key: key.to_owned(), suggestion });
    };
    // The text of a key that holds text is taken as it is; else it is read as YAML: 5, true, [a, b].
    let parsed = serde_saphyr::from_str::<Value>(text).ok().filter(|value| !value.is_null());
    let as_text = Value::String(text.to_owned());
    *place = match parsed {
        _ if place.is_string() => as_text,
        // A list may also be written with commas alone.
        None | Some(Value::String(_)) if place.is_array() => comma_separated(text),
        parsed => parsed.unwrap_or(as_text),
    };
    Settings::deserialize_tree(tree).map_err(|message| Error::Value {
        origin: origin.to_owned(),
        key: key.to_owned(),
        value: text.to_owned(),
        message,
    })
}

fn comma_separated(text: &str) -> Value {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect()
}

impl Settings {
    fn deserialize_tree(tree: &Value) -> Result<Self, String> {
        serde::Deserialize::deserialize(tree).map_err(|error: serde_json::Error| error.to_string())
    }
}

/// What a type cannot say.
fn check(settings: &Settings) -> Result<(), Error> {
    let invalid =
        |key, value: &dyn ToString, message| Err(Error::Invalid { key, value: value.to_string(), message });
    let Settings { listen, wal, ingester, .. } = settings;
    if !cluster::has_port(listen) {
        return invalid(
            "listen",
            listen,
            "write an address and a port, such as 127.0.0.1:4040 or 0.0.0.0:4040",
        );
    }
    if wal.segment_bytes.0 < 64 << 10 {
        return invalid("wal.segment_bytes", &wal.segment_bytes, "a segment has at least 64KiB");
    }
    if wal.quota_bytes.0 < wal.segment_bytes.0.saturating_mul(2) {
        return invalid("wal.quota_bytes", &wal.quota_bytes, "room for at least two segments is needed");
    }
    if ingester.cut_age.is_zero() || ingester.cut_age_max < ingester.cut_age {
        return invalid(
            "ingester.cut_age",
            &ingester.cut_age,
            "it is above 0 and at most ingester.cut_age_max",
        );
    }
    if ingester.flush_timeout.is_zero() {
        return invalid("ingester.flush_timeout", &ingester.flush_timeout, "it is above 0");
    }
    if ingester.cut_bytes.0 < 1 << 20 {
        return invalid(
            "ingester.cut_bytes",
            &ingester.cut_bytes,
            "a head is allowed to grow to at least 1MiB",
        );
    }
    let disk_cache_bytes = &settings.querier.disk_cache_bytes;
    if disk_cache_bytes.0 < 128 << 20 {
        let message = "a disk cache takes at least 128MiB; without querier.disk_cache there is none";
        return invalid("querier.disk_cache_bytes", disk_cache_bytes, message);
    }
    check_compactor(&settings.compactor)?;
    store::check(&settings.store)?;
    symbols::check(&settings.debug_info, &settings.symbolizer)?;
    telemetry::check(settings)?;
    cluster::check(settings)
}

fn check_compactor(compactor: &Compactor) -> Result<(), Error> {
    let invalid =
        |key, value: &dyn ToString, message| Err(Error::Invalid { key, value: value.to_string(), message });
    let Compactor { memory_budget, block_bytes, merge_blocks, inputs_max, day_age, settle_age, .. } =
        compactor;
    if memory_budget.0 < 192 << 20 {
        return invalid("compactor.memory_budget", memory_budget, "two small blocks take 192MiB to merge");
    }
    if block_bytes.0 < 1 << 20 {
        return invalid("compactor.block_bytes", block_bytes, "a block is allowed to have at least 1MiB");
    }
    if *merge_blocks < 2 {
        return invalid("compactor.merge_blocks", merge_blocks, "at least two blocks are merged");
    }
    if !(2..=COMPACTOR_INPUTS_MAX).contains(inputs_max) || inputs_max < merge_blocks {
        let message = "it is 2 to 64, and at least compactor.merge_blocks";
        return invalid("compactor.inputs_max", inputs_max, message);
    }
    if settle_age < day_age {
        return invalid("compactor.settle_age", settle_age, "it is at least compactor.day_age");
    }
    Ok(())
}
