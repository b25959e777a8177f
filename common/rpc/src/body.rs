//! Request bodies: read with an idle timeout and within a budget that all requests of the port share.
//!
//! Knows nothing of protocols. What a request holds is given back when the request ends, not when its body was read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hearth_common::{Classify, ErrorKind};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

/// How long a client may pause within a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
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
            Self::TooLarge { .. } | Self::Busy { .. } => ErrorKind::ResourceExhausted,
            Self::Stalled => ErrorKind::DeadlineExceeded,
            Self::Broken(_) => ErrorKind::Canceled,
            Self::Corrupt(_) => ErrorKind::InvalidArgument,
        }
    }

    fn retry(&self) -> hearth_common::Retry {
        match self {
            Self::Busy { .. } => hearth_common::Retry::After(Duration::from_secs(1)),
            _ => hearth_common::Retry::Never,
        }
    }
}

/// Bytes that all requests may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }
}

/// What one request holds of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
    /// Of the body, as sent.
    received: AtomicUsize,
}

impl Held {
    pub(crate) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let (bytes, received) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { budget: Arc::clone(budget), bytes, received })
    }

    /// Bytes of the body that have come.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Takes more of the budget.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), BodyFault> {
        let limit = self.budget.limit;
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > limit {
            self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(BodyFault::Busy { limit });
        }
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
        self.budget.used.fetch_sub(bytes.min(held), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// A body that counts what it gives and fails when it stalls.
pub(crate) struct GuardedBody {
    inner: Incoming,
    held: Arc<Held>,
    stall: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    thrown_away: bool,
}

impl GuardedBody {
    pub(crate) fn new(inner: Incoming, held: Arc<Held>) -> Self {
        Self { inner, held, stall: None, waiting: false, thrown_away: false }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        if !self.waiting {
            stall.as_mut().reset(Instant::now() + STALL_TIMEOUT);
            self.waiting = true;
        }
        stall.as_mut().poll(cx)
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
        self.waiting = false;
        if let Some(Ok(frame)) = &frame {
            self.held.received.fetch_add(frame.data_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) if self.thrown_away => Some(Ok(frame)),
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
        let (one, two) = (Held::new(&budget), Held::new(&budget));
        assert!(one.take(60).is_ok() && two.take(40).is_ok());
        assert!(matches!(two.take(1), Err(BodyFault::Busy { limit: 100 })));
        drop(one);
        assert!(two.take(60).is_ok());
        two.give_back(30);
        assert!(two.take(30).is_ok() && two.take(1).is_err());
        two.give_back(1000);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert!(two.take(100).is_ok());
        two.give_back(100);
        two.received.store(10, Ordering::Relaxed);
        assert!(two.take_inflated(10).is_ok() && two.take_inflated(3).is_ok());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0, "the body was counted when it came");
        assert!(two.take_inflated(111).is_err() && two.take_inflated(110).is_ok());
        drop(two);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
