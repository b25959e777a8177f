//! The same over gRPC: HTTP/2 without TLS, one message a call, trailers that say how it ended.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Span, decode};

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// A flag, whether the message is compressed, and its length.
const FRAME_BYTES: usize = 5;

/// Answers for as long as the test program runs.
pub(super) fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<Span>>>, headers: Arc<Mutex<Vec<String>>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("settable");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            let (spans, headers) = (Arc::clone(&spans), Arc::clone(&headers));
            let service = service_fn(move |request| {
                let (spans, headers) = (Arc::clone(&spans), Arc::clone(&headers));
                async move { Ok::<_, Infallible>(answer(request, spans, headers).await) }
            });
            tokio::spawn(async move {
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // Who asked may go away.
                drop(connection.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
}

async fn answer(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Span>>>,
    headers: Arc<Mutex<Vec<String>>>,
) -> Response<impl Body<Data = Bytes, Error = Infallible>> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", PATH));
    let (parts, body) = request.into_parts();
    assert_eq!(parts.headers["content-type"], "application/grpc");
    let named =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()));
    headers.lock().expect("not poisoned").extend(named);
    let body = body.collect().await.expect("a whole message").to_bytes();
    let (frame, message) = body.split_at(FRAME_BYTES);
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]) as usize;
    assert_eq!((frame[0], length), (0, message.len()), "one message, not compressed");
    spans.lock().expect("not poisoned").extend(decode(message));
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let trailers = HeaderMap::from_iter([status]);
    // The empty message: all was taken.
    let body = Full::new(Bytes::from_static(&[0; FRAME_BYTES]));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}
