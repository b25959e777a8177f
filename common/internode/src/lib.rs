//! How roles reach each other over the network: messages, conversions, servers and clients of the internal port.
//!
//! Owns the internal port (tonic) and everything between it and the types of our own: [`api::IngesterApi`] is what an
//! ingester gives, [`blocks::QuerierApi`] what a querier gives its peers, [`link::LinkSink`] takes the frames of cells. A crate of its own and not a part of hearth-rpc, because
//! the two have nothing in common but HTTP/2: that one speaks to the world (Connect, JSON, tenants, capabilities), this one
//! to ourselves, and it stands above the crates whose types it carries.
//!
//! [`cells`] says whom to ask for a cell, by a roster and a view of peers that it is given.
//!
//! Must not know: what a record holds, what a frame means to Raft, how membership comes about, where anything is stored.

pub mod api;
pub mod blocks;
pub mod cells;
pub mod client;
mod connect;
pub mod error;
pub mod frame;
pub mod limits;
pub mod link;
mod metrics;
pub mod outbox;
pub mod packed;
pub mod server;
mod status;
mod strangers;
pub mod tls;
mod traced;
mod wire;

pub use api::{Fetch, FetchOutcome, Fetched, IngesterApi, Outcome, Push, Pushed};
pub use blocks::{BlocksAnswer, BlocksError, BlocksRequest, QuerierApi, QuerierClients, Refusal, RefusalWhy};
pub use client::{IngesterCalls, IngesterClient, Pool, Reach};
pub use error::CallError;
pub use frame::{Frame, Hello};
pub use link::{Link, LinkEvent, LinkOptions, LinkSink, LinkState, LinkTask, Outbox};
pub use metrics::Metrics;
pub use server::{InternalServer, QuerierServerOptions, ServerOptions};
pub use tls::{Tls, TlsError, TlsFiles};
