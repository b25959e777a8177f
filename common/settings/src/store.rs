//! Keys of the object store's client: what is tried again, how much at once. A folder needs none of them.

use hearth_common::units::GoDuration;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Most retries of one request that may be set.
const RETRIES_MAX: u32 = 100;

/// Requests to a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectStoreClient {
    /// How often a request that fails is tried again, …
    pub retries_max: u32,
    /// … and for how long.
    pub retry_for: GoDuration,
    /// Retries in vain of each class of work (publish, query, compaction) after which requests fail at once, until some
    /// succeed again; 0: nothing is tried again.
    pub retry_budget: u32,
    /// For how long a merge waits for the store with each piece that it uploads, before it is given up; 0: not at all.
    pub upload_retry_for: GoDuration,
    /// The longest that one request takes, with its body.
    pub request_timeout: GoDuration,
    /// The longest that a connection takes.
    pub connect_timeout: GoDuration,
    /// Requests at once of what is published: blocks, pages, roots, the roster.
    pub publish_requests_max: usize,
    /// Requests at once of queries.
    pub query_requests_max: usize,
    /// Requests at once of merges.
    pub compaction_requests_max: usize,
    /// A read of a query that takes longer is sent a second time, and the first answer counts; each 8MiB that it reads give
    /// as much time again. 0: never.
    pub hedge_after: GoDuration,
    /// Such second reads at once.
    pub hedges_max: usize,
}

impl Default for ObjectStoreClient {
    fn default() -> Self {
        Self {
            retries_max: 10,
            retry_for: GoDuration::from_secs(60),
            retry_budget: 100,
            upload_retry_for: GoDuration::from_secs(600),
            request_timeout: GoDuration::from_secs(30),
            connect_timeout: GoDuration::from_secs(5),
            publish_requests_max: 64,
            query_requests_max: 128,
            compaction_requests_max: 32,
            hedge_after: GoDuration::from_secs(1),
            hedges_max: 16,
        }
    }
}

/// What a type cannot say.
pub(crate) fn check(client: &ObjectStoreClient) -> Result<(), Error> {
    let invalid =
        |key, value: &dyn ToString, message| Err(Error::Invalid { key, value: value.to_string(), message });
    if client.retries_max > RETRIES_MAX {
        return invalid("store.retries_max", &client.retries_max, "it is at most 100");
    }
    if client.request_timeout.is_zero() {
        return invalid("store.request_timeout", &client.request_timeout, "it is above 0");
    }
    if client.connect_timeout.is_zero() {
        return invalid("store.connect_timeout", &client.connect_timeout, "it is above 0");
    }
    let classes = [
        ("store.publish_requests_max", client.publish_requests_max),
        ("store.query_requests_max", client.query_requests_max),
        ("store.compaction_requests_max", client.compaction_requests_max),
    ];
    match classes.into_iter().find(|(_, requests)| *requests == 0) {
        Some((key, requests)) => invalid(key, &requests, "it is above 0"),
        None => Ok(()),
    }
}
