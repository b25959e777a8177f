//! The project's own chores.
//!
//! - `cargo xtask tidy` checks the rules of the house.
//! - `cargo xtask codegen [--check]` writes (or compares) the wire types.
//! - `cargo xtask config-docs [--check]` writes (or compares) the reference of all settings, see [`config_docs`].
//! - `cargo xtask fuzz` runs a fuzz target, see [`fuzz`].
//! - `cargo xtask sim` tries simulated clusters, see [`sim`].

mod codegen;
mod config_docs;
mod fuzz;
mod sim;
mod tidy;

use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the project")?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["tidy"] => tidy::run(root),
        ["codegen"] => codegen::run(root, false),
        // One check for all that is generated.
        ["codegen", "--check"] => codegen::run(root, true).and_then(|()| config_docs::run(root, true)),
        ["config-docs"] => config_docs::run(root, false),
        ["config-docs", "--check"] => config_docs::run(root, true),
        ["fuzz", ref options @ ..] => fuzz::run(root, options),
        ["sim", ref options @ ..] => sim::run(root, options),
        _ => bail!(
            "usage: cargo xtask tidy | codegen [--check] | config-docs [--check] | {} | {}",
            fuzz::USAGE,
            sim::USAGE
        ),
    }
}
