//! A client of debuginfod: `GET <url>/buildid/<hex>/debuginfo`.
//!
//! Asks only for build ids, and only if a server is set. It is spared: few requests at once, none while it fails, none again for
//! what it does not have.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hearth_common::Clock;
use hearth_symbols::BuildId;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use reqwest::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::Breaker;
use super::metrics::Metrics;

/// Requests at once.
const REQUESTS_MAX: usize = 10;
/// Tries of one request.
const TRIES_MAX: u32 = 3;
/// The pause before the second try; doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest that a connection takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that the server may pause.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that one try takes, with its file.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Files that the server does not have, which are remembered …
const ABSENT_MAX: usize = 100_000;
/// … for so long.
const ABSENT_FOR: Duration = Duration::from_secs(7 * 86_400);
/// First allocation for a file whose length is not to be believed.
const FIRST_BYTES: usize = 1 << 20;

/// What came of a request.
pub(super) enum Fetched<'p> {
    /// The file, and the place that it takes.
    File(Bytes, SemaphorePermit<'p>),
    /// The server does not have it.
    Absent,
    /// It is larger than may be read.
    TooLarge,
    /// Not at the moment.
    Failed,
}

/// Why one try came to nothing.
enum Problem {
    Absent,
    TooLarge,
    /// May be tried again.
    Passing(String),
    /// Not.
    Lasting(String),
}

/// One server.
pub(super) struct Debuginfod {
    url: String,
    client: reqwest::Client,
    requests: Semaphore,
    breaker: Mutex<Breaker>,
    /// Until when the server is believed not to have a file.
    absent: Cache<BuildId, Duration>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Debuginfod {
    /// `None` without a URL.
    pub(super) fn new(url: &str, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Option<Self> {
        if url.is_empty() {
            return None;
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                let error = hearth_common::error::chain(&error);
                tracing::error!(error, "debuginfod cannot be asked; going on without it");
                return None;
            }
        };
        Some(Self {
            url: url.trim_end_matches('/').to_owned(),
            client,
            requests: Semaphore::new(REQUESTS_MAX),
            breaker: Mutex::default(),
            absent: Cache::new(ABSENT_MAX),
            clock,
            metrics,
        })
    }

    /// Fetches the debug file of a program. It is in memory as a whole, so that a place among `files` is taken before it is read.
    pub(super) async fn fetch<'p>(
        &self,
        build_id: &BuildId,
        bytes_max: u64,
        files: &'p Semaphore,
    ) -> Fetched<'p> {
        if self.absent.get(build_id).is_some_and(|until| self.clock.monotonic() < until) {
            return Fetched::Absent;
        }
        // Never closed.
        let Ok(_request) = self.requests.acquire().await else { return Fetched::Failed };
        for tried in 1..=TRIES_MAX {
            let started = self.clock.monotonic();
            if !self.breaker.lock().admits(started) {
                self.metrics.request("held_back", Duration::ZERO);
                return Fetched::Failed;
            }
            let got = self.try_once(build_id, bytes_max, files).await;
            let now = self.clock.monotonic();
            let took = now.saturating_sub(started);
            let error = match got {
                Ok((file, place)) => {
                    self.breaker.lock().succeeded();
                    self.metrics.request("found", took);
                    return Fetched::File(file, place);
                }
                Err(Problem::Absent) => {
                    self.breaker.lock().succeeded();
                    self.metrics.request("absent", took);
                    self.absent.insert(build_id.clone(), now + ABSENT_FOR);
                    return Fetched::Absent;
                }
                Err(Problem::TooLarge) => {
                    self.breaker.lock().succeeded();
                    self.metrics.request("too_large", took);
                    return Fetched::TooLarge;
                }
                Err(Problem::Lasting(error)) => {
                    self.metrics.request("refused", took);
                    tracing::warn!(%build_id, error, "debuginfod does not answer properly");
                    return Fetched::Failed;
                }
                Err(Problem::Passing(error)) => error,
            };
            self.metrics.request("failed", took);
            self.breaker.lock().failed(now);
            if tried == TRIES_MAX {
                tracing::warn!(%build_id, error, "debuginfod does not answer");
                break;
            }
            tokio::time::sleep(PAUSE_FIRST * (1 << (tried - 1))).await;
        }
        Fetched::Failed
    }

    async fn try_once<'p>(
        &self,
        build_id: &BuildId,
        bytes_max: u64,
        files: &'p Semaphore,
    ) -> Result<(Bytes, SemaphorePermit<'p>), Problem> {
        let passing = |error: reqwest::Error| {
            // The URL stands in the settings; with it, the error would name it twice.
            Problem::Passing(hearth_common::error::chain(&error.without_url()))
        };
        let url = format!("{}/buildid/{build_id}/debuginfo", self.url);
        let mut response = self.client.get(url).send().await.map_err(passing)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Problem::Absent),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Problem::Passing(format!("it answers {status}")));
            }
            status => return Err(Problem::Lasting(format!("it answers {status}"))),
        }
        let announced = response.content_length().unwrap_or_default();
        if announced > bytes_max {
            return Err(Problem::TooLarge);
        }
        let Ok(place) = files.acquire().await else {
            return Err(Problem::Lasting("this process is stopping".to_owned()));
        };
        let first = usize::try_from(announced).unwrap_or(FIRST_BYTES).clamp(FIRST_BYTES, 64 * FIRST_BYTES);
        let mut file = BytesMut::with_capacity(first);
        while let Some(piece) = response.chunk().await.map_err(passing)? {
            if (file.len() + piece.len()) as u64 > bytes_max {
                return Err(Problem::TooLarge);
            }
            file.extend_from_slice(&piece);
        }
        Ok((file.freeze(), place))
    }
}

#[cfg(test)]
mod tests;
