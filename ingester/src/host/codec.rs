//! The bytes of the ingester's log: entries of cells, and the checkpoint in front of each segment.
//!
//! Owns `docs/formats/wal-entries.md`. Pure: bytes and values. Must not know segments, files, or what a record says.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use hearth_cell::{Base, Body, Entry, Life, Mark, Membership, Pledge, Term};
use hearth_common::{CellId, DiskId, InstanceId, LogId, MemberId, Position};

/// Kind, number of the cell, position, term.
pub(crate) const ENTRY_HEAD_BYTES: usize = 19;
/// First bytes of a checkpoint.
const MAGIC: [u8; 8] = *b"HEARTHCP";
const VERSION: u16 = 1;
/// Most members of a cell, learners included.
const MEMBERS_MAX: usize = 64;

const RECORD: u8 = 2;
const BEGIN: u8 = 3;
const MEMBERS: u8 = 4;
const PLEDGE: u8 = 5;
const BASE: u8 = 6;

/// What a pledge has besides: a vote …
const HAS_VOTE: u8 = 1;
/// … and where its member was removed.
const HAS_LEFT: u8 = 2;

/// The number that a data folder gives to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CellNumber(pub(crate) u16);

/// One entry of the log, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Logged {
    /// A place of a cell's log. The bytes of a record are whole; whether they are one is not checked.
    Entry { position: Position, term: Term, what: What },
    /// The cell's pledge, replaced.
    Pledge(Pledge),
    /// The cell's base, replaced; whether the entries behind it are superseded, too.
    Base { base: Base, reset: bool },
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Begin,
    Record(Bytes),
    Members(Membership),
}

/// A cell as a checkpoint has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointCell {
    pub(crate) number: CellNumber,
    pub(crate) cell: CellId,
    pub(crate) log: LogId,
    pub(crate) pledge: Pledge,
    pub(crate) base: Base,
}

/// Head and body of the log's entry for a place.
pub(crate) fn entry(number: CellNumber, position: Position, entry: &Entry) -> (Vec<u8>, Bytes) {
    let (kind, body, tail) = match &entry.body {
        Body::Record { bytes, .. } => (RECORD, bytes.clone(), None),
        Body::Begin => (BEGIN, Bytes::new(), None),
        Body::Members(membership) => (MEMBERS, Bytes::new(), Some(membership)),
    };
    let mut head = Vec::with_capacity(ENTRY_HEAD_BYTES);
    put_head(kind, number, &mut head);
    head.extend_from_slice(&position.0.to_le_bytes());
    head.extend_from_slice(&entry.term.0.to_le_bytes());
    if let Some(membership) = tail {
        put_membership(membership, &mut head);
    }
    (head, body)
}

/// The log's entry for a pledge.
pub(crate) fn pledge(number: CellNumber, pledge: &Pledge) -> Vec<u8> {
    let mut head = Vec::new();
    put_head(PLEDGE, number, &mut head);
    put_pledge(pledge, &mut head);
    head
}

/// The log's entry for a base.
pub(crate) fn base(number: CellNumber, base: &Base, reset: bool) -> Vec<u8> {
    let mut head = Vec::new();
    put_head(BASE, number, &mut head);
    head.push(u8::from(reset));
    put_base(base, &mut head);
    head
}

/// Reads an entry of the log; `None` if it is of a kind that this version does not know, or is not whole.
pub(crate) fn read(bytes: &Bytes) -> Option<(CellNumber, Logged)> {
    let mut cursor = Cursor(bytes);
    let kind = cursor.u8()?;
    let number = CellNumber(cursor.u16()?);
    let logged = match kind {
        RECORD | BEGIN | MEMBERS => {
            let (position, term) = (Position(cursor.u64()?), Term(cursor.u64()?));
            let what = match kind {
                RECORD => What::Record(bytes.slice(ENTRY_HEAD_BYTES..)),
                BEGIN => What::Begin,
                _ => What::Members(cursor.membership()?),
            };
            Logged::Entry { position, term, what }
        }
        PLEDGE => Logged::Pledge(cursor.pledge()?),
        BASE => {
            let reset = cursor.u8()? != 0;
            Logged::Base { base: cursor.base()?, reset }
        }
        _ => return None,
    };
    Some((number, logged))
}

