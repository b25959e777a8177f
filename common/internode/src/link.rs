//! Links: the streams on which members of cells speak. This file has the seam to the shell of the cells, and what both
//! sides of a stream share; `link::dial` is the side that connects, `server::cell` the side that accepts.
//!
//! A link may lose frames (its stream broke, its queue was full) and never repeats those of a stream, nor reorders
//! those of one cell. Short frames may overtake entries of other cells ([`crate::outbox`]).

mod dial;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, Stream, StreamExt};
use hearth_common::MemberId;
use hearth_proto::hearth::internal::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

pub use crate::link::dial::{Link, LinkOptions, LinkTask, Random};
pub use crate::outbox::{Outbox, SendError};

use crate::frame::{Frame, Hello, PROTOCOL};
use crate::limits::HELLO_TIMEOUT;
use crate::metrics::{LinkMetrics, Stranger};
use crate::outbox::Feed;
use crate::wire::{self, frame::Received};

/// What takes the frames of all links of a process, whichever side opened them.
#[async_trait]
pub trait LinkSink: Send + Sync + std::fmt::Debug + 'static {
    /// Takes one frame. The link reads on only when this returns, so a slow sink slows its peer, by HTTP/2 flow control,
    /// with bounded memory on both sides. `back` sends on the same stream.
    async fn frame(&self, from: &MemberId, frame: Frame, back: &Outbox);

    /// The state of a link changed, or one more try to connect failed. Returns at once.
    fn link(&self, event: LinkEvent);
}

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEvent {
    /// The peer: who said Hello, or who was expected.
    pub peer: MemberId,
    /// Who opened the stream.
    pub side: Side,
    /// The new state.
    pub state: LinkState,
}

/// Who opened a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// We did, to this address.
    Dialled(String),
    /// The peer did.
    Accepted,
}

/// The state of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Both sides said Hello.
    Up,
    /// The stream ended, in words; the side that dialled tries again.
    Down(String),
    /// Nobody listens there: the process is down.
    Refused,
    /// No connection came about for another reason, in words.
    Unreachable(String),
    /// The peer is of another cluster or version, is another member than expected, or refuses us, in words.
    Stranger(String),
}

/// Whether two processes may speak to each other.
pub(crate) fn acquainted(local: &Hello, peer: &Hello) -> Result<(), (Stranger, String)> {
    if peer.cluster_id != local.cluster_id {
        let why = format!("it is of cluster '{}', we are of '{}'", peer.cluster_id, local.cluster_id);
        return Err((Stranger::Cluster, why));
    }
    if peer.protocol != PROTOCOL {
        return Err((
            Stranger::Protocol,
            format!("it speaks version {}, we speak {PROTOCOL}", peer.protocol),
        ));
    }
    if peer.member == local.member {
        return Err((Stranger::Member, "it claims to be this very member".to_owned()));
    }
    Ok(())
}

/// The first frame of a stream, in time.
pub(crate) async fn hello(frames: &mut Streaming<pb::Frame>) -> Result<Hello, (Stranger, String)> {
    let malformed = |why: String| (Stranger::Malformed, why);
    match tokio::time::timeout(HELLO_TIMEOUT, frames.message()).await {
        Err(_) => Err((Stranger::Silent, "no Hello in time".to_owned())),
        Ok(Err(status)) => Err(malformed(status.message().to_owned())),
        Ok(Ok(None)) => Err(malformed("the stream ended before a Hello".to_owned())),
        Ok(Ok(Some(frame))) => match wire::frame::received(frame) {
            Ok(Received::Hello(hello)) => Ok(hello),
            Ok(Received::Frame(_)) => Err(malformed("the first frame is no Hello".to_owned())),
            Err(error) => Err(malformed(error.to_string())),
        },
    }
}

/// What is sent: a Hello, then what the queue holds, until `end`. Dropping it cancels `end`.
pub(crate) fn outgoing(
    local: &Hello,
    feed: Feed,
    end: &CancellationToken,
    metrics: LinkMetrics,
) -> impl Stream<Item = pb::Frame> + Send + use<> {
    let state = (feed, end.clone().drop_guard(), metrics);
    let frames = stream::unfold(state, |(mut feed, guard, metrics)| async move {
        let frame = feed.recv().await?;
        metrics.sent.inc();
        metrics.sent_bytes.inc_by(frame.weight_bytes() as u64);
        Some((wire::frame::frame_to(frame), (feed, guard, metrics)))
    });
    stream::iter([wire::frame::hello_to(local)]).chain(frames).take_until(end.clone().cancelled_owned())
}

/// Why a stream is no longer read.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The peer ended it.
    Closed,
    /// We did.
    Stopped,
    /// The connection broke, in words.
    Broken(String),
    /// What came does not decode, in words.
    Malformed(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the peer"),
            Self::Stopped => f.write_str("closed"),
            Self::Broken(why) => write!(f, "connection broke: {why}"),
            Self::Malformed(why) => write!(f, "malformed frame: {why}"),
        }
    }
}

/// What both sides need to read a stream.
pub(crate) struct Incoming {
    pub(crate) frames: Streaming<pb::Frame>,
    pub(crate) peer: MemberId,
    pub(crate) sink: Arc<dyn LinkSink>,
    pub(crate) back: Outbox,
    pub(crate) metrics: LinkMetrics,
}

impl Incoming {
    /// Hands frames to the sink until the stream ends. One at a time: the sink's pace is the peer's.
    pub(crate) async fn read(mut self, end: &CancellationToken) -> Ended {
        loop {
            let message = tokio::select! {
                message = self.frames.message() => message,
                () = end.cancelled() => return Ended::Stopped,
            };
            let frame = match message {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ended::Closed,
                Err(status) => return Ended::Broken(status.message().to_owned()),
            };
            let frame = match wire::frame::received(frame) {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::Hello(_)) => return Ended::Malformed("a second Hello".to_owned()),
                Err(error) => return Ended::Malformed(error.to_string()),
            };
            self.metrics.received.inc();
            self.metrics.received_bytes.inc_by(frame.weight_bytes() as u64);
            self.sink.frame(&self.peer, frame, &self.back).await;
        }
    }
}
