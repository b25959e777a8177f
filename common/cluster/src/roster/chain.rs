//! A chain of put-if-absent objects in the store: version after version, written once (design: replication B8). Knows no
//! roster: any kind of object that carries a version, a nonce and its parent's nonce.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_common::{Clock, TimestampNs};
use hearth_objstore::{PutOutcome, Store, StoreError};

use super::error::RosterError;

/// Longest object that is read.
const OBJECT_MAX_BYTES: u64 = 64 << 20;
/// Steps forward from a known version before a listing is cheaper.
const STEPS_MAX: u32 = 16;
/// How often a look starts again because versions went away under it.
const LOOKS_MAX: u32 = 8;
/// How often the same bytes are put, or the fate of a put is asked for.
const PUTS_MAX: u32 = 6;
/// The first pause after a failed put; doubles, with jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A version that was last seen to be the newest longer ago than this is no start for steps: versions may have been
/// collected and, by a writer that slept, one of them made anew (design: replication A22). Collection keeps versions for 24
/// hours, so there is room.
const CONFIRMED_FOR: Duration = Duration::from_secs(3600);

/// Where nonces come from.
pub(crate) type Rng = Arc<dyn Fn() -> u128 + Send + Sync>;

/// An object of a chain.
pub(crate) trait Link: Clone + Send + Sync {
    /// 1, 2, 3 …
    fn version(&self) -> u64;
    /// Whose write it is.
    fn nonce(&self) -> u128;
    /// The nonce of the version before.
    fn parent(&self) -> u128;
    /// As it lies in the store.
    fn encode(&self) -> Vec<u8>;
    /// From the store; checks it.
    fn decode(key: &str, object: &[u8]) -> Result<Self, RosterError>;
}

/// What a look found, and when.
#[derive(Debug, Clone)]
pub(crate) struct Known<L> {
    /// The newest; `None`: there is none.
    pub(crate) newest: Option<Arc<L>>,
    /// When it was the newest: monotonic and wall clock (a suspended machine stops the former).
    pub(crate) at: (Duration, TimestampNs),
}

/// What became of one attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    /// Another object is at that version.
    Lost,
    /// Ours came where nobody looks any more: its base was collected. The newest is found by listing only.
    Void,
}

/// A version as the store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it was written, by the store's clock.
    pub written: TimestampNs,
}

/// Which versions may go: older than `keep_for` and not among the newest `keep_at_least`. Ascending, and without holes:
/// it ends at the first version that must stay. Pure.
pub fn expired_versions(
    versions: &[Version],
    now: TimestampNs,
    keep_for: Duration,
    keep_at_least: usize,
) -> Vec<u64> {
    let mut sorted = versions.to_vec();
    sorted.sort_by_key(|v| v.version);
    let spare = sorted.len().saturating_sub(keep_at_least);
    let keep_ns = keep_for.as_nanos() as i128;
    let old = |v: &&Version| i128::from(now.0) - i128::from(v.written.0) > keep_ns;
    sorted[..spare].iter().take_while(old).map(|v| v.version).collect()
}

/// Versions went away while they were needed: list.
enum Miss {
    Gone,
    Error(RosterError),
}

impl<E: Into<RosterError>> From<E> for Miss {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// The chain below a prefix.
pub(crate) struct Chain {
    pub(crate) store: Store,
    prefix: String,
    pub(crate) rng: Rng,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Chain {
    pub(crate) fn new(store: Store, prefix: &str, rng: Rng, clock: Arc<dyn Clock>) -> Self {
        Self { store, prefix: prefix.to_owned(), rng, clock }
    }

    pub(crate) fn key(&self, version: u64) -> String {
        format!("{}/{version:020}", self.prefix)
    }

    fn parse_key(&self, key: &str) -> Option<u64> {
        let digits = key.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let valid = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| digits.parse().ok()).flatten()
    }

    pub(crate) fn now(&self) -> (Duration, TimestampNs) {
        (self.clock.monotonic(), self.clock.now())
    }

