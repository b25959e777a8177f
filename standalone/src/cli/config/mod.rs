//! `hearth config`: the settings in force, or all keys with their defaults; a file checked; a file made of Pyroscope's.

mod check;
mod doubts;
mod finding;
mod migrate;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use hearth_node::CommonArgs;
use hearth_settings::Settings;

use crate::serve;

const AFTER: &str = "Examples:
  hearth config --config hearth.yaml             print what would be in force
  hearth config --config hearth.yaml --changes   print only what differs from the defaults
  hearth config check hearth.yaml                say what is wrong or doubtful in a file
  hearth config migrate pyroscope.yaml --output hearth.yaml

All keys with their meaning: docs/operations/configuration.md";

#[derive(Debug, Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
    #[command(flatten)]
    serve: CommonArgs,
    /// Ignore the file, the variables and the flags
    #[arg(long)]
    defaults: bool,
    /// Only what differs from the defaults
    #[arg(long)]
    changes: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a file of settings, and the limits of tenants beside it, as a start would, and for what is doubtful
    #[command(long_about = CHECK_ABOUT)]
    Check(CheckArgs),
    /// Make a file of settings from one of Pyroscope, and say what became of each key
    #[command(long_about = MIGRATE_ABOUT)]
    Migrate(MigrateArgs),
}

const CHECK_ABOUT: &str = "Check a file of settings, and the limits of tenants beside it, as a start would, and for what is doubtful.

Errors are what a start, or a reload of the limits, would refuse, and values that cannot be meant. Warnings are what works and
is probably not what was wanted. It ends with 1 if there are errors. Neither variables nor flags are looked at, no store is asked.";

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearth config check hearth.yaml --overrides overrides.yaml --json")]
struct CheckArgs {
    /// The settings; an empty file is the defaults
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Limits of single tenants [default: what overrides_file in FILE names]
    #[arg(long, value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// As JSON: a list of {level, file, line, key, message}
    #[arg(long)]
    json: bool,
}

const MIGRATE_ABOUT: &str = "Make a file of settings from one of Pyroscope, and say what became of each key.

The settings go to --output, else to standard output, the report to standard error: what was taken over and to which key, what is
not needed and why, what cannot be done and what to do instead, where defaults or meanings differ, and what neither Hearth nor this
command knows. Secrets are neither printed nor written; variables such as ${BUCKET} are not filled in: the report says which of
Hearth's variables takes their place. Look the result over, then run `hearth config check`.";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hearth config migrate pyroscope.yaml --overrides overrides.yaml --flags '-auth.multitenancy-enabled=true' --output hearth.yaml"
)]
struct MigrateArgs {
    /// Pyroscope's configuration, of version 1 or 2
    #[arg(value_name = "FILE", required_unless_present_any = ["flags", "overrides"])]
    file: Option<PathBuf>,
    /// Pyroscope's overrides (its runtime configuration)
    #[arg(long, value_name = "FILE")]
    overrides: Option<PathBuf>,
    /// Flags that Pyroscope is started with, in one argument; they win over the file
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    flags: Option<String>,
    /// Where the settings go; the overrides go beside it, to NAME-overrides.yaml [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &ConfigArgs) -> Result<()> {
    match &args.command {
        Some(ConfigCommand::Check(args)) => return check::run(args),
        Some(ConfigCommand::Migrate(args)) => return migrate::run(args),
        None => {}
    }
    let settings =
        if args.defaults { Settings::default() } else { serve::load_settings(&args.serve)?.settings };
    let text = if args.changes { settings.changes_yaml() } else { settings.to_yaml() };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
