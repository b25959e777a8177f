//! A bound on what all requests together hold in memory: each is read as a whole before a role sees it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;
use tonic::Status;

/// Bytes that all requests may hold. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// The share of one request; nothing yet.
    pub(super) fn share(&self) -> Arc<Share> {
        Arc::new(Share { budget: Arc::clone(&self.0), held_bytes: AtomicUsize::new(0) })
    }
}

/// What one request holds, given back when the last clone is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Semaphore>,
    held_bytes: AtomicUsize,
}

impl Share {
    fn take(&self, bytes: usize) -> Result<(), Status> {
        // Waiting could last for ever: the bytes that are missing may be held by requests that wait, too.
        let permits = u32::try_from(bytes).ok().and_then(|bytes| self.budget.try_acquire_many(bytes).ok());
        let permits =
            permits.ok_or_else(|| Status::unavailable("requests hold too many bytes here: try again"))?;
        permits.forget();
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.add_permits(*self.held_bytes.get_mut());
    }
}

/// A body whose bytes are taken from a budget as they come.
#[derive(Debug)]
pub(super) struct Budgeted<B> {
    inner: B,
    share: Option<Arc<Share>>,
}

impl<B> Budgeted<B> {
    /// Without a share: a stream, whose messages are handed on one by one.
    pub(super) fn new(inner: B, share: Option<Arc<Share>>) -> Self {
        Self { inner, share }
    }
}

impl<B: Body<Data = Bytes, Error: Into<hearth_common::BoxError>> + Unpin> Body for Budgeted<B> {
    type Data = Bytes;
    type Error = hearth_common::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let taken = match (&frame, &self.share) {
            (Some(Ok(frame)), Some(share)) => share.take(frame.data_ref().map_or(0, Bytes::len)),
            _ => Ok(()),
        };
        Poll::Ready(match taken {
            Ok(()) => frame.map(|frame| frame.map_err(Into::into)),
            Err(status) => Some(Err(status.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_takes_its_bytes_and_gives_them_back_with_its_share() {
        let budget = Budget::new(10);
        let body = |length, share: &Arc<Share>| {
            Budgeted::new(Full::new(Bytes::from(vec![1; length])), Some(Arc::clone(share)))
        };
        let (one, two) = (budget.share(), budget.share());
        assert_eq!(body(6, &one).collect().await.expect("it fits").to_bytes().len(), 6);
        let refused = body(6, &two).collect().await.expect_err("only 4 are left");
        assert_eq!(refused.downcast_ref::<Status>().map(Status::code), Some(tonic::Code::Unavailable));
        assert!(body(4, &two).collect().await.is_ok());
        drop(one);
        assert!(body(6, &two).collect().await.is_ok());
        drop(two);
        assert_eq!(budget.0.available_permits(), 10);
        assert!(Budgeted::new(Full::new(Bytes::from(vec![1; 11])), None).collect().await.is_ok());
    }
}
