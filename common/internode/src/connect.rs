//! Connections to internal ports: one way to open them, so that a refused connection is told from one that takes too long.
//!
//! With [`Tls`] the connection is there only when both sides have shown their certificates.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::error::CallError;
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, HEADERS_BYTES_MAX, HTTP2_FRAME_BYTES, PING_INTERVAL,
    PING_TIMEOUT, STREAM_WINDOW_BYTES, WAITING_MAX,
};
use crate::status::call_error;
use crate::tls::Tls;

/// A channel that connects when it is first used, and anew when it broke.
pub(crate) fn lazy(address: &str, tls: Option<Tls>) -> Result<Channel, CallError> {
    Ok(endpoint(address)?.connect_with_connector_lazy(service_fn(move |uri| open(uri, tls.clone()))))
}

/// A channel that is connected.
pub(crate) async fn eager(address: &str, tls: Option<Tls>) -> Result<Channel, CallError> {
    let connector = service_fn(move |uri| open(uri, tls.clone()));
    let connected = endpoint(address)?.connect_with_connector(connector).await;
    connected.map_err(|error| call_error(address, &tonic::Status::from_error(Box::new(error))))
}

fn endpoint(address: &str) -> Result<Endpoint, CallError> {
    let unreachable = |why: String| CallError::Unreachable { peer: address.to_owned(), why };
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|e| unreachable(e.to_string()))?;
    if endpoint.uri().port().is_none() {
        return Err(unreachable("its address has no port".to_owned()));
    }
    Ok(endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .buffer_size(WAITING_MAX))
}

type Stream = TokioIo<Either<TcpStream, TlsStream<TcpStream>>>;

async fn open(uri: Uri, tls: Option<Tls>) -> io::Result<Stream> {
    let stream = tcp(&uri).await?;
    let Some(tls) = tls else { return Ok(TokioIo::new(Either::Left(stream))) };
    let shaken = tokio::time::timeout(CONNECT_TIMEOUT, tls.connect(stream)).await.map_err(|_| timed_out())?;
    let stream = shaken.map_err(|error| {
        let why = format!("no TLS with it ({error}): cluster.tls must be the same in all processes");
        io::Error::new(error.kind(), why)
    })?;
    Ok(TokioIo::new(Either::Right(stream)))
}

async fn tcp(uri: &Uri) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let connecting = TcpStream::connect((host, uri.port_u16().unwrap_or_default()));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| timed_out())??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}
