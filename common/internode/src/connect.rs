//! Connections to internal ports: one way to open them, so that a refused connection is told from one that takes too long.
//!
//! TLS comes in here, when it comes.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::error::CallError;
use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, HEADERS_BYTES_MAX, HTTP2_FRAME_BYTES, PING_INTERVAL,
    PING_TIMEOUT, STREAM_WINDOW_BYTES, WAITING_MAX,
};
use crate::status::call_error;

/// A channel that connects when it is first used, and anew when it broke.
pub(crate) fn lazy(address: &str) -> Result<Channel, CallError> {
    Ok(endpoint(address)?.connect_with_connector_lazy(service_fn(tcp)))
}

/// A channel that is connected.
pub(crate) async fn eager(address: &str) -> Result<Channel, CallError> {
    let connected = endpoint(address)?.connect_with_connector(service_fn(tcp)).await;
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

async fn tcp(uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let connecting = TcpStream::connect((host, uri.port_u16().unwrap_or_default()));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| timed_out())??;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}
