//! What is known of a cell, for those who wait for something. Pure.

use std::sync::Arc;

use hearth_cell::{Confirmed, Probe, Role, RoleChange, Term};
use hearth_common::{MemberId, Position};

/// What is known of a cell.
#[derive(Debug, Clone)]
pub(crate) struct News {
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) leader: Option<MemberId>,
    pub(crate) committed: Position,
    /// Of this term: each reign counts its questions from 0.
    pub(crate) confirmed: Confirmed,
    /// Nothing more is written or answered, and why.
    pub(crate) stopped: Option<Arc<str>>,
}

const NOTHING: Confirmed = Confirmed { probe: Probe(0), upto: Position(0) };

impl News {
    /// Before anything is heard.
    pub(super) fn new(committed: Position) -> Self {
        Self {
            role: Role::Follower,
            term: Term(0),
            leader: None,
            committed,
            confirmed: NOTHING,
            stopped: None,
        }
    }

    /// Whether this member leads in that term.
    pub(crate) fn leads(&self, term: Term) -> bool {
        self.role == Role::Leader && self.term == term && self.stopped.is_none()
    }

    /// Takes what a replica says at once.
    pub(super) fn note(
        &mut self,
        committed: Option<Position>,
        role: Option<RoleChange>,
        confirmed: Option<Confirmed>,
    ) {
        self.committed = committed.unwrap_or(self.committed);
        if let Some(RoleChange { role, term, leader }) = role {
            if term != self.term {
                self.confirmed = NOTHING;
            }
            (self.role, self.term, self.leader) = (role, term, leader);
        }
        self.confirmed = confirmed.unwrap_or(self.confirmed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(term: u64) -> Option<RoleChange> {
        Some(RoleChange { role: Role::Leader, term: Term(term), leader: None })
    }

    #[test]
    fn what_one_reign_confirmed_says_nothing_of_the_next() {
        let mut news = News::new(Position(0));
        news.note(Some(Position(5)), leads(1), None);
        let confirmed = Confirmed { probe: Probe(7), upto: Position(5) };
        news.note(None, None, Some(confirmed));
        assert_eq!((news.confirmed, news.leads(Term(1))), (confirmed, true));
        let follows = RoleChange { role: Role::Follower, term: Term(2), leader: None };
        news.note(None, Some(follows), None);
        news.note(None, leads(3), None);
        assert_eq!(news.confirmed.probe, Probe(0), "a question of term 3 waits for an answer of term 3");
        // A member alone is confirmed at once.
        let confirmed = Confirmed { probe: Probe(1), upto: Position(6) };
        news.note(None, leads(4), Some(confirmed));
        assert_eq!(news.confirmed, confirmed);
    }
}
