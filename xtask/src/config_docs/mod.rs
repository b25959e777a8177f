//! `cargo xtask config-docs [--check]`: the reference of all settings and the schema of their file, from the code.
//!
//! What a key means is its comment in the source, its default is what `Settings::default()` says, its flags are those of
//! `common/node/src/args.rs`. The products carry nothing of it.

mod page;
mod schema;
mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use hearth_settings::Settings;
use serde_json::Value;

use source::Model;

const PAGE: &str = "docs/operations/configuration.md";
const SCHEMA: &str = "deploy/config.schema.json";

/// Writes both files; with `check` only compares them with what is committed.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    for (path, text) in generate(root)? {
        let file = root.join(path);
        if !check {
            fs::write(&file, text).with_context(|| path.to_owned())?;
        } else if fs::read_to_string(&file).ok() != Some(text) {
            bail!("{path} does not fit the settings: run `cargo xtask config-docs`");
        }
    }
    Ok(())
}

fn generate(root: &Path) -> Result<[(&'static str, String); 2]> {
    let model = Model::read(root)?;
    let defaults = serde_json::to_value(Settings::default())?;
    Ok([(PAGE, page::write(&model, &defaults)?), (SCHEMA, schema::write(&model, &defaults)?)])
}

/// What stands at a dotted path.
fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    tree.pointer(&format!("/{}", path.replace('.', "/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(tree: &Value, path: &str, found: &mut Vec<String>) {
        match tree {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    leaves(value, &path, found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the project")
    }

    #[test]
    fn the_page_and_the_schema_have_every_key() {
        let [(_, page), (_, schema)] = generate(root()).expect("generated");
        let schema: Value = serde_json::from_str(&schema).expect("JSON");
        let mut keys = Vec::new();
        leaves(&serde_json::to_value(Settings::default()).expect("settings"), "", &mut keys);
        assert!(keys.len() > 100, "{} keys", keys.len());
        for key in keys {
            assert!(page.contains(&format!("| `{key}` |")), "{key} is not on the page");
            let variable = hearth_settings::variable_name(&key);
            assert!(page.contains(&variable), "{variable} is not on the page");
            let place = format!("/properties/{}", key.replace('.', "/properties/"));
            let described = schema.pointer(&place).and_then(|key| key["description"].as_str());
            assert!(described.is_some_and(|text| !text.is_empty()), "{key} is not in the schema");
        }
    }

    #[test]
    fn what_is_committed_fits_the_code() {
        run(root(), true).expect("fresh");
    }
}
