//! Links: the streams on which members of cells speak. This file has the seam to the shell of the cells.
//!
//! A link may lose frames (its stream broke, its queue was full) and never repeats or reorders them within a stream.

use async_trait::async_trait;
use hearth_common::MemberId;

use crate::frame::Frame;
pub use crate::outbox::Outbox;

/// What takes the frames of all links of a process, whichever side opened them.
#[async_trait]
pub trait LinkSink: Send + Sync + std::fmt::Debug + 'static {
    /// Takes one frame. The link reads on only when this returns, so a slow sink slows its peer, by HTTP/2 flow control,
    /// with bounded memory on both sides. `back` sends on the same stream.
    async fn frame(&self, from: &MemberId, frame: Frame, back: &Outbox);

    /// The state of a link changed. Returns at once.
    fn link(&self, event: LinkEvent);
}

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEvent {
    /// The peer; `None` = it is not known who is at the address.
    pub peer: Option<MemberId>,
    /// Its address.
    pub address: String,
    /// The new state.
    pub state: LinkState,
}

/// The state of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Both sides said Hello.
    Up,
    /// The stream ended; a dialled link tries again.
    Down(String),
    /// Nobody listens there: the process is down.
    Refused,
    /// No connection came about for another reason, in words.
    Unreachable(String),
    /// The peer is of another cluster or version, is another member than expected, or refuses us, in words.
    Stranger(String),
}
