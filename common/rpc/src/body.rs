//! Request bodies: read while they come fast enough, and within a budget that all requests of the port share.
//!
//! Knows nothing of protocols. What a request holds is given back when the request ends, not when its body was read.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hearth_common::{Classify, ErrorKind, TenantId};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may pause within a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Least rate at which a body comes, in bytes for each second of waiting for it …
const RATE_BYTES_MIN: u64 = 32 << 10;
/// … beyond the first ones: whoever sends a byte now and then would keep others' room for ever.
const SLOW_FOR: Duration = Duration::from_secs(60);
/// What part of the budget one tenant may hold.
const SHARE: usize = 2;
/// First allocation for a body whose length is not to be believed.
const FIRST_BYTES: usize = 64 << 10;
/// How much of a refused body is still read, so that its sender sees the answer before the connection closes.
pub(crate) const DRAIN_BYTES_MAX: usize = 16 << 20;
/// How long that may take.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    /// Larger than one message may be.
    #[error("message size {size} is larger than configured max {limit} bytes: send less at once")]
    TooLarge {
        /// Bytes seen or announced.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// All requests together hold too much.
    #[error(
        "the requests being served hold {limit} bytes together, which is all that may be held: try again"
    )]
    Busy {
        /// The budget in bytes.
        limit: usize,
    },
    /// The requests of one tenant hold its share.
    #[error(
        "the requests of this tenant that are being served hold {limit} bytes together, which is all that one tenant may \
         hold: try again"
    )]
    ShareTaken {
        /// The share in bytes.
        limit: usize,
    },
    /// It comes too slowly.
    #[error(
        "the request body comes at less than {} KiB a second: send less at once",
        RATE_BYTES_MIN >> 10
    )]
    Slow,
    /// The sender paused for too long.
    #[error("no byte of the request body came for {} s", STALL_TIMEOUT.as_secs())]
    Stalled,
    /// The connection broke.
    #[error("failed reading the request body")]
    Broken(#[source] hyper::Error),
    /// The content encoding does not fit the content.
    #[error("the request body says it is gzip and is not: {0}")]
    Corrupt(hearth_formats::gunzip::InflateError),
}

impl Classify for BodyFault {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } | Self::Busy { .. } | Self::ShareTaken { .. } => {
                ErrorKind::ResourceExhausted
            }
            Self::Slow | Self::Stalled => ErrorKind::DeadlineExceeded,
            Self::Broken(_) => ErrorKind::Canceled,
            Self::Corrupt(_) => ErrorKind::InvalidArgument,
        }
    }

    fn retry(&self) -> hearth_common::Retry {
        match self {
            Self::Busy { .. } | Self::ShareTaken { .. } => {
                hearth_common::Retry::After(Duration::from_secs(1))
            }
            _ => hearth_common::Retry::Never,
        }
    }
}

/// Bytes that all requests may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Mutex<Used>,
    limit: usize,
    /// Turns for inflating what may become large: until it is counted, nobody knows how much it takes.
    pub(crate) inflating: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// Of these, by tenant; those who hold none are not there.
    of_tenant: HashMap<TenantId, usize>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let turns = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let inflating = Arc::new(Semaphore::new(turns));
        Arc::new(Self { used: Mutex::default(), limit, inflating })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, tenant: Option<&TenantId>, bytes: usize) -> Result<(), BodyFault> {
        let mut used = self.used();
        let all = used.bytes.saturating_add(bytes);
        if all > self.limit {
            return Err(BodyFault::Busy { limit: self.limit });
        }
        if let Some(tenant) = tenant.filter(|_| bytes > 0) {
            let (limit, held) = (self.limit / SHARE, used.of_tenant.get(tenant).copied().unwrap_or_default());
            if held + bytes > limit {
                return Err(BodyFault::ShareTaken { limit });
            }
            used.of_tenant.insert(tenant.clone(), held + bytes);
        }
        used.bytes = all;
        Ok(())
    }

    fn give_back(&self, tenant: Option<&TenantId>, bytes: usize) {
        let mut used = self.used();
        used.bytes = used.bytes.saturating_sub(bytes);
        let Some(tenant) = tenant else { return };
        if let Some(held) = used.of_tenant.get_mut(tenant) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                used.of_tenant.remove(tenant);
            }
        }
    }
}

/// What one request holds of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) budget: Arc<Budget>,
    /// Whose share it counts for; nobody's where tenants are not told apart.
    tenant: Option<TenantId>,
    bytes: AtomicUsize,
    /// Of the body, as sent.
    received: AtomicUsize,
}

