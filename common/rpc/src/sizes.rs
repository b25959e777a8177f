//! Bytes of bodies, as they are sent: those of answers are counted when the body is gone, for what streams has no length before.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use prometheus_client::metrics::histogram::Histogram;

/// Counts an answer's body.
pub(crate) fn counted(body: Body, bytes: Histogram) -> Body {
    match body.size_hint().exact() {
        Some(exact) => {
            bytes.observe(exact as f64);
            body
        }
        None => Body::new(Counted { body, sent: 0, bytes }),
    }
}

struct Counted {
    body: Body,
    sent: usize,
    bytes: Histogram,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent += frame.data_ref().map_or(0, Bytes::len);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.bytes.observe(self.sent as f64);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use prometheus_client::metrics::histogram::linear_buckets;

    use super::*;

    /// Bytes, and bodies, that were counted.
    fn read(histogram: &Histogram) -> (f64, u64) {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("x", "x", histogram.clone());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("memory");
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim().parse::<f64>().expect("a number")
        };
        (line("x_sum"), line("x_count") as u64)
    }

    #[tokio::test]
    async fn bodies_with_and_without_a_length_are_counted() {
        let histogram = Histogram::new(linear_buckets(1.0, 1.0, 1));
        drop(counted(Body::from("seven77"), histogram.clone()));
        assert_eq!(read(&histogram), (7.0, 1));
        let frames = ["abc", "de"].map(|text| Ok::<_, axum::Error>(Frame::data(Bytes::from(text))));
        let streamed = Body::new(StreamBody::new(futures::stream::iter(frames)));
        let streamed = counted(streamed, histogram.clone());
        assert_eq!(read(&histogram), (7.0, 1), "nothing has gone yet");
        assert_eq!(streamed.collect().await.expect("whole").to_bytes(), "abcde");
        assert_eq!(read(&histogram), (12.0, 2));
    }
}
