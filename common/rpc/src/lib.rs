//! One port for Connect, gRPC, gRPC-Web and plain HTTP; tenants, capabilities, and the one table of errors.
//!
//! Owns what every request has in common. Must not know any message: roles bring their methods as [`Routes`].

mod accept;
mod adapter;
mod blocking;
mod body;
mod builtin;
mod compress;
mod context;
mod entries;
mod error;
mod front;
mod http_error;
mod metrics;
mod routes;
mod server;
mod sizes;
mod streamed;

pub use blocking::may_block;
pub use builtin::{Health, common_routes};
pub use context::{RequestContext, Tenancy, Tenants};
pub use entries::EntriesLimit;
pub use error::RpcError;
pub use http_error::{HttpError, read_body};
pub use metrics::RequestMetrics;
pub use routes::{Auth, Routes};
pub use server::{Server, ServerOptions, bind};
pub use streamed::StreamedBody;