impl Held {
    pub(crate) fn new(budget: &Arc<Budget>, tenant: Option<TenantId>) -> Arc<Self> {
        let (bytes, received) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { budget: Arc::clone(budget), tenant, bytes, received })
    }

    /// Bytes of the body that have come.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Takes more of the budget.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), BodyFault> {
        self.budget.take(self.tenant.as_ref(), bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what a message of so many bytes has beyond its body: it was inflated inside a frame.
    pub(crate) fn take_inflated(&self, message_bytes: usize) -> Result<(), BodyFault> {
        self.take(message_bytes.saturating_sub(self.received()))
    }

    /// Gives back a part before the request ends: no more than it holds.
    pub(crate) fn give_back(&self, bytes: usize) {
        let less = |held: usize| Some(held.saturating_sub(bytes));
        // It always answers.
        let held = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
        self.budget.give_back(self.tenant.as_ref(), bytes.min(held));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.budget.give_back(self.tenant.as_ref(), bytes);
    }
}

/// A body that counts what it gives and fails when it stalls.
pub(crate) struct GuardedBody {
    inner: Incoming,
    held: Arc<Held>,
    stall: Option<Pin<Box<Sleep>>>,
    /// Since when nothing has come.
    waiting: Option<Instant>,
    /// How long was waited for what has come.
    waited: Duration,
    thrown_away: bool,
}

impl GuardedBody {
    pub(crate) fn new(inner: Incoming, held: Arc<Held>) -> Self {
        Self { inner, held, stall: None, waiting: None, waited: Duration::ZERO, thrown_away: false }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        if self.waiting.is_none() {
            let now = Instant::now();
            stall.as_mut().reset(now + STALL_TIMEOUT);
            self.waiting = Some(now);
        }
        stall.as_mut().poll(cx)
    }

    /// Whether less has come than must have in the time that was waited for it.
    fn is_slow(&self) -> bool {
        let owed = self.waited.saturating_sub(SLOW_FOR).as_secs().saturating_mul(RATE_BYTES_MIN);
        (self.held.received() as u64) < owed
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            ready!(self.poll_stall(cx));
            return Poll::Ready(Some(Err(BodyFault::Stalled)));
        };
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        if let Some(Ok(frame)) = &frame {
            self.held.received.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) if self.thrown_away => Some(Ok(frame)),
            Some(Ok(_)) if self.is_slow() => Some(Err(BodyFault::Slow)),
            Some(Ok(frame)) => {
                let held = self.held.take(frame.data_ref().map_or(0, Bytes::len));
                Some(held.map(|()| frame))
            }
            Some(Err(error)) => Some(Err(BodyFault::Broken(error))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The whole body; a body that came in one piece is not copied.
pub(crate) async fn collect(body: &mut GuardedBody, limit: usize) -> Result<Bytes, BodyFault> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyFault::TooLarge { size: announced, limit });
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let size = first.len() + rest.len() + data.len();
        if size > limit {
            return Err(BodyFault::TooLarge { size, limit });
        }
        if rest.is_empty() {
            if first.is_empty() {
                first = data;
                continue;
            }
            // The announced length is believed as far as bytes have come already.
            rest.reserve(size.max(announced.min(size * 4)).max(FIRST_BYTES));
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Reads what comes of a body that nobody wants, and keeps none of it.
pub(crate) async fn drain(body: &mut GuardedBody) {
    body.thrown_away = true;
    let reading = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Whether it came to its end makes no difference to the answer.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_back_what_it_held() {
        let budget = Budget::new(100);
        let (one, two) = (Held::new(&budget, None), Held::new(&budget, None));
        assert!(one.take(60).is_ok() && two.take(40).is_ok());
        assert!(matches!(two.take(1), Err(BodyFault::Busy { limit: 100 })));
        drop(one);
        assert!(two.take(60).is_ok());
        two.give_back(30);
        assert!(two.take(30).is_ok() && two.take(1).is_err());
        two.give_back(1000);
        assert_eq!(budget.used().bytes, 0);
        assert!(two.take(100).is_ok());
        two.give_back(100);
        two.received.store(10, Ordering::Relaxed);
        assert!(two.take_inflated(10).is_ok() && two.take_inflated(13).is_ok());
        assert_eq!(budget.used().bytes, 3, "the body was counted when it came");
        assert!(two.take_inflated(108).is_err() && two.take_inflated(107).is_ok());
        drop(two);
        assert_eq!(budget.used().bytes, 0);
    }

    #[test]
    fn one_tenant_leaves_room_for_others() {
        let budget = Budget::new(100);
        let tenant = |id| Some(TenantId::parse(id).expect("valid"));
        let (one, more, other) = (
            Held::new(&budget, tenant("a")),
            Held::new(&budget, tenant("a")),
            Held::new(&budget, tenant("b")),
        );
        assert!(one.take(30).is_ok() && more.take(20).is_ok());
        assert!(matches!(more.take(1), Err(BodyFault::ShareTaken { limit: 50 })));
        assert!(other.take(50).is_ok());
        one.give_back(10);
        assert!(more.take(10).is_ok() && more.take(1).is_err());
        drop((one, more));
        assert_eq!(budget.used().of_tenant.len(), 1, "nobody is remembered who holds nothing");
        drop(other);
        let used = budget.used();
        assert_eq!((used.bytes, used.of_tenant.len()), (0, 0));
    }
}
