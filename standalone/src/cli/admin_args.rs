//! Flags of `hearth admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearth_settings::ByteSize;

#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Look at an object store, check it, repair its root; needs no server
    Bucket(BucketArgs),
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