    fn confirmed_lately<L>(&self, known: &Known<L>) -> bool {
        let (monotonic, wall) = self.now();
        let wall_ns = i128::from(wall.0) - i128::from(known.at.1.0);
        monotonic.saturating_sub(known.at.0) < CONFIRMED_FOR && wall_ns < CONFIRMED_FOR.as_nanos() as i128
    }

    /// Asks the store for the newest version, in steps from what is known, else by listing.
    pub(crate) async fn look<L: Link>(&self, known: Option<Known<L>>) -> Result<Known<L>, RosterError> {
        let mut start = known.filter(|known| self.confirmed_lately(known)).and_then(|known| known.newest);
        for _ in 0..LOOKS_MAX {
            let at = self.now();
            let found = match &start {
                Some(from) => self.step_forward(Arc::clone(from)).await.map(Some),
                None => self.list_and_load().await,
            };
            match found {
                Ok(newest) => return Ok(Known { newest, at }),
                Err(Miss::Gone) => start = None,
                Err(Miss::Error(error)) => return Err(error),
            }
        }
        Err(RosterError::Contended { chain: self.prefix.clone(), attempts: LOOKS_MAX })
    }

    /// 404 on v + 1, and after that v still there: v was the newest at the first call.
    async fn step_forward<L: Link>(&self, mut from: Arc<L>) -> Result<Arc<L>, Miss> {
        for _ in 0..STEPS_MAX {
            let Some(next) = self.read::<L>(from.version() + 1).await? else {
                let there = self.store.exists(&self.key(from.version())).await?;
                return if there { Ok(from) } else { Err(Miss::Gone) };
            };
            if next.parent() != from.nonce() {
                tracing::warn!(
                    chain = self.prefix,
                    version = next.version(),
                    "a version does not follow the one before; listing"
                );
                return Err(Miss::Gone);
            }
            from = Arc::new(next);
        }
        Err(Miss::Gone)
    }

    async fn list_and_load<L: Link>(&self) -> Result<Option<Arc<L>>, Miss> {
        let listed = self.store.list(&self.prefix).await?;
        let Some(version) = listed.iter().filter_map(|o| self.parse_key(&o.key)).max() else {
            return Ok(None);
        };
        let newest = self.read::<L>(version).await?.ok_or(Miss::Gone)?;
        // The listing may have begun before the newest commit.
        self.step_forward(Arc::new(newest)).await.map(Some)
    }

    /// One version; `None` if it does not exist.
    pub(crate) async fn read<L: Link>(&self, version: u64) -> Result<Option<L>, RosterError> {
        let key = self.key(version);
        let object = match self.store.get(&key, OBJECT_MAX_BYTES).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let link = L::decode(&key, &object)?;
        if link.version() != version {
            let why = format!("it says it is version {}", link.version());
            return Err(RosterError::Damaged { key, why });
        }
        Ok(Some(link))
    }

    /// Tries to make `next` the version after `base_version` (0: none), whose nonce is its parent. "Failed" is never
    /// concluded from an error.
    pub(crate) async fn put_next<L: Link>(&self, next: &L) -> Result<Fate, RosterError> {
        let (key, object) = (self.key(next.version()), Bytes::from(next.encode()));
        let mut last_error: Option<StoreError> = None;
        for put in 0..PUTS_MAX {
            match self.store.put_if_absent(&key, object.clone()).await {
                Ok(PutOutcome::Created) => return self.confirm(next).await,
                Ok(PutOutcome::AlreadyExists) => {}
                Err(error) if error.outcome_unknown() => last_error = Some(error),
                Err(error) => return Err(error.into()),
            }
            match self.read::<L>(next.version()).await {
                Ok(Some(found)) if found.nonce() == next.nonce() => return self.confirm(next).await,
                Ok(Some(_)) => return Ok(Fate::Lost),
                // Absent: the same bytes again.
                Ok(None) => {}
                Err(RosterError::Store(error)) => last_error = Some(error),
                Err(error) => return Err(error),
            }
            self.pause(put).await;
        }
        Err(self.unknown(next.version(), last_error))
    }

