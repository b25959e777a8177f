//! Bodies that pass through piece by piece: of any length, while what the port holds of them stays small.

use axum::body::Body;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::body::{DRAIN_BYTES_MAX, DRAIN_TIMEOUT};
use crate::context::RequestContext;
use crate::http_error::{HttpError, broken_body};

/// The body of a plain request, read as it comes. A piece counts as held until the next one is asked for.
#[derive(Debug)]
pub struct StreamedBody {
    body: Body,
    context: RequestContext,
    limit_bytes: u64,
    seen_bytes: u64,
    held_bytes: usize,
}

impl StreamedBody {
    /// A body of at most `limit_bytes`.
    pub fn new(body: Body, context: RequestContext, limit_bytes: u64) -> Self {
        Self { body, context, limit_bytes, seen_bytes: 0, held_bytes: 0 }
    }

    fn too_large(&self, bytes: u64) -> HttpError {
        let limit = self.limit_bytes;
        HttpError::with_status(
            413,
            format!("request body too large: {bytes} bytes or more, the limit is {limit}"),
        )
    }

    /// The next piece; `None` at the end. 413 when there are more bytes than the limit, or the body says so by itself, 408 when the body breaks off or
    /// stalls, 429 when all requests hold too much.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let announced = self.seen_bytes.saturating_add(self.body.size_hint().lower());
        if announced > self.limit_bytes {
            return Err(self.too_large(announced));
        }
        loop {
            self.context.let_go(std::mem::take(&mut self.held_bytes));
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| broken_body(&error))?;
            let Ok(piece) = frame.into_data() else { continue };
            self.held_bytes = piece.len();
            self.seen_bytes += piece.len() as u64;
            if self.seen_bytes > self.limit_bytes {
                return Err(self.too_large(self.seen_bytes));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Reads what comes of a body that nobody wants, within bounds, so that its sender sees the answer before the connection
    /// closes.
    pub async fn drain(mut self) {
        let reading = async {
            let mut left = DRAIN_BYTES_MAX;
            while let Some(Ok(frame)) = self.body.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.context.let_go(bytes);
                left = left.saturating_sub(bytes);
                if left == 0 {
                    return;
                }
            }
        };
        // Whether it came to its end makes no difference to the answer.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
    }
}
