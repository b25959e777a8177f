//! Frames of links: the messages of hearth-cell. Bytes of records are slices of the message that they came in.

use hearth_cell::{
    AppendHead, AppendReply, Base, Body, Entry, Life, Membership, Message, Outcome, Probe, RememberHead,
    SnapshotHead, Term, VoteKind, VoteReply, VoteRequest,
};
use hearth_common::{LogId, Position, Rid};

use super::{
    LIST_MAX, Malformed, cell, cell_text, id, id_bytes, ids, ids_bytes, malformed, member, member_to, must,
    pb, short,
};
use crate::frame::{Frame, Hello};
use pb::frame::Message as Kind;

/// Most entries of one append.
pub(crate) const ENTRIES_MAX: usize = LIST_MAX;

/// What came over a stream.
#[derive(Debug)]
pub(crate) enum Received {
    Hello(Hello),
    Frame(Frame),
}

pub(crate) fn hello_to(hello: &Hello) -> pb::Frame {
    let hello = pb::Hello {
        cluster_id: hello.cluster_id.clone(),
        protocol: hello.protocol,
        member: Some(member_to(&hello.member)),
    };
    pb::Frame { message: Some(Kind::Hello(hello)), ..pb::Frame::default() }
}

pub(crate) fn frame_to(frame: Frame) -> pb::Frame {
    pb::Frame {
        cell: cell_text(&frame.cell),
        log: id_bytes(frame.log.0),
        term: frame.message.term().0,
        roster_version: frame.roster_version,
        message: Some(message_to(frame.message)),
    }
}

pub(crate) fn received(frame: pb::Frame) -> Result<Received, Malformed> {
    let message = match must(frame.message, "message")? {
        Kind::Hello(hello) => {
            return Ok(Received::Hello(Hello {
                cluster_id: hello.cluster_id,
                protocol: hello.protocol,
                member: member(&must(hello.member, "member")?)?,
            }));
        }
        other => message(Term(frame.term), other)?,
    };
    Ok(Received::Frame(Frame {
        cell: cell(&frame.cell)?,
        log: LogId(id(&frame.log)?),
        roster_version: frame.roster_version,
        message,
    }))
}

fn message_to(message: Message) -> Kind {
    match message {
        Message::Append { head, entries } => Kind::Append(pb::Append {
            prev: head.prev.0,
            prev_term: head.prev_term.0,
            commit: head.commit.0,
            released: head.released.0,
            probe: head.probe.0,
            life: head.life.0,
            entries: entries.into_iter().map(entry_to).collect(),
        }),
        Message::AppendReply(reply) => Kind::AppendReply(reply_to(reply)),
        Message::Vote(request) => Kind::VoteRequest(pb::VoteRequest {
            pre: request.kind == VoteKind::Pre,
            forced: request.forced,
            last: request.last.0,
            last_term: request.last_term.0,
        }),
        Message::VoteReply(reply) => {
            Kind::VoteReply(pb::VoteReply { pre: reply.kind == VoteKind::Pre, granted: reply.granted })
        }
        Message::Snapshot { head, rids } => Kind::Snapshot(pb::Snapshot {
            base: head.base.position.0,
            base_term: head.base.term.0,
            membership: Some(membership_to(&head.base.membership)),
            rids: ids_bytes(rids.iter().map(|(rid, _)| rid.0)),
            positions: rids.iter().map(|(_, position)| position.0).collect(),
        }),
        Message::Remember { head, rids } => Kind::Remember(pb::Remember {
            life: head.life.0,
            upto: head.upto.0,
            rids: ids_bytes(rids.iter().map(|(rid, _)| rid.0)),
            positions: rids.iter().map(|(_, position)| position.0).collect(),
        }),
        Message::TimeoutNow { .. } => Kind::TimeoutNow(pb::TimeoutNow {}),
        Message::Removed { at, at_term, .. } => Kind::Removed(pb::Removed { at: at.0, at_term: at_term.0 }),
    }
}

fn message(term: Term, message: Kind) -> Result<Message, Malformed> {
    Ok(match message {
        Kind::Hello(_) => return malformed("a Hello is no message"),
        Kind::Append(append) => append_of(term, append)?,
        Kind::AppendReply(reply) => Message::AppendReply(AppendReply {
            term,
            life: Life(reply.life),
            probe: Probe(reply.probe),
            damaged: reply.damaged,
            outcome: reply_outcome(must(reply.outcome, "outcome")?),
        }),
        Kind::VoteRequest(request) => Message::Vote(VoteRequest {
            term,
            kind: vote_kind(request.pre),
            forced: request.forced,
            last: Position(request.last),
            last_term: Term(request.last_term),
        }),
        Kind::VoteReply(reply) => {
            Message::VoteReply(VoteReply { term, kind: vote_kind(reply.pre), granted: reply.granted })
        }
        Kind::Snapshot(snapshot) => snapshot_of(term, snapshot)?,
        Kind::Remember(remember) => remember_of(term, &remember)?,
        Kind::TimeoutNow(_) => Message::TimeoutNow { term },
        Kind::Removed(removed) => {
            Message::Removed { term, at: Position(removed.at), at_term: Term(removed.at_term) }
        }
    })
}

