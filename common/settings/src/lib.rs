//! Settings as data: defaults, then the YAML file, then the environment, then flags; later layers win key by key.
//!
//! Owns the names of all keys, how a wrong one is reported, and how the effective settings are printed. Builds nothing
//! and opens nothing but the file itself; must not know which component uses which key.

mod cluster;
mod env;
mod error;
mod file;
mod ignored;
mod layers;
mod model;
mod nearest;
mod overrides;
mod redact;
mod reference;
mod size;
mod store;
mod symbols;
mod telemetry;

pub use cluster::{Cluster, ClusterTls, Gossip};
pub use env::{ENV_PREFIX, variable_name};
pub use error::Error;
pub use file::{read_tree, tree_to_yaml};
pub use ignored::IgnoredKey;
pub use layers::{Layers, Loaded};
pub use model::{Compactor, Ingester, Log, LogFormat, Querier, Settings, Wal};
pub use overrides::TenantOverrides;
pub use redact::is_secret;
pub use reference::{REFERENCE_FLAGS, reference_flag};
pub use size::ByteSize;
pub use store::ObjectStoreClient;
pub use symbols::{DebugInfo, Symbolizer};
pub use telemetry::{Liveness, OtlpProtocol, Profiling, SelfProfiling, Tracing};
