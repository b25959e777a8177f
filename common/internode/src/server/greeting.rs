//! The first bytes of a connection: TLS where it is asked for, else the beginning of HTTP/2. What begins otherwise is told
//! apart here, so that whoever switched TLS on in half of a cluster reads so in the log.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::metrics::Stranger;
use crate::tls::Tls;

/// How HTTP/2 begins when both sides know of it.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How TLS begins: a record of a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection that speaks as it should.
pub(super) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Why a connection is not served.
#[derive(Debug)]
pub(super) enum Unwelcome {
    /// Counted, and logged once.
    Stranger(Stranger, String),
    /// It went away.
    Ended(io::Error),
}

/// Waits for the first bytes, and with TLS for the end of the handshake. The caller bounds the time.
pub(super) async fn greet(stream: TcpStream, tls: Option<&Tls>) -> Result<Stream, Unwelcome> {
    match tls {
        Some(tls) => shaken(stream, tls).await.map(Either::Right),
        None => plain(stream).await.map(Either::Left),
    }
}

/// The library would answer garbage with frames, and wait for the rest for ever: so it is looked at before.
async fn plain(stream: TcpStream) -> Result<TcpStream, Unwelcome> {
    let mut seen = [0u8; HTTP2_PREFACE.len()];
    loop {
        let size = peek(&stream, &mut seen).await?;
        if seen[0] == TLS_HANDSHAKE {
            let why =
                "it speaks TLS, this process does not: set cluster.tls.enabled in all processes or in none";
            return Err(Unwelcome::Stranger(Stranger::Tls, why.to_owned()));
        }
        if seen[..size] != HTTP2_PREFACE[..size] {
            let why = "what it sends is no HTTP/2";
            return Err(Unwelcome::Stranger(Stranger::Garbage, why.to_owned()));
        }
        if size == seen.len() {
            return Ok(stream);
        }
        // A part of the preface: the rest is on its way. `peek` does not wait for more than there is.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn shaken(stream: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, Unwelcome> {
    let mut first = [0u8; 1];
    peek(&stream, &mut first).await?;
    if first[0] == HTTP2_PREFACE[0] {
        let why = "it speaks without TLS: set cluster.tls.enabled in all processes or in none";
        return Err(Unwelcome::Stranger(Stranger::Plain, why.to_owned()));
    }
    if first[0] != TLS_HANDSHAKE {
        let why = "what it sends is no TLS";
        return Err(Unwelcome::Stranger(Stranger::Garbage, why.to_owned()));
    }
    tls.accept(stream).await.map_err(|error| match error.kind() {
        // What rustls refuses, and what the certificate lacks.
        io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied => {
            Unwelcome::Stranger(Stranger::Certificate, error.to_string())
        }
        _ => Unwelcome::Ended(error),
    })
}

async fn peek(stream: &TcpStream, seen: &mut [u8]) -> Result<usize, Unwelcome> {
    match stream.peek(seen).await {
        Ok(0) => Err(Unwelcome::Ended(io::ErrorKind::UnexpectedEof.into())),
        Ok(size) => Ok(size),
        Err(error) => Err(Unwelcome::Ended(error)),
    }
}