fn vote_kind(pre: bool) -> VoteKind {
    if pre { VoteKind::Pre } else { VoteKind::Real }
}

fn append_of(term: Term, append: pb::Append) -> Result<Message, Malformed> {
    if append.entries.len() > ENTRIES_MAX {
        return malformed(format!("{} entries, limit {ENTRIES_MAX}", append.entries.len()));
    }
    let head = AppendHead {
        term,
        prev: Position(append.prev),
        prev_term: Term(append.prev_term),
        commit: Position(append.commit),
        released: Position(append.released),
        probe: Probe(append.probe),
        life: Life(append.life),
    };
    // Positions are added to in the state machine: none may be near the end of numbers.
    if head.prev.0 > u64::MAX / 2 {
        return malformed("a position beyond all logs");
    }
    let entries = append.entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Message::Append { head, entries })
}

fn snapshot_of(term: Term, snapshot: pb::Snapshot) -> Result<Message, Malformed> {
    if snapshot.base > u64::MAX / 2 {
        return malformed("a position beyond all logs");
    }
    let base = Base {
        position: Position(snapshot.base),
        term: Term(snapshot.base_term),
        membership: membership(&must(snapshot.membership, "membership")?)?,
    };
    let rids = records(&snapshot.rids, &snapshot.positions)?;
    Ok(Message::Snapshot { head: SnapshotHead { term, base }, rids })
}

fn remember_of(term: Term, remember: &pb::Remember) -> Result<Message, Malformed> {
    let head = RememberHead { term, life: Life(remember.life), upto: Position(remember.upto) };
    Ok(Message::Remember { head, rids: records(&remember.rids, &remember.positions)? })
}

fn records(rids: &bytes::Bytes, positions: &[u64]) -> Result<Vec<(Rid, Position)>, Malformed> {
    let rids = ids(rids)?;
    if rids.len() != positions.len() {
        return malformed("not as many positions as rids");
    }
    Ok(rids.into_iter().map(Rid).zip(positions.iter().copied().map(Position)).collect())
}

fn reply_to(reply: AppendReply) -> pb::AppendReply {
    use pb::append_reply::{Held, Missing, Outcome as Wire, Stale};
    let outcome = match reply.outcome {
        Outcome::Held { durable_end } => Wire::Held(Held { durable_end: durable_end.0 }),
        Outcome::Missing { prev, hint, hint_term } => {
            Wire::Missing(Missing { prev: prev.0, hint: hint.0, hint_term: hint_term.0 })
        }
        Outcome::Stale => Wire::Stale(Stale {}),
    };
    let AppendReply { life, probe, damaged, .. } = reply;
    pb::AppendReply { life: life.0, probe: probe.0, damaged, outcome: Some(outcome) }
}

fn reply_outcome(outcome: pb::append_reply::Outcome) -> Outcome {
    use pb::append_reply::Outcome as Wire;
    match outcome {
        Wire::Held(held) => Outcome::Held { durable_end: Position(held.durable_end) },
        Wire::Missing(missing) => Outcome::Missing {
            prev: Position(missing.prev),
            hint: Position(missing.hint),
            hint_term: Term(missing.hint_term),
        },
        Wire::Stale(_) => Outcome::Stale,
    }
}

fn entry_to(entry: Entry) -> pb::Entry {
    use pb::entry::{Begin, Body as Wire, Record};
    let body = match entry.body {
        Body::Begin => Wire::Begin(Begin {}),
        Body::Record { rid, bytes } => Wire::Record(Record { rid: id_bytes(rid.0), bytes }),
        Body::Members(membership) => Wire::Members(membership_to(&membership)),
    };
    pb::Entry { term: entry.term.0, body: Some(body) }
}

fn entry(entry: pb::Entry) -> Result<Entry, Malformed> {
    use pb::entry::Body as Wire;
    let body = match must(entry.body, "body of an entry")? {
        Wire::Begin(_) => Body::Begin,
        Wire::Record(record) => Body::Record { rid: Rid(id(&record.rid)?), bytes: record.bytes },
        Wire::Members(members) => Body::Members(membership(&members)?),
    };
    Ok(Entry { term: Term(entry.term), body })
}

fn membership_to(membership: &Membership) -> pb::Membership {
    pb::Membership {
        voters: membership.voters.iter().map(member_to).collect(),
        learners: membership.learners.iter().map(member_to).collect(),
    }
}

fn membership(membership: &pb::Membership) -> Result<Membership, Malformed> {
    short(membership.voters.len() + membership.learners.len(), "members")?;
    Ok(Membership {
        voters: membership.voters.iter().map(member).collect::<Result<_, _>>()?,
        learners: membership.learners.iter().map(member).collect::<Result<_, _>>()?,
    })
}
