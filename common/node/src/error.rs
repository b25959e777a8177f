//! Why a process cannot start or go on, said so that a person can put it right.

use std::io;
use std::path::PathBuf;

use hearth_cluster::gossip::GossipError;
use hearth_cluster::roster::RosterError;
use hearth_common::{BoxError, Classify, ErrorKind};
use hearth_internode::TlsError;
use hearth_objstore::StoreError;

/// Why a process ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// `--set` without a value.
    #[error("--set {0}: write KEY=VALUE")]
    Set(String),
    /// Settings do not load.
    #[error(transparent)]
    Settings(#[from] hearth_settings::Error),
    /// Logs cannot be set up.
    #[error(transparent)]
    Logs(#[from] hearth_telemetry::LogError),
    /// Profiles of the process itself have nowhere to go.
    #[error(
        "setting 'self_profiling.push' of a process of a cluster needs 'self_profiling.url': the URL of a Hearth, or of a distributor"
    )]
    SelfProfilingUrl,
    /// Traces cannot be exported.
    #[error("setting 'tracing.otlp_endpoint'")]
    Traces(#[from] hearth_telemetry::trace::TraceError),
    /// The system refuses something that every process needs.
    #[error("cannot {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot {doing} the data folder {folder}", folder = folder.display())]
    Folder {
        /// What was tried.
        doing: &'static str,
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has the data folder.
    #[error("another process uses the data folder {} (another folder: --data-dir)", .0.display())]
    FolderTaken(PathBuf),
    /// Rules of retention are wrong.
    #[error("setting '{of}.retention' is refused")]
    Retention {
        /// `limits`, or `overrides` and a tenant.
        of: String,
        /// Why.
        #[source]
        source: hearth_catalog::InvalidRetention,
    },
    /// Limits of all tenants, or of one, hold a rule that cannot work.
    #[error("setting '{of}.{key}' is refused: {problem}")]
    Limits {
        /// `limits`, or `overrides` and a tenant.
        of: String,
        /// The key, with the place of a rule in a list.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// Limits that were read again let older profiles in than the cluster was told when the process started.
    #[error(
        "reject_older_than grew to {}s for some tenant, and was {}s at most when the process started: restart the processes for it",
        .new.as_secs(), .old.as_secs()
    )]
    WindowGrew {
        /// The greatest at the start.
        old: std::time::Duration,
        /// The greatest now.
        new: std::time::Duration,
    },
    /// A setting says an address that there is none.
    #[error("setting '{key}': '{value}' {problem}")]
    Address {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// The port cannot be bound.
    #[error("cannot listen on {address} (another address: {flag})")]
    Listen {
        /// The address.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such encryption.
    #[error("setting '{of}.s3_sse_type'")]
    Encryption {
        /// `limits`, or a tenant's entry in the overrides.
        of: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The URL of the object store is wrong.
    #[error("setting 'object_store'")]
    Store(#[source] StoreError),
    /// The object store lacks what is needed of it.
    #[error("the object store cannot be used")]
    StoreUnusable(#[source] StoreError),
    /// Each process would have a store of its own.
    #[error("setting 'object_store' is '{0}': all processes of a cluster share one store (--object-store)")]
    OwnStore(String),
    /// A role of a cluster was started outside of one.
    #[error("this process is in no cluster")]
    Alone,
    /// The copy of the roster in the data folder cannot be used.
    #[error("the roster of the cluster cannot be used")]
    Roster(#[from] RosterError),
    /// Gossip cannot start.
    #[error("setting 'gossip'")]
    Gossip(#[from] GossipError),
    /// Certificates between roles cannot be used.
    #[error("setting 'cluster.tls'")]
    Tls(#[from] TlsError),
    /// The role did not start.
    #[error("the {role} cannot start")]
    Role {
        /// Which.
        role: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The role ended with something left undone.
    #[error("the stop was not clean: {0}")]
    Stop(String),
}

impl Classify for NodeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Set(_) | Self::Settings(_) | Self::Logs(_) | Self::Address { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Store(error) | Self::StoreUnusable(error) => error.kind(),
            Self::OwnStore(_)
            | Self::Tls(_)
            | Self::SelfProfilingUrl
            | Self::Traces(_)
            | Self::Retention { .. }
            | Self::Limits { .. }
            | Self::WindowGrew { .. }
            | Self::Encryption { .. } => ErrorKind::InvalidArgument,
            Self::Roster(error) => error.kind(),
            Self::Gossip(error) => error.kind(),
            Self::Alone => ErrorKind::Internal,
            Self::System { .. } | Self::Role { .. } | Self::Stop(_) => ErrorKind::Internal,
            Self::Folder { .. } | Self::FolderTaken(_) | Self::Listen { .. } => ErrorKind::FailedPrecondition,
        }
    }
}