    /// The version exists. It counts only if its base does: else versions up to it were collected and it was made anew
    /// where nobody looks (design: replication A22). Versions are deleted in ascending order, so the base tells; by its nonce,
    /// for what is there may have been made anew itself.
    async fn confirm<L: Link>(&self, next: &L) -> Result<Fate, RosterError> {
        let mut last_error = None;
        for ask in 0..PUTS_MAX {
            let follows = match next.version() - 1 {
                0 => self.is_first(next).await,
                base => {
                    let found = self.read::<L>(base).await;
                    found.map(|found| found.is_some_and(|found| found.nonce() == next.parent()))
                }
            };
            match follows {
                Ok(true) => return Ok(Fate::Committed),
                Ok(false) => {
                    let version = next.version();
                    tracing::warn!(
                        chain = self.prefix,
                        version,
                        "a version came after its base was collected; it is void"
                    );
                    return Ok(Fate::Void);
                }
                Err(RosterError::Store(error)) => last_error = Some(error),
                Err(error) => return Err(error),
            }
            self.pause(ask).await;
        }
        Err(self.unknown(next.version(), last_error))
    }

    /// Version 1 has no base to look at. It is the first only if the chain goes on from it: nothing newer exists, or
    /// version 2 follows it.
    async fn is_first<L: Link>(&self, first: &L) -> Result<bool, RosterError> {
        let listed = self.store.list(&self.prefix).await?;
        if !listed.iter().filter_map(|o| self.parse_key(&o.key)).any(|v| v > first.version()) {
            return Ok(true);
        }
        let second = self.read::<L>(first.version() + 1).await?;
        Ok(second.is_some_and(|second| second.parent() == first.nonce()))
    }

    /// All versions, ascending. Lists.
    pub(crate) async fn versions(&self) -> Result<Vec<Version>, RosterError> {
        let listed = self.store.list(&self.prefix).await?;
        let version = |o: &hearth_objstore::ObjectInfo| {
            self.parse_key(&o.key).map(|version| Version { version, written: o.modified })
        };
        let mut versions: Vec<Version> = listed.iter().filter_map(version).collect();
        versions.sort_by_key(|v| v.version);
        Ok(versions)
    }

    /// Deletes versions one after the other in ascending order.
    pub(crate) async fn delete(&self, versions: &[u64]) -> Result<(), RosterError> {
        let mut sorted = versions.to_vec();
        sorted.sort_unstable();
        let keys: Vec<String> = sorted.into_iter().map(|version| self.key(version)).collect();
        Ok(self.store.delete(&keys).await?)
    }

    fn unknown(&self, version: u64, source: Option<StoreError>) -> RosterError {
        RosterError::OutcomeUnknown { chain: self.prefix.clone(), version, attempts: PUTS_MAX, source }
    }

    async fn pause(&self, attempt: u32) {
        let longest = PAUSE_FIRST.saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX);
        let jitter = ((self.rng)() % 1024) as u32;
        tokio::time::sleep(longest * jitter / 1024).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: i64 = 3_600_000_000_000;

    fn check(written_hours_ago: &[i64], keep_at_least: usize, expect: &[u64]) {
        let now = TimestampNs(1_000 * HOUR_NS);
        let version = |(at, hours): (usize, &i64)| Version {
            version: at as u64 + 1,
            written: TimestampNs(now.0 - hours * HOUR_NS),
        };
        let versions: Vec<Version> = written_hours_ago.iter().enumerate().map(version).rev().collect();
        let gone = expired_versions(&versions, now, Duration::from_secs(24 * 3600), keep_at_least);
        assert_eq!(gone, expect, "{written_hours_ago:?}");
    }

    #[test]
    fn old_versions_go_from_the_first_on() {
        check(&[90, 80, 70, 1], 1, &[1, 2, 3]);
        check(&[90, 80, 70, 60], 3, &[1]);
        check(&[90, 80, 70], 3, &[]);
        check(&[90, 24, 25, 1], 1, &[1]);
        check(&[], 0, &[]);
    }
}
