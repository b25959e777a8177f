//! A file of Pyroscope as a list of keys and values, flags laid over it.

use anyhow::{Result, bail};
use hearth_settings::{REFERENCE_FLAGS, Settings};
use serde_json::{Map, Value};

use super::rules::FLAGS;

/// One key, with dots, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    pub(super) path: String,
    pub(super) value: Value,
    /// The flag that set it.
    flag: Option<String>,
}

impl Leaf {
    pub(super) fn origin(&self) -> String {
        self.flag.clone().unwrap_or_else(|| self.path.clone())
    }
}

/// All keys of a file. Limits are whole: what is in them is theirs.
pub(super) fn leaves(tree: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(tree, "", &mut found);
    found
}

fn collect(tree: &Value, path: &str, found: &mut Vec<Leaf>) {
    let is_limit = path.starts_with("limits.");
    match tree {
        Value::Object(map) if !is_limit => {
            for (key, value) in map {
                // The older name.
                let key = if path.is_empty() && key == "phlaredb" { "pyroscopedb" } else { key };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                collect(value, &path, found);
            }
        }
        Value::Null => {}
        value => found.push(Leaf { path: path.to_owned(), value: value.clone(), flag: None }),
    }
}

/// Lays flags over the keys of the file.
pub(super) fn put_flags(leaves: &mut Vec<Leaf>, line: &str) -> Result<()> {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            bail!("--flags: '{word}' is no flag: write -name=value, separated by spaces");
        };
        let (flag, text) = match flag.split_once('=') {
            Some((flag, text)) => (flag, text),
            None => (flag, words.next_if(|next| !next.starts_with('-')).unwrap_or("true")),
        };
        let path = key_of(flag);
        let value =
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.trim_matches(['"', '\''])));
        let repeated = path == "memberlist.join_members";
        let old = leaves.iter().position(|leaf| leaf.path == path);
        let from_flag = old.is_some_and(|at| leaves[at].flag.is_some());
        let value = match (repeated, old.filter(|_| from_flag)) {
            (true, Some(at)) => {
                let mut list = leaves[at].value.as_array().cloned().unwrap_or_default();
                list.push(value);
                Value::Array(list)
            }
            (true, None) => Value::Array(vec![value]),
            _ => value,
        };
        leaves.retain(|leaf| leaf.path != path);
        leaves.push(Leaf { path, value, flag: Some(format!("-{flag}")) });
    }
    Ok(())
}

/// The key of a flag.
fn key_of(flag: &str) -> String {
    if let Some((_, key)) = FLAGS.iter().find(|(known, _)| *known == flag) {
        return (*key).to_owned();
    }
    if let Some((key, _)) = REFERENCE_FLAGS.iter().find(|(_, known)| *known == flag) {
        return format!("limits.{key}");
    }
    flag.replace('-', "_")
}

/// The value of a key of the file.
pub(super) fn get<'a>(leaves: &'a [Leaf], path: &str) -> Option<&'a Leaf> {
    leaves.iter().find(|leaf| leaf.path == path)
}

/// Whether the environment fills it in.
pub(super) fn has_variable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(list) => list.iter().any(has_variable),
        // Names of usage groups have labels of series in them.
        _ => false,
    }
}

/// Whether a key of Hearth takes a value; if not, why.
pub(super) fn fits(key: &str, value: &Value) -> Result<(), String> {
    let tree = key
        .rsplit('.')
        .fold(value.clone(), |inner, name| Value::Object(Map::from_iter([(name.to_owned(), inner)])));
    serde_json::from_value::<Settings>(tree.clone()).map_err(|error| error.to_string())?;
    // Bounds are known to the loader only.
    let text = hearth_settings::tree_to_yaml(&tree);
    match Settings::from_yaml(std::path::Path::new("its value"), &text) {
        // What a key needs beside it is seen when all are together.
        Err(hearth_settings::Error::Invalid { key: wrong, message, .. }) if wrong == key => {
            Err(message.to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let mut found =
            leaves(&serde_json::json!({"multitenancy_enabled": false, "phlaredb": {"data_path": "/d"}}));
        put_flags(
            &mut found,
            "-auth.multitenancy-enabled -memberlist.join=a:1 -memberlist.join b:2 --distributor.ingestion-rate-limit-mb=8",
        )
        .expect("flags");
        let value = |path: &str| get(&found, path).map(|leaf| leaf.value.clone());
        assert_eq!(value("multitenancy_enabled"), Some(Value::Bool(true)));
        assert_eq!(value("memberlist.join_members"), Some(serde_json::json!(["a:1", "b:2"])));
        assert_eq!(value("limits.ingestion_rate_mb"), Some(8.into()));
        assert_eq!(value("pyroscopedb.data_path"), Some("/d".into()));
        assert!(put_flags(&mut found, "serve").is_err());
    }

    #[test]
    fn values_are_tried_on_their_keys() {
        assert_eq!(fits("replication_factor", &3.into()), Ok(()));
        assert!(fits("replication_factor", &5.into()).is_err_and(|why| why.contains("1, 2 or 3")));
        assert!(fits("overrides_reload", &"x".into()).is_err());
    }
}