/// The preamble of a segment: all cells as they are when it begins.
pub(crate) fn checkpoint<'a>(cells: impl ExactSizeIterator<Item = &'a CheckpointCell>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(cells.len() as u16).to_le_bytes());
    for cell in cells {
        out.extend_from_slice(&cell.number.0.to_le_bytes());
        put_text(&cell.cell.0.0, &mut out);
        out.extend_from_slice(&cell.log.0.to_le_bytes());
        put_pledge(&cell.pledge, &mut out);
        put_base(&cell.base, &mut out);
    }
    out
}

/// Reads a checkpoint; `None` if it is none of this version.
pub(crate) fn read_checkpoint(bytes: &[u8]) -> Option<Vec<CheckpointCell>> {
    let mut cursor = Cursor(bytes);
    if cursor.take(8)? != MAGIC || cursor.u16()? != VERSION {
        return None;
    }
    let count = usize::from(cursor.u16()?);
    let mut cells = Vec::new();
    for _ in 0..count {
        cells.push(CheckpointCell {
            number: CellNumber(cursor.u16()?),
            cell: CellId(InstanceId(cursor.text()?)),
            log: LogId(cursor.u128()?),
            pledge: cursor.pledge()?,
            base: cursor.base()?,
        });
    }
    cursor.0.is_empty().then_some(cells)
}

fn put_head(kind: u8, number: CellNumber, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&number.0.to_le_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    // Names of instances are checked to be short when settings are read; a longer one is cut, never a wrong length.
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_member(member: &MemberId, out: &mut Vec<u8>) {
    put_text(&member.instance.0, out);
    out.extend_from_slice(&member.disk.0.to_le_bytes());
}

fn put_pledge(pledge: &Pledge, out: &mut Vec<u8>) {
    out.extend_from_slice(&pledge.term.0.to_le_bytes());
    out.extend_from_slice(&pledge.life.0.to_le_bytes());
    out.push(u8::from(pledge.damaged));
    let vote = if pledge.vote.is_some() { HAS_VOTE } else { 0 };
    let left = if pledge.left.is_some() { HAS_LEFT } else { 0 };
    out.push(vote | left);
    if let Some(vote) = &pledge.vote {
        put_member(vote, out);
    }
    if let Some(left) = &pledge.left {
        out.extend_from_slice(&left.position.0.to_le_bytes());
        out.extend_from_slice(&left.term.0.to_le_bytes());
    }
}

fn put_base(base: &Base, out: &mut Vec<u8>) {
    out.extend_from_slice(&base.position.0.to_le_bytes());
    out.extend_from_slice(&base.term.0.to_le_bytes());
    put_membership(&base.membership, out);
}

fn put_membership(membership: &Membership, out: &mut Vec<u8>) {
    for part in [&membership.voters, &membership.learners] {
        out.extend_from_slice(&(part.len() as u16).to_le_bytes());
        for member in part {
            put_member(member, out);
        }
    }
}

/// A walk over bytes that never leaves them.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).ok().map(Arc::from)
    }

    fn member(&mut self) -> Option<MemberId> {
        Some(MemberId { instance: InstanceId(self.text()?), disk: DiskId(self.u128()?) })
    }

    fn pledge(&mut self) -> Option<Pledge> {
        let (term, life) = (Term(self.u64()?), Life(self.u64()?));
        let damaged = self.u8()? != 0;
        let has = self.u8()?;
        if has & !(HAS_VOTE | HAS_LEFT) != 0 {
            return None;
        }
        let vote = if has & HAS_VOTE != 0 { Some(self.member()?) } else { None };
        let left = match has & HAS_LEFT {
            0 => None,
            _ => Some(Mark { position: Position(self.u64()?), term: Term(self.u64()?) }),
        };
        Some(Pledge { term, vote, life, damaged, left })
    }

    fn base(&mut self) -> Option<Base> {
        Some(Base {
            position: Position(self.u64()?),
            term: Term(self.u64()?),
            membership: self.membership()?,
        })
    }

    fn membership(&mut self) -> Option<Membership> {
        Some(Membership { voters: self.members()?, learners: self.members()? })
    }

    fn members(&mut self) -> Option<BTreeSet<MemberId>> {
        let count = usize::from(self.u16()?);
        if count > MEMBERS_MAX {
            return None;
        }
        (0..count).map(|_| self.member()).collect()
    }
}

