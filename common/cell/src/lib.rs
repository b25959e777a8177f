//! The replicated log of a cell: Raft (Ongaro & Ousterhout 2014) as a pure state machine.
//!
//! Owns the protocol: terms, elections with a round of pre-votes, replication, commit, changes of members one at a time,
//! handing leadership over, confirmed reads, and the memory of records already taken. Values go in ([`Replica::step`],
//! [`Replica::tick`], [`Replica::propose`], …), values come out ([`Replica::effects`]). Must not know: tokio, threads,
//! clocks, sockets, disks, profiles, tenants, the object store.
//!
//! # The contract with the shell
//!
//! - After each input, or a batch of inputs, the shell drains [`Replica::effects`]. It queues the writes in their order
//!   and calls [`Replica::durable`] when all writes up to a number are on disk. A crash may lose any suffix of the writes
//!   that were not reported.
//! - [`Send::Append`] names positions. The shell fills in the entries from its cache or disk; if [`Replica::is_current`]
//!   says no after that, it drops the message. Any message may be lost, repeated, delayed or overtaken.
//! - The shell checks that a message was meant for this member: the same instance with another disk is another member.
//! - A record is acknowledged when its position is committed while this replica still leads in the term in which it was
//!   proposed or found ([`Replica::propose`]).
//! - A question is answered from what is committed, after [`Effects::confirmed`] has named its probe.
//! - After [`Effects::violation`] nothing more may be written or answered: a defect or a broken disk.

mod bug;
mod effects;
mod error;
mod log;
mod message;
mod options;
mod progress;
mod replica;
mod rids;
mod rng;
mod status;
#[cfg(test)]
mod tests;
mod types;

pub use effects::{Confirmed, Effects, Invariant, Role, RoleChange, Send, Write};
pub use error::{ChangeError, NotLeader, ProposeError};
pub use message::{
    AppendHead, AppendReply, Message, Outcome, RememberHead, SnapshotHead, VoteKind, VoteReply, VoteRequest,
};
pub use options::{Limits, Options, Timing};
pub use replica::{Change, Proposed, Replica};
pub use rids::Rids;
pub use status::{PeerStatus, Status};
pub use types::{
    Base, Body, Entry, EntryKind, EntryMeta, Life, Mark, Membership, Pledge, Positions, Probe, Saved, Term,
    WriteNo,
};
