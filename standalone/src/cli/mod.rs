//! The command line: which commands there are, what they are called with, and how a failure is said.

mod admin_args;
mod args;
mod bucket;
mod config;
mod delete;
mod flame_bars;
mod flame_svg;
mod flame_tree;
mod graph;
mod open_data;
mod push;
mod query;
mod rescue;
mod retention;
mod symbols;
mod time;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{bench, canary, serve};
use admin_args::AdminCommand;
use args::{Cli, Command};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !is_closed_pipe(&error) {
                say_error(&error);
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Push(args)) => push::run(&args),
        Some(Command::Query(args)) => query::run(&args),
        Some(Command::Symbols(args)) => symbols::run(&args),
        Some(Command::Canary(args)) => canary::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Admin(args)) => match &args.command {
            AdminCommand::Bucket(args) => bucket::run(args),
            AdminCommand::Retention(args) => retention::run(args),
            AdminCommand::Delete(args) => delete::delete(args),
            AdminCommand::Deletions(args) => delete::list(args),
            AdminCommand::Undelete(args) => delete::undelete(args),
            AdminCommand::TakeOver(args) => rescue::takes_over(args),
            AdminCommand::AcceptLosses(args) => rescue::accepts(args),
        },
        Some(Command::Config(args)) => config::run(&args),
    }
}

#[allow(clippy::print_stderr, reason = "the command line speaks to a person")]
fn say_error(error: &anyhow::Error) {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("hearth: {}", chain.join(": "));
}

/// `hearth query … | head` ends early; that is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

pub(crate) use args::{
    BenchAll, BenchArgs, BenchCommand, BenchIsolation, BenchLoad, BenchPush, BenchQuery, CanaryArgs,
    LoginArgs,
};
pub(crate) use graph::Graph;
pub(crate) use push::plain;
pub(crate) use time::Range;