#[cfg(test)]
mod tests {
    use hearth_common::Rid;
    use proptest::prelude::*;

    use super::*;

    fn member() -> impl Strategy<Value = MemberId> {
        ("[a-z0-9-]{0,20}", any::<u128>()).prop_map(|(instance, disk)| MemberId {
            instance: InstanceId(Arc::from(instance)),
            disk: DiskId(disk),
        })
    }

    fn membership() -> impl Strategy<Value = Membership> {
        let members = || prop::collection::btree_set(member(), 0..5);
        (members(), members()).prop_map(|(voters, learners)| Membership { voters, learners })
    }

    fn cell() -> impl Strategy<Value = CheckpointCell> {
        let left = prop::option::of(
            (any::<u64>(), any::<u64>())
                .prop_map(|(term, position)| Mark { term: Term(term), position: Position(position) }),
        );
        let pledge = (any::<u64>(), prop::option::of(member()), any::<u64>(), any::<bool>(), left).prop_map(
            |(term, vote, life, damaged, left)| Pledge {
                term: Term(term),
                vote,
                life: Life(life),
                damaged,
                left,
            },
        );
        let base = (any::<u64>(), any::<u64>(), membership()).prop_map(|(position, term, membership)| Base {
            position: Position(position),
            term: Term(term),
            membership,
        });
        (any::<u16>(), "[a-z.]{0,30}", any::<u128>(), pledge, base).prop_map(
            |(number, cell, log, pledge, base)| CheckpointCell {
                number: CellNumber(number),
                cell: CellId(InstanceId(Arc::from(cell))),
                log: LogId(log),
                pledge,
                base,
            },
        )
    }

    fn joined(head: Vec<u8>, body: &[u8]) -> Bytes {
        Bytes::from([head, body.to_vec()].concat())
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            cells in prop::collection::vec(cell(), 0..5),
            bytes in prop::collection::vec(any::<u8>(), 0..50),
            reset in any::<bool>(),
        ) {
            let read_back = read_checkpoint(&checkpoint(cells.iter()));
            prop_assert_eq!(read_back.as_ref(), Some(&cells));
            for cell in &cells {
                let number = cell.number;
                let (position, term) = (cell.base.position, cell.pledge.term);
                prop_assert_eq!(
                    read(&pledge(number, &cell.pledge).into()),
                    Some((number, Logged::Pledge(cell.pledge.clone())))
                );
                let logged = Logged::Base { base: cell.base.clone(), reset };
                prop_assert_eq!(read(&base(number, &cell.base, reset).into()), Some((number, logged)));
                let bytes = Bytes::from(bytes.clone());
                let bodies = [
                    (Body::Begin, What::Begin),
                    (Body::Record { rid: Rid(5), bytes: bytes.clone() }, What::Record(bytes)),
                    (Body::Members(cell.base.membership.clone()), What::Members(cell.base.membership.clone())),
                ];
                for (body, what) in bodies {
                    let (head, body) = entry(number, position, &Entry { term, body });
                    let logged = Logged::Entry { position, term, what };
                    prop_assert_eq!(read(&joined(head, &body)), Some((number, logged)));
                }
            }
        }

        #[test]
        fn cut_or_changed_bytes_never_panic(
            cells in prop::collection::vec(cell(), 1..3),
            cut in any::<prop::sample::Index>(),
            flip in (any::<prop::sample::Index>(), 1u8..),
        ) {
            let mut bytes = checkpoint(cells.iter());
            prop_assert_eq!(read_checkpoint(&bytes[..cut.index(bytes.len())]), None);
            let at = flip.0.index(bytes.len());
            bytes[at] ^= flip.1;
            let _ = read_checkpoint(&bytes);
            let mut bytes = base(cells[0].number, &cells[0].base, false);
            let at = flip.0.index(bytes.len());
            bytes[at] ^= flip.1;
            let _ = read(&bytes.into());
        }
    }
}
