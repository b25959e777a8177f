//! How others reach an ingester, whatever is between: a network, or a simulated one.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{IngesterClient, Pool};
use crate::api::{Fetch, Fetched, MemberStatus, Push, Pushed};
use crate::error::CallError;

/// Calls to one ingester. Each gives up after its timeout.
#[async_trait]
pub trait IngesterCalls: Send + Sync + Debug {
    /// Sends records of one cell. After an error that is not [`CallError::not_sent`] they may be in the log.
    async fn push(&self, push: Push, timeout: Duration) -> Result<Pushed, CallError>;
    /// Asks for what lies beyond a coverage, within `fetch.request.timeout`.
    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, CallError>;
    /// How it is.
    async fn status(&self, timeout: Duration) -> Result<MemberStatus, CallError>;
}

/// Ways to ingesters.
pub trait Reach: Send + Sync + Debug {
    /// The one at `host:port`. Nothing is sent yet; an error says that this is no address.
    fn ingester(&self, address: &str) -> Result<Arc<dyn IngesterCalls>, CallError>;
}

#[async_trait]
impl IngesterCalls for IngesterClient {
    async fn push(&self, push: Push, timeout: Duration) -> Result<Pushed, CallError> {
        Self::push(self, push, timeout).await
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, CallError> {
        Self::fetch(self, fetch).await
    }

    async fn status(&self, timeout: Duration) -> Result<MemberStatus, CallError> {
        Self::status(self, timeout).await
    }
}

/// Over the network. Must be called within the runtime.
impl Reach for Pool {
    fn ingester(&self, address: &str) -> Result<Arc<dyn IngesterCalls>, CallError> {
        Ok(Arc::new(self.get(address)?))
    }
}
