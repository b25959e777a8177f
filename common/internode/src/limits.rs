//! Every limit of the internal port and of connections to it.

use std::time::Duration;

/// Longest message, in bytes: one entry as long as a journal takes it (128 MiB), and what is around it.
pub const MESSAGE_BYTES_MAX: usize = (128 << 20) + (1 << 20);
/// Longest message on a link between members of a cell, in bytes: with its base, a leader sends all records that it remembers
/// ([`hearth_cell::Limits::remembered_rids`]), each of them 26 bytes at most.
pub const LINK_MESSAGE_BYTES_MAX: usize = 256 << 20;
/// A record's identity and its position on the wire, in bytes, at most.
#[cfg(test)]
const RID_WIRE_BYTES: usize = 16 + 10;
/// Longest answer, in bytes: what [`crate::packed`] packs at most, and what is around it.
pub const ANSWER_BYTES_MAX: usize = crate::packed::CONTENT_BYTES_MAX + (1 << 20);
/// Bytes that all requests to one port may hold; beyond it they are to be tried again.
pub const BODIES_BYTES_MAX: usize = 1 << 30;
/// Connections at once to one port; more wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// Requests at once on one connection.
pub(crate) const STREAMS_MAX: u32 = 256;
/// Accepted links at once: one for each peer.
pub const LINKS_MAX: usize = 256;
/// Bytes that a sender may be ahead of the reader on one stream: 10 Gbit/s for 3 ms.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same on one connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of one frame of HTTP/2: larger ones cost less to cut and to join.
pub(crate) const HTTP2_FRAME_BYTES: u32 = 256 << 10;
/// Bytes of all headers of a request.
pub(crate) const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// How often a silent peer has to show that it lives …
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(3);
/// … and how long it may take to.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a new connection may stay silent.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to come about.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a peer may take to say Hello.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// How long open requests may go on after the shutdown began.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that may wait for one connection to come about.
pub(crate) const WAITING_MAX: usize = 1024;
/// First and longest pause between two tries to connect a link.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(50);
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A link that was up for so long begins again with the shortest pause.
pub(crate) const STEADY: Duration = Duration::from_secs(1);
/// Answers longer than this are decoded on a thread that may be busy, in bytes.
pub(crate) const INLINE_BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_remembered_fits_in_one_message() {
        let remembered = hearth_cell::Limits::default().remembered_rids;
        assert!(remembered * RID_WIRE_BYTES + (1 << 20) <= LINK_MESSAGE_BYTES_MAX, "{remembered} records");
    }
}
