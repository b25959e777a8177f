//! `hearth config migrate`: settings of Pyroscope to settings of Hearth, and what became of each key.

mod compose;
mod limits;
mod output;
mod report;
mod rules;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hearth_settings::{is_secret, read_tree, variable_name};
use serde_json::Value;

use super::MigrateArgs;
use crate::term::print;
use output::Setting;
use report::Report;
use rules::Act;
use tree::Leaf;

const HEAD: &str = "Made by `hearth config migrate`. Each value says which of Pyroscope's keys it came from.
Look it over, then run `hearth config check` on it.";

/// What is being made.
#[derive(Debug, Default)]
pub(super) struct Migration {
    settings: Vec<Setting>,
    report: Report,
}

pub(super) fn run(args: &MigrateArgs) -> Result<()> {
    let mut leaves = match &args.file {
        Some(file) => tree::leaves(&read_tree(file)?),
        None => Vec::new(),
    };
    if let Some(flags) = &args.flags {
        tree::put_flags(&mut leaves, flags)?;
    }
    let mut migration = Migration::default();
    let overrides_to = args.output.as_deref().map(beside);
    let tenants = match &args.overrides {
        Some(file) => Some(limits::overrides(&read_tree(file)?, &mut migration.report)),
        None => None,
    };
    if tenants.is_some() {
        let path = overrides_to.as_deref().unwrap_or(Path::new("overrides.yaml"));
        migration.set("overrides_file", Value::from(path.to_string_lossy()), "--overrides");
    }
    migration.take(&leaves, tenants.is_some());
    let text = output::yaml(HEAD, &migration.settings);
    let tenants = tenants.map(|tenants| output::yaml(HEAD, &tenants));
    match (&args.output, &overrides_to) {
        (Some(file), Some(beside)) => {
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
            if let Some(tenants) = tenants {
                std::fs::write(beside, tenants)
                    .with_context(|| format!("cannot write {}", beside.display()))?;
            }
        }
        _ => {
            print(&text)?;
            if let Some(tenants) = tenants {
                print(&format!("---\n# The overrides: a file of its own, overrides.yaml.\n{tenants}"))?;
            }
        }
    }
    say(&migration.report.text());
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the report is for a person; the settings go to standard output")]
fn say(text: &str) {
    eprint!("{text}");
}

/// `hearth.yaml` → `hearth-overrides.yaml`.
fn beside(output: &Path) -> PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{stem}-overrides.yaml"))
}

impl Migration {
    /// Takes over what can be.
    fn take(&mut self, leaves: &[Leaf], overrides: bool) {
        for leaf in leaves {
            if let Some(limit) = leaf.path.strip_prefix("limits.") {
                if let Some(new) = limits::limit(limit, &leaf.value, "", &mut self.report) {
                    self.set(&format!("limits.{}", new.0), new.1, &leaf.origin());
                }
                continue;
            }
            match rules::rule(&leaf.path) {
                Some((_, Act::To(new, note))) => self.to(leaf, new, note),
                Some((_, Act::Variable(variable))) => self.variable(leaf, variable),
                Some((_, Act::NotNeeded(why))) => self.report.not_needed(&leaf.path, why),
                Some((_, Act::Cannot(instead))) => self.report.cannot(&leaf.path, instead),
                Some((row, Act::Part)) if row == leaf.path => {}
                Some((_, Act::Part)) | None => self.report.unknown(&leaf.path),
            }
        }
        compose::all(self, leaves, overrides);
    }

    fn to(&mut self, leaf: &Leaf, new: &'static str, note: &str) {
        if self.is_variable(&leaf.path, &leaf.value, new) {
            return;
        }
        match tree::fits(new, &leaf.value) {
            Ok(()) => {
                self.report.mapped(&leaf.path, new, &shown(&leaf.path, &leaf.value), note);
                self.set(new, leaf.value.clone(), &leaf.origin());
            }
            Err(why) => self.report.cannot(&leaf.path, &format!("{new} does not take its value: {why}")),
        }
    }

    /// A value that the environment fills in: Hearth has variables for whole keys instead.
    fn is_variable(&mut self, old: &str, value: &Value, new: &str) -> bool {
        let is = tree::has_variable(value);
        if is {
            let variable = variable_name(new);
            self.report.by_hand(format!(
                "{old} is {}: give it to Hearth's processes as {variable} ({new})",
                shown(old, value)
            ));
        }
        is
    }

    fn variable(&mut self, leaf: &Leaf, variable: &str) {
        if leaf.value.as_str().is_some_and(str::is_empty) || leaf.value == Value::Bool(false) {
            return;
        }
        let value = shown(&leaf.path, &leaf.value);
        let value = match (
            variable,
            is_secret(&leaf.path) || ["KEY", "SECRET", "TOKEN"].iter().any(|word| variable.contains(word)),
        ) {
            (_, true) => "its value".to_owned(),
            ("AWS_ENDPOINT_URL", _) if !value.contains("://") => {
                format!("https://{value}, or http://{value} without TLS")
            }
            _ => value,
        };
        self.report
            .by_hand(format!("{}: set the variable {variable} of Hearth's processes to {value}", leaf.path));
    }

    fn set(&mut self, key: &str, value: Value, from: &str) {
        let path = key.split('.').map(str::to_owned).collect();
        self.settings.push(Setting { path, value, from: from.to_owned() });
    }
}

/// A value for the report.
fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.contains("${") => text.clone(),
        Value::String(text) if is_secret(key) || text.contains('@') => {
            if text.is_empty() {
                String::new()
            } else {
                hearth_common::secrets::HIDDEN.to_owned()
            }
        }
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Value::Array(list) => format!("{} entries", list.len()),
        Value::Object(map) => format!("{} entries", map.len()),
        value => value.to_string(),
    }
}
