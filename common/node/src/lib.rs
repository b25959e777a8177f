//! What every process does around its role: settings, logs, the folder's lock, the store, membership of a cluster,
//! readiness, the ports, and the way down.
//!
//! Owns the order of start and stop, and the routes that every process has. Must not know what a role does: it hands over
//! what roles are made of ([`Node`]) and takes what they have become ([`Running`]).

mod address;
mod admin;
mod allocator;
mod args;
mod certificates;
mod debug;
mod error;
mod folder_lock;
mod gives_way;
mod limit_metrics;
mod limits_page;
mod losses;
mod membership;
mod node;
mod open;
mod program;
mod reload;
mod ring;
mod self_profiling;
mod signals;
pub mod tenant_rules;
mod watch;
mod web;

pub use address::host_name;
pub use args::{About, CommonArgs, RoleArgs};
pub use error::NodeError;
pub use folder_lock::FolderLock;
pub use hearth_cluster::gossip::Role;
pub use hearth_rpc::Routes;
pub use losses::{OpenLoss, losses};
pub use membership::WishError;
pub use membership::{
    Endpoints, Keep, Membership, MembershipDeps, MembershipOptions, MembershipPulses, keeps, neighbours,
    publishes_last,
};
pub use node::{Internal, InternalPort, Node, Random, Running};
pub use open::{bucket, cores, limits, workers};
pub use program::{main, run};
pub use reload::Limits;
pub use signals::told_to_stop;
#[cfg(feature = "jemalloc")]
#[doc(hidden)]
pub use tikv_jemallocator;
pub use web::Flush;
