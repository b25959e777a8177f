//! `hearth bench`: the same work as other servers are measured with, and what it cost.
//!
//! Prints one JSON line a step: CPU seconds and memory of the server from the kernel's accounting, ack and query times, bytes
//! stored, and what the disk's own fsync takes. Must not know the server but by its wire and its process id.

mod cores;
mod disk;
mod figures;
mod isolation;
mod load;
mod queries;
mod requests;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use hearth_common::{Clock, SystemClock};
use serde_json::json;

use crate::cli::{BenchAll, BenchArgs, BenchCommand, BenchIsolation, BenchLoad, BenchPush, BenchQuery};
use crate::client::Client;
use crate::term;
use figures::{Process, print};
use isolation::Isolation;
use load::Load;
use requests::Requests;
use server::OwnServer;

/// Seconds of profile time between two rounds.
const ROUND_SECONDS: i64 = 15;
/// Heads of a tenant are flushed so often when they do not become too large before: `ingester.cut_age`.
const FLUSHES_PER_HOUR: u64 = 4;
/// The last round lies this long before the present.
const END_AGE_SECONDS: i64 = 60;

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match &args.command {
        BenchCommand::Push(args) => push(args),
        BenchCommand::Query(args) => query(args),
        BenchCommand::All(args) => all(args),
        BenchCommand::Isolation(args) => isolation(args),
    }
}

/// The range that a load pushed now lies in.
#[derive(Debug, Clone, Copy)]
struct Span {
    start_ms: i64,
    end_ms: i64,
}

impl Span {
    fn of(load: &BenchLoad, now_ms: i64) -> Self {
        let end_ms = now_ms - END_AGE_SECONDS * 1000;
        Self { start_ms: end_ms - i64::from(load.rounds) * ROUND_SECONDS * 1000, end_ms: end_ms + 1000 }
    }
}

fn push(args: &BenchPush) -> Result<()> {
    if let Some(url) = &args.url {
        let client = Client::new(url, Some(&args.tenant))?;
        return push_to(&client, &args.load, &Process::of(&args.pid), &SystemClock::default());
    }
    let folder = folder(args.dir.as_ref())?;
    let server = OwnServer::start(folder.path())?;
    let client = server.client(&args.tenant)?;
    push_to(&client, &args.load, &server.process(), &SystemClock::default())?;
    print_disk(&server, &client, folder.path(), args.load.concurrency, &SystemClock::default())?;
    server.kill()
}

fn push_to(client: &Client, load: &BenchLoad, process: &Process, clock: &SystemClock) -> Result<()> {
    let span = Span::of(load, clock.now().as_ms());
    let load = Load::read(load, span.end_ms / 1000)?;
    print(&load.push(client, process, clock)?);
    Ok(())
}

fn query(args: &BenchQuery) -> Result<()> {
    let client = Client::new(&args.url, Some(&args.tenant))?;
    let clock = SystemClock::default();
    let range = crate::cli::Range::parse(&args.from, &args.to, clock.now().as_ms())?;
    let span = Span { start_ms: range.start_ms, end_ms: range.end_ms };
    print(&queries::time(&client, &Process::of(&args.pid), span, args.n, &clock, "query")?);
    Ok(())
}

fn all(args: &BenchAll) -> Result<()> {
    let clock = SystemClock::default();
    let folder = folder(args.dir.as_ref())?;
    let server = OwnServer::start(folder.path())?;
    let client = server.client("bench")?;
    let span = Span::of(&args.load, clock.now().as_ms());
    let load = Load::read(&args.load, span.end_ms / 1000)?;
    let profiles = load.count();
    print(&load.push(&client, &server.process(), &clock)?);
    print_disk(&server, &client, folder.path(), args.load.concurrency, &clock)?;
    print(&queries::time(&client, &server.process(), span, args.n, &clock, "query, data in memory")?);

    server.kill()?;
    let begun = clock.monotonic();
    let mut first_push = Duration::ZERO;
    let server = OwnServer::start_and(folder.path(), |client| {
        load.push_one(client)?;
        first_push = clock.monotonic() - begun;
        Ok(())
    })?;
    print(
        &json!({"op": "start after kill -9", "first_push_ms": ms(first_push), "ready_ms": server.ready_ms()}),
    );
    let client = server.client("bench")?;

    let begun = clock.monotonic();
    let before = server.process().cpu_seconds();
    let asked_before = Requests::of(&client)?;
    let waiting = term::spinner("flushing");
    client.post("/flush", "application/json", b"")?.ok()?;
    waiting.finish_and_clear();
    let puts = Requests::of(&client)?.since(asked_before).puts;
    let stored = disk::stored(&folder.path().join("data/store"))?;
    print(&json!({
        "op": "flush",
        "seconds": round((clock.monotonic() - begun).as_secs_f64()),
        "cpu_s": round(server.process().cpu_seconds() - before),
        "stored_bytes": stored.bytes,
        "files": stored.files,
        "kb_per_profile": round(stored.bytes as f64 / 1000.0 / profiles as f64),
        "by_file": stored.by_name,
        "puts": puts,
        "puts_per_ingester_and_hour": puts * FLUSHES_PER_HOUR,
    }));
    print(&json!({"op": "stop", "seconds": round(server.stop()?.as_secs_f64())}));

    let server = OwnServer::start(folder.path())?;
    print(&json!({"op": "start after a clean stop", "ready_ms": server.ready_ms()}));
    let client = server.client("bench")?;
    print(&queries::time(&client, &server.process(), span, args.n, &clock, "query, from blocks")?);
    server.kill()
}

/// Two tenants with the load in blocks; then one of them floods the server.
fn isolation(args: &BenchIsolation) -> Result<()> {
    let clock = SystemClock::default();
    let folder = folder(args.dir.as_ref())?;
    let server =
        if args.apart { cores::server_apart(folder.path())? } else { OwnServer::start(folder.path())? };
    let (quiet, flooding) = (server.client("quiet")?, server.client("flood")?);
    let span = Span::of(&args.load, clock.now().as_ms());
    let load = Load::read(&args.load, span.end_ms / 1000)?;
    for client in [&quiet, &flooding] {
        print(&load.push(client, &server.process(), &clock)?);
    }
    quiet.post("/flush", "application/json", b"")?.ok()?;
    let phase = Duration::from_secs(u64::from(args.seconds));
    let flooders = args.flooders;
    let isolation = Isolation { quiet: &quiet, flooding: &flooding, load: &load, span, flooders, phase };
    print(&isolation.measure(&clock)?);
    server.kill()
}

/// The disk's own fsync with the log's writes: one profile, and as many as there are pushers.
fn print_disk(
    server: &OwnServer,
    client: &Client,
    folder: &std::path::Path,
    pushers: u32,
    clock: &SystemClock,
) -> Result<()> {
    let bytes = server.log_bytes_per_profile(client)?;
    disk::print_fsync(folder, bytes, clock)?;
    disk::print_fsync(folder, bytes * pushers.max(1) as usize, clock)
}

fn folder(parent: Option<&PathBuf>) -> Result<tempfile::TempDir> {
    let parent = parent.cloned().unwrap_or_else(std::env::temp_dir);
    tempfile::Builder::new()
        .prefix("hearth-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))
}

fn ms(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0)
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
