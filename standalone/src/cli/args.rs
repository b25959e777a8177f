//! Names, defaults and help of all commands and flags.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use hearth_common::units::GoDuration;
use hearth_node::CommonArgs;

use crate::client::Client;

const ABOUT: &str = "A continuous-profiling database on one machine.";
const LONG_ABOUT: &str = "A continuous-profiling database on one machine.

SDKs and Grafana Alloy push profiles at it; Grafana's Pyroscope data source asks it for flame graphs.
`hearth` alone starts it: it listens on 127.0.0.1:4040 and keeps everything in the folder hearth-data.";
const AFTER: &str = "Examples:
  hearth                                         start, with everything in ./hearth-data
  hearth serve --listen 0.0.0.0:4040             start, and answer other machines too
  hearth push cpu.pprof --service shop           push a profile
  hearth query flamegraph --from 1h              look at the last hour, here
  hearth query flamegraph --output shop.svg      the same as a picture";

#[derive(Debug, Parser)]
#[command(name = "hearth", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER)]
#[command(args_conflicts_with_subcommands = true, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) serve: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server (what `hearth` does without a command)
    Serve(CommonArgs),
    /// Push profile files to a server
    Push(PushArgs),
    /// Ask a server: flame graphs, series, labels, pprof files
    Query(QueryArgs),
    /// Give a server the symbols of native programs, list them, remove them
    #[command(long_about = SYMBOLS_ABOUT)]
    Symbols(SymbolsArgs),
    /// Push and read back all the time, and export whether it came exactly and how fast
    #[command(long_about = CANARY_ABOUT)]
    Canary(CanaryArgs),
    /// Measure pushes and queries with real profiles
    Bench(BenchArgs),
    /// Look after a store: list, check, repair
    Admin(super::admin_args::AdminArgs),
    /// Print the settings that would be in force; check a file of settings; make one of Pyroscope's
    Config(super::config::ConfigArgs),
}

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:4040",
        env = "HEARTH_URL",
        global = true
    )]
    pub(crate) url: String,
    /// Tenant, if the server tells tenants apart
    #[arg(long, value_name = "TENANT", env = "HEARTH_TENANT", global = true)]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
}

impl ServerArgs {
    pub(crate) fn client(&self) -> Result<Client> {
        Client::login(&self.url, self.tenant.as_deref(), &self.login)
    }
}

/// What a gateway asks for. Secrets are no flags, which every user of a machine can read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LoginArgs {
    /// User at a gateway; the password is in HEARTH_PASSWORD. A token alone is in HEARTH_TOKEN
    #[arg(long, value_name = "NAME", env = "HEARTH_USER", global = true)]
    pub(crate) user: Option<String>,
    /// Authorities in PEM that sign certificates of https:// servers [default: those of the system]
    #[arg(long, value_name = "FILE", env = "HEARTH_CA_FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearth push heap.pb.gz --service shop --label env=prod --now")]
pub(crate) struct PushArgs {
    /// pprof files (gzipped or not), or stacks as text: `main;work;inner 42` a line
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Service name [default: the file's name]
    #[arg(long, short)]
    pub(crate) service: Option<String>,
    /// Kind of profile: process_cpu, memory, goroutines, mutex, block, wall … [default: what the file looks like]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label; may be given several times
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Give each profile the present time instead of its own (servers refuse old profiles)
    #[arg(long)]
    pub(crate) now: bool,
}

const CANARY_ABOUT: &str = "Push and read back all the time, and export whether it came exactly and how fast.

Each round pushes a profile whose stacks and values follow from its time, reads it until it is there, and reads one again that
is a minute, ten minutes, an hour, six hours and a day old. Every total is compared. Figures for Prometheus are at /metrics of
--listen, /healthz says whether rounds go on. Credentials of a gateway: --user and HEARTH_PASSWORD, or HEARTH_TOKEN.";

#[derive(Debug, Args)]
pub(crate) struct CanaryArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Where its own figures are served
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4041")]
    pub(crate) listen: String,
    /// From the beginning of a round to that of the next
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = GoDuration::parse)]
    pub(crate) interval: GoDuration,
    /// A profile that cannot be read after so long is counted as missing
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = GoDuration::parse)]
    pub(crate) patience: GoDuration,
    /// Profiles that are older are not read again: where less is kept, name that
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = GoDuration::parse)]
    pub(crate) oldest: GoDuration,
    /// Ends after so many rounds, with an error if anything was not exact [default: goes on]
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u64>,
    /// Tells its profiles from those of other canaries of the same tenant [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
}

const SYMBOLS_ABOUT: &str = "Give a server the symbols of native programs, list them, remove them.

