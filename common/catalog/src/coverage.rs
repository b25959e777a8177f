//! What of each journal is published. Pure.

use std::collections::BTreeMap;

use hearth_common::{Incarnation, JournalId, Position};

/// A position per journal, and the journals that are covered as a whole.
///
/// A journal that is not named has coverage 0, unless its owner's life is drained: then all of it is covered, and no entry
/// of it is kept (design: replication B8).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    positions: BTreeMap<JournalId, Position>,
    /// Owner (cell, epoch, member) as the text of a journal without its incarnation → all its lives up to this one.
    drained: BTreeMap<String, Incarnation>,
}

/// A journal's id without the incarnation.
fn owner(journal: &JournalId) -> String {
    let text = journal.to_string();
    text.rsplit_once('/').map_or(text.clone(), |(owner, _)| owner.to_owned())
}

impl Coverage {
    pub(crate) fn from_parts(
        positions: BTreeMap<JournalId, Position>,
        drained: BTreeMap<String, Incarnation>,
    ) -> Self {
        Self { positions, drained }
    }

    /// The journal is covered up to this position; `Position(u64::MAX)` if it is drained.
    pub fn of(&self, journal: &JournalId) -> Position {
        if self.is_drained(journal) {
            return Position(u64::MAX);
        }
        self.positions.get(journal).copied().unwrap_or_default()
    }

    /// Whether the journal is covered as a whole and takes nothing any more.
    pub fn is_drained(&self, journal: &JournalId) -> bool {
        // Most roots have no drained owner: do not build the text for nothing.
        !self.drained.is_empty()
            && self.drained.get(&owner(journal)).is_some_and(|upto| journal.incarnation <= *upto)
    }

    /// The journals with a position, in order.
    pub fn positions(&self) -> impl Iterator<Item = (&JournalId, Position)> {
        self.positions.iter().map(|(journal, position)| (journal, *position))
    }

    /// Owners and the last of their lives that is drained.
    pub fn drained(&self) -> impl Iterator<Item = (&str, Incarnation)> {
        self.drained.iter().map(|(owner, upto)| (owner.as_str(), *upto))
    }

    /// Raises a journal's position; a lower one changes nothing.
    pub(crate) fn raise(&mut self, journal: &JournalId, upto: Position) {
        if !self.is_drained(journal) && upto > self.of(journal) {
            self.positions.insert(journal.clone(), upto);
        }
    }

    /// Marks the journal and all earlier lives of its owner as covered, and forgets their positions.
    pub(crate) fn drain(&mut self, journal: &JournalId) {
        let owner_text = owner(journal);
        let upto = self.drained.entry(owner_text.clone()).or_default();
        *upto = (*upto).max(journal.incarnation);
        let upto = *upto;
        self.positions.retain(|j, _| j.incarnation > upto || owner(j) != owner_text);
    }

    /// Whether this covers all that `earlier` covers (asserted from version to version; design: replication B14).
    pub fn contains(&self, earlier: &Self) -> bool {
        earlier.positions.iter().all(|(journal, upto)| self.of(journal) >= *upto)
            && earlier
                .drained
                .iter()
                .all(|(owner, upto)| self.drained.get(owner).is_some_and(|now| now >= upto))
    }
}
