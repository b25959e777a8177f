//! What goes over a link: the messages of hearth-cell, each with the cell that it is about.

use hearth_cell::{Body, Entry, Message};
use hearth_common::{CellId, LogId, MemberId, Position, Rid};

/// Version of the messages between members. Only equal versions speak to each other.
pub const PROTOCOL: u32 = 1;

/// Who opens (or accepts) a stream. The sender of all frames of a stream is the member of its Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Processes of different clusters refuse each other.
    pub cluster_id: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Who speaks.
    pub member: MemberId,
}

/// One message about one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The cell.
    pub cell: CellId,
    /// Identity of the cell's log: a message about another log of that name is not for this one.
    pub log: LogId,
    /// Version of the sender's roster.
    pub roster_version: u64,
    /// The message. Bytes of records are slices of the buffer that they came in.
    pub message: Message,
}

/// What an entry costs in queues beside its bytes, about.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// What a frame costs in queues beside its entries, about.
const FRAME_OVERHEAD_BYTES: usize = 128;

impl Frame {
    /// About how much memory the frame holds: what queues count.
    pub fn weight_bytes(&self) -> usize {
        let content = match &self.message {
            Message::Append { entries, .. } => entries.iter().map(weight_bytes).sum(),
            Message::Snapshot { rids, .. } | Message::Remember { rids, .. } => {
                rids.len() * size_of::<(Rid, Position)>()
            }
            _ => 0,
        };
        FRAME_OVERHEAD_BYTES + content
    }

    /// Whether it carries nothing that grows: a vote, a sign of life, an answer.
    pub fn is_short(&self) -> bool {
        match &self.message {
            Message::Append { entries, .. } => entries.is_empty(),
            Message::Snapshot { .. } | Message::Remember { .. } => false,
            Message::AppendReply(_)
            | Message::Vote(_)
            | Message::VoteReply(_)
            | Message::TimeoutNow { .. }
            | Message::Removed { .. } => true,
        }
    }
}

fn weight_bytes(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match &entry.body {
            Body::Begin => 0,
            Body::Record { bytes, .. } => bytes.len(),
            Body::Members(membership) => ENTRY_OVERHEAD_BYTES * membership.members().count(),
        }
}
