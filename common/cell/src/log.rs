//! What a replica knows of its log: terms, lengths and members, by position.
//!
//! Owns no bytes of entries and no records' identities ([`crate::Rids`] does). Runs of one term are kept as one item, so
//! that a long log costs eight bytes an entry.

use std::collections::VecDeque;

use hearth_common::Position;

use crate::types::{Base, EntryKind, EntryMeta, Membership, Positions, Term};

/// The log behind a base.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Log {
    base: Base,
    /// (first position, term), ascending in both.
    runs: Vec<(Position, Term)>,
    /// What each entry behind the base counts against bounds, in bytes.
    lengths: VecDeque<u64>,
    /// Changes of members behind the base, ascending.
    memberships: Vec<(Position, Membership)>,
}

impl Log {
    /// An empty log behind a base.
    pub(crate) fn new(base: Base) -> Self {
        Self { base, runs: Vec::new(), lengths: VecDeque::new(), memberships: Vec::new() }
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// The last position.
    pub(crate) fn end(&self) -> Position {
        Position(self.base.position.0 + self.lengths.len() as u64)
    }

    /// The term of the last entry.
    pub(crate) fn end_term(&self) -> Term {
        self.runs.last().map_or(self.base.term, |(_, term)| *term)
    }

    /// The term at a position: none below the base and behind the end. Position 0 is in every log, in term 0.
    pub(crate) fn term_at(&self, position: Position) -> Option<Term> {
        if position.0 == 0 {
            return Some(Term(0));
        }
        if position == self.base.position {
            return Some(self.base.term);
        }
        if position < self.base.position || position > self.end() {
            return None;
        }
        let after = self.runs.partition_point(|(first, _)| *first <= position);
        Some(self.runs[after - 1].1)
    }

    /// The first position of a term behind the base.
    pub(crate) fn first_of_term(&self, term: Term) -> Option<Position> {
        self.runs.iter().rev().find(|(_, t)| *t == term).map(|(first, _)| *first)
    }

    /// Where a log whose entry at `hint` has the term `hint_term` can agree with this one at best: the greatest position
    /// at or below `hint` whose term is not newer. Below the base it says 0, as nothing is known there.
    pub(crate) fn may_agree(&self, hint: Position, hint_term: Term) -> (Position, Term) {
        let mut at = hint.min(self.end());
        while let Some(term) = self.term_at(at) {
            if term <= hint_term {
                return (at, term);
            }
            let run = self.runs.iter().rev().find(|(first, _)| *first <= at);
            match run {
                Some((first, _)) => at = Position(first.0 - 1),
                None => break,
            }
        }
        (Position(0), Term(0))
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, entry: &EntryMeta) -> Position {
        let position = self.end().next();
        if self.runs.last().is_none_or(|(_, term)| *term != entry.term) {
            self.runs.push((position, entry.term));
        }
        if let EntryKind::Members(membership) = &entry.kind {
            self.memberships.push((position, membership.clone()));
        }
        self.lengths.push_back(entry.bytes);
        position
    }

    /// Cuts off `from` and what is behind it.
    pub(crate) fn truncate(&mut self, from: Position) {
        let kept = from.0.saturating_sub(self.base.position.0 + 1);
        self.lengths.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        self.runs.retain(|(first, _)| *first < from);
        self.memberships.retain(|(at, _)| *at < from);
    }

    /// Drops everything at or below a position that is in the log; says what the base is now.
    pub(crate) fn drop_upto(&mut self, position: Position) -> Base {
        let known = self.term_at(position).filter(|_| position > self.base.position);
        let Some(term) = known else { return self.base.clone() };
        let membership = self.membership_at(position).clone();
        let dropped = position.0.saturating_sub(self.base.position.0);
        self.lengths.drain(..usize::try_from(dropped).unwrap_or(usize::MAX).min(self.lengths.len()));
        let run = self.runs.partition_point(|(first, _)| *first <= position);
        if run > 0 {
            let (_, open) = self.runs[run - 1];
            self.runs.drain(..run);
            let goes_on =
                self.runs.first().map_or(self.end_behind(position), |(first, _)| *first) > position.next();
            if goes_on {
                self.runs.insert(0, (position.next(), open));
            }
        }
        self.memberships.retain(|(at, _)| *at > position);
        self.base = Base { position, term, membership };
        self.base.clone()
    }

    /// One behind the last position, while `lengths` is already counted from `base`.
    fn end_behind(&self, base: Position) -> Position {
        Position(base.0 + self.lengths.len() as u64 + 1)
    }

    /// The members now: those of the last change, committed or not.
    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.last().map_or(&self.base.membership, |(_, membership)| membership)
    }

    /// Where the last change of members stands; the base if it was dropped.
    pub(crate) fn membership_position(&self) -> Position {
        self.memberships.last().map_or(self.base.position, |(position, _)| *position)
    }

    /// The members as of a committed position, and all that came after and may not be committed.
    pub(crate) fn memberships_since(&self, commit: Position) -> impl Iterator<Item = &Membership> {
        let later = self.memberships.iter().filter(move |(at, _)| *at > commit);
        std::iter::once(self.membership_at(commit)).chain(later.map(|(_, membership)| membership))
    }

    /// The members as of a position at or behind the base.
    fn membership_at(&self, position: Position) -> &Membership {
        let changed = self.memberships.iter().rev().find(|(at, _)| *at <= position);
        changed.map_or(&self.base.membership, |(_, membership)| membership)
    }

    /// The entries from `first` on that fit into the bounds, at least one if there is one; and their bytes.
    pub(crate) fn batch(&self, first: Position, bytes_max: u64, entries_max: usize) -> (Positions, u64) {
        let mut batch = Positions::none_at(first);
        let mut bytes = 0;
        let Some(skip) = first.0.checked_sub(self.base.position.0 + 1) else { return (batch, 0) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for length in self.lengths.iter().skip(skip).take(entries_max) {
            if !batch.is_empty() && bytes + length > bytes_max {
                break;
            }
            bytes += length;
            batch.last = batch.last.next();
        }
        (batch, bytes)
    }

    /// The bytes of the last entry.
    pub(crate) fn length_at(&self, position: Position) -> u64 {
        let index = position.0.checked_sub(self.base.position.0 + 1);
        let index = index.and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.lengths.get(index)).copied().unwrap_or(0)
    }
}
