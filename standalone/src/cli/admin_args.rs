//! Flags of `hearth admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearth_settings::ByteSize;

use super::args::LoginArgs;

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Look at an object store, check it, repair its root; needs no server
    Bucket(BucketArgs),
    /// Delete profiles by selector and time; shows what would go before it does
    Delete(DeleteArgs),
    /// Deletions that were made, and how far they are carried out
    Deletions(DeletionsArgs),
    /// Take a deletion back that is not carried out yet
    Undelete(UndeleteArgs),
    /// Let one ingester go on alone with cells whose other members are gone for good
    TakeOver(TakeOverArgs),
    /// Take answers as exact again after disks were lost
    AcceptLosses(AcceptLossesArgs),
    /// What goes by retention now; looks only, and needs no server. Give it the server's settings (--config)
    Retention(StoreArgs),
}

const TAKE_OVER_HELP: &str = "A cell goes on as long as a majority of its members is there: two of three, but both of two. When the others' disks
are gone for good, nobody can lead it, and what it had not published lies on the disk that is left. This command makes that
disk the cell's only member. Started again, its ingester leads the cell, publishes what it holds, and others join.

Stop the ingester first; the command reads its log, about a second a GB. Cells that can help themselves stay as they are.
At factor 2 nothing that was acknowledged is lost, at factor 3 the two that are gone may have had records that this one
lacks: the command says so, and answers are marked.

Examples:
  hearth admin take-over --data-dir /data --gone ingester-1 --dry-run
  hearth admin take-over --data-dir /data --gone ingester-1 --gone ingester-2 --yes";

#[derive(Debug, Args)]
#[command(after_help = TAKE_OVER_HELP)]
pub(crate) struct TakeOverArgs {
    /// The data folder of the ingester that is left; the ingester is stopped
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// A member that is gone for good with its disk: its name, or name/disk
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) gone: Vec<String>,
    /// Show what the disk holds and what would be taken over, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

const ACCEPT_HELP: &str = "When a cell's only disk is gone (factor 1), the roster records the loss, and answers that may touch it are marked
(header x-hearth-inexact) until a person says that they have seen it. The command works on the object store of a running
cluster.

Examples:
  hearth admin accept-losses --object-store s3://profiles/hearth --dry-run
  hearth admin accept-losses --object-store s3://profiles/hearth --cell ingester-1 --yes";

#[derive(Debug, Args)]
#[command(after_help = ACCEPT_HELP)]
pub(crate) struct AcceptLossesArgs {
    /// The store of the cluster: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, value_name = "URL")]
    pub(crate) object_store: Option<String>,
    /// The YAML file of any of its processes
    #[arg(long, value_name = "FILE", env = "HEARTH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Any setting by its key, such as cluster.id
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Only losses of this cell; may be repeated
    #[arg(long = "cell", value_name = "CELL")]
    pub(crate) cells: Vec<String>,
    /// Show them, and accept nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

/// Where deletions are made: at a server, or, if one of the flags of a store is given, in the store alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhereArgs {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4040", env = "HEARTH_URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

const DELETE_HELP: &str = "From the moment that the command returns, no query answers the deleted profiles, whether they lie in
blocks or in the memory of ingesters. Profiles that are pushed later, with the same labels, count. The compactor then writes
the blocks that hold deleted profiles anew, so that their bytes go, too; until then `hearth admin undelete ID` takes a
deletion back.

With --object-store, --data-dir or --config the command works on the store and needs no server. It then sees what is
published only: what ingesters have in their logs stays. A server on one machine remembers the root of its folder, so ask
the server while it runs.

Examples:
  hearth admin delete --tenant shop --selector '{service_name=\"cart\"}' --dry-run
  hearth admin delete --tenant shop --selector '{service_name=\"cart\", user=~\"anna|ben\"}' --yes
  hearth admin delete --tenant shop --selector '{namespace=\"test\"}' --until 30d
  hearth admin delete --tenant gone --selector '{}' --everything
  hearth admin delete --object-store s3://profiles/hearth --tenant shop --selector '{env=\"dev\"}' --dry-run";

#[derive(Debug, Args)]
#[command(after_help = DELETE_HELP)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// Which profiles: a selector as in queries; matchers may name __profile_type__, too
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) selector: String,
    /// Only profiles from then on: an age (30d, 12h), now-1h, 2026-01-31T12:00:00Z, Unix seconds or milliseconds [default:
    /// from the beginning]
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only profiles until then, in the same notations [default: to the end]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Show what would go, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Allow a selector that selects every series, such as {}
    #[arg(long)]
    pub(crate) everything: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeletionsArgs {
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// As JSON, with figures by service and profile type
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UndeleteArgs {
    #[command(flatten)]
    pub(crate) place: WhereArgs,
    /// The deletion, as `hearth admin deletions` names it
    pub(crate) id: String,
    /// Also one that is carried out in part: that part does not come back
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BucketArgs {
    #[command(subcommand)]
    pub(crate) command: BucketCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BucketCommand {
    /// Tenants: blocks, profiles, bytes, days
    Ls(StoreArgs),
    /// The root of a tenant, or one block of it
    Inspect(InspectArgs),
    /// Read everything that is published, and say what is damaged; fails if anything is
    Verify(VerifyArgs),
    /// Make a tenant's root again when it is damaged or lost; only shows what it would do unless --write is given
    RebuildRoot(RebuildArgs),
    /// Write what DuckDB needs to read a tenant's blocks with SQL: names of stacks, and a script with views
    Open(OpenArgs),
}

/// Which store; as for the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The store: file:///path, s3://bucket/prefix, gs://…, az://… [default: DIR/store]
    #[arg(long, value_name = "URL")]
    pub(crate) object_store: Option<String>,
    /// The folder of a server whose store lies in it [default: hearth-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The server's YAML file
    #[arg(long, value_name = "FILE", env = "HEARTH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Any setting by its key
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Only this tenant; a server that does not tell tenants apart has one, `anonymous`
    #[arg(long, value_name = "TENANT", env = "HEARTH_TENANT")]
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Id or folder of a block
    pub(crate) block: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hearth admin bucket verify --object-store s3://profiles/hearth")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Roots, pages and the listing only; do not read blocks
    #[arg(long)]
    pub(crate) quick: bool,
    /// Blocks up to this size are held in memory and checked to the last row; of larger ones only checksums are
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = ByteSize::parse)]
    pub(crate) block_memory: ByteSize,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Write the new root. Nothing else may be running on the store
    #[arg(long)]
    pub(crate) write: bool,
}

const OPEN_HELP: &str = "Writes DIR/open.sql, which defines the views profiles, samples, stacks and flat over the blocks that the
tenant's root names now, and DIR/stacks/, a table for each block with the functions of its stacks. Nothing is written to the
store. Run again it writes what is new. docs/operations/open-data.md has questions to ask.

Example:
  hearth admin bucket open --object-store s3://profiles/hearth --tenant shop --from 7d --to ./shop
  duckdb -init ./shop/open.sql";

#[derive(Debug, Args)]
#[command(after_help = OPEN_HELP)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// The folder to write to; it is created if it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Only blocks with profiles from then on: an age (30d, 12h), now-1h, 2026-01-31T12:00:00Z, Unix seconds or milliseconds
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only blocks with profiles until then, in the same notations
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}
