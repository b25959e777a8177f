//! `cargo xtask sim`: simulated clusters, as many as wanted.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) const USAGE: &str = "sim [--seeds N] [--first N] [--seed N] [--plants N]";

/// - `--seeds N` tries so many (500), `--first N` says with which to begin;
/// - `--seed N` tries one and shows what happened;
/// - `--plants N` puts each known bug in, one after the other, and looks which of N seeds finds it.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["test", "--locked", "--package", "hearth-sim", "--test", "sim", "--"]);
    let mut test = "each_acknowledged_record_counts_once_whatever_goes_wrong";
    cargo.env("HEARTH_SIM_SEEDS", "500");
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let name = match *option {
            "--seeds" => "HEARTH_SIM_SEEDS",
            "--first" => "HEARTH_SIM_FIRST",
            "--seed" => "HEARTH_SIM_SEED",
            "--plants" => {
                test = "plants::planted_bugs_are_found";
                "HEARTH_SIM_PLANTS"
            }
            other => bail!("'{other}' is no option; usage: cargo xtask {USAGE}"),
        };
        let number = options.next().with_context(|| format!("{option} needs a number"))?;
        number.parse::<u64>().with_context(|| format!("'{number}' of {option} is no number"))?;
        cargo.env(name, number);
    }
    let status = cargo.args(["--exact", test, "--nocapture"]).status().context("cargo does not start")?;
    if !status.success() {
        bail!("the simulation failed");
    }
    Ok(())
}