Profilers of native programs send addresses. A server that has the program, by its build id, puts function names, source
files and lines in their places when it answers a query, for tenants with limits.symbolizer.enabled.";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hearth symbols upload target/release/shop --url http://hearth:4040 --tenant shop"
)]
pub(crate) struct SymbolsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: SymbolsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SymbolsCommand {
    /// Upload programs, or what `objcopy --only-keep-debug` makes of them; those that the server has are skipped
    Upload(SymbolsUploadArgs),
    /// List what was uploaded
    #[command(visible_alias = "list")]
    Ls(SymbolsListArgs),
    /// Remove uploads by their build ids
    Rm(SymbolsRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SymbolsUploadArgs {
    /// ELF files with a GNU build id, not compressed
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SymbolsListArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SymbolsRemoveArgs {
    /// As `hearth symbols ls` and `readelf -n` print them
    #[arg(required = true, value_name = "BUILD_ID")]
    pub(crate) build_ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: QueryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueryCommand {
    /// A flame graph: in the terminal, or as .svg, .json or .pprof file
    #[command(visible_alias = "flame")]
    Flamegraph(FlamegraphArgs),
    /// Series with their labels; with --by, sums over time
    Series(SeriesArgs),
    /// Label names, or the values of one label
    Labels(LabelsArgs),
    /// Profile types that have data
    Types(RangeArgs),
    /// Merge all selected profiles into one pprof file
    Pprof(PprofArgs),
}

/// A stretch of time.
#[derive(Debug, Clone, Args)]
pub(crate) struct RangeArgs {
    /// Start: an age (1h, 30m), now-1h, 2026-01-31T12:00:00Z, or Unix seconds or milliseconds
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub(crate) from: String,
    /// End, in the same notations
    #[arg(long, default_value = "now", value_name = "TIME")]
    pub(crate) to: String,
}

/// Which profiles.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectArgs {
    /// Selector such as '{service_name="shop", pod=~"web-.*"}'; a bare word is a service name
    #[arg(default_value = "{}", value_name = "SELECTOR")]
    pub(crate) selector: String,
    /// Profile type, whole or in part: cpu, alloc_space, memory:inuse_space:bytes:space:bytes
    #[arg(long = "type", short = 't', default_value = "process_cpu:cpu", value_name = "TYPE")]
    pub(crate) profile_type: String,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FlamegraphArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Write a file instead: the ending says which kind (.svg, .json, .pprof, .pb.gz)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// tree: one line a function; bars: boxes as wide as their share
    #[arg(long, value_enum, default_value_t = View::Tree)]
    pub(crate) view: View,
    /// Leave out what has less than this share, in percent
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    pub(crate) min_percent: f64,
    /// Deepest level that is shown
    #[arg(long, default_value_t = 200)]
    pub(crate) max_depth: usize,
    /// Most functions that the server sends
    #[arg(long, default_value_t = 8192)]
    pub(crate) max_nodes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    Tree,
    Bars,
}

#[derive(Debug, Args)]
pub(crate) struct SeriesArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Sum over time for each value of this label; may be given several times
    #[arg(long, value_name = "LABEL")]
    pub(crate) by: Vec<String>,
    /// Only these labels; may be given several times
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LabelsArgs {
    /// Print the values of this label
    pub(crate) name: Option<String>,
    /// Only of series that match
    #[arg(long, default_value = "{}", value_name = "SELECTOR")]
    pub(crate) selector: String,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PprofArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// The file; gzipped, as Go's tools read it
    #[arg(long, short, default_value = "hearth.pprof", value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Push a load of profiles; without --url, to a server of its own
    Push(BenchPush),
    /// Time questions against a server that has the load
    Query(BenchQuery),
    /// Everything: push, memory, flush, size, restart, queries, and a start after kill -9
    All(BenchAll),
    /// What one tenant feels of another that floods the server
    Isolation(BenchIsolation),
}

/// The load: services × pods × rounds profiles, one a request, 15 s of profile time between rounds.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchLoad {
    /// Folder with pprof files [default: ../shared/bench/profiles]
    #[arg(long, value_name = "DIR", default_value = "../shared/bench/profiles")]
    pub(crate) profiles: PathBuf,
    #[arg(long, default_value_t = 50)]
    pub(crate) services: u32,
    #[arg(long, default_value_t = 4)]
    pub(crate) pods: u32,
    #[arg(long, default_value_t = 60)]
    pub(crate) rounds: u32,
    /// Pushers at once
    #[arg(long, short, default_value_t = 8)]
    pub(crate) concurrency: u32,
    /// Profiles a second, evenly [default: as fast as they are taken]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Vary each profile: 15 % of its samples missing, values within 20 %
    #[arg(long)]
    pub(crate) jitter: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchPush {
    #[command(flatten)]
    pub(crate) load: BenchLoad,
    /// The server; without it one is started on a folder that is removed afterwards
    #[arg(long)]
    pub(crate) url: Option<String>,
    #[arg(long, default_value = "bench")]
    pub(crate) tenant: String,
    /// Process ids of the server, for its CPU time and memory
    #[arg(long, value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Folder for the server's data, on the disk that is to be measured [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchQuery {
    #[arg(long, default_value = "http://127.0.0.1:4040")]
    pub(crate) url: String,
    #[arg(long, default_value = "bench")]
    pub(crate) tenant: String,
    /// Process ids of the server, for its CPU time and memory
    #[arg(long, value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
    /// Times that each question is asked, one after the other
    #[arg(long, short, default_value_t = 20)]
    pub(crate) n: u32,
    /// Start of the range, as for `hearth query`
    #[arg(long, default_value = "1h", value_name = "TIME")]
    pub(crate) from: String,
    /// End of the range
    #[arg(long, default_value = "now", value_name = "TIME")]
    pub(crate) to: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchAll {
    #[command(flatten)]
    pub(crate) load: BenchLoad,
    /// Times that each question is asked
    #[arg(long, short, default_value_t = 20)]
    pub(crate) n: u32,
    /// Folder for the server's data, on the disk that is to be measured [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BenchIsolation {
    #[command(flatten)]
    pub(crate) load: BenchLoad,
    /// Seconds of each of the two phases: alone, and beside the flood
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u32,
    /// Threads of the flood that push, and as many that ask for the whole fleet
    #[arg(long, default_value_t = 8)]
    pub(crate) flooders: u32,
    /// Keeps the server on the first half of the cores, and its clients on the others, as if they were machines of their own
    #[arg(long)]
    pub(crate) apart: bool,
    /// Folder for the server's data, on the disk that is to be measured [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
