//! What an ingester keeps by the roster, and whom it has to reach for it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hearth_cluster::gossip::Peers;
use hearth_cluster::roster::{Cell, CellState, Roster};
use hearth_common::{CellId, LogId, MemberId};

/// A cell that an ingester has to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The cell.
    pub cell: CellId,
    /// The identity of its log.
    pub log: LogId,
    /// The members that begin the log, if the ingester is one of them; else it learns from the leader what there is.
    pub founders: Option<Vec<MemberId>>,
    /// The members that should keep it now, home first.
    pub wanted: Vec<MemberId>,
}

/// The cells that a member has to keep, by the roster. Those that are on its disk it keeps on until their logs release it.
pub fn keeps(roster: &Roster, me: &MemberId) -> Vec<Keep> {
    let keep = |cell: &Cell| Keep {
        cell: cell.id.clone(),
        log: cell.log,
        founders: cell.founders.contains(me).then(|| cell.founders.clone()),
        wanted: cell.wanted.clone(),
    };
    opens(roster, me).map(keep).collect()
}

/// Also the cells that a member was to begin and that others should keep by now: as long as it has not begun, its vote may be
/// missing for anybody to lead there. Once somebody leads, it is removed; a disk that was removed remembers it.
fn opens<'r>(roster: &'r Roster, me: &MemberId) -> impl Iterator<Item = &'r Cell> {
    roster.cells_to_ask().filter(move |cell| cell.wanted.contains(me) || cell.founders.contains(me))
}

/// Whether a cell that a member keeps is on its way out and no record can come to it any more: it goes once its last rows
/// are published.
pub fn publishes_last(roster: &Roster, me: &MemberId) -> bool {
    let placed: BTreeSet<&CellId> = roster.schedule.iter().flat_map(|entry| &entry.cells).collect();
    roster.cells_of(me).any(|cell| cell.state == CellState::Lingering && !placed.contains(&cell.id))
}

/// How many cells have too few members of which gossip has told so far for anybody to lead them.
pub(super) fn unheard(roster: &Roster, peers: &Peers) -> usize {
    let heard = |cell: &Cell| cell.wanted.iter().filter(|member| peers.by_member(member).is_some()).count();
    roster.cells_to_ask().filter(|cell| heard(cell) * 2 <= cell.wanted.len()).count()
}

/// The other members of those cells and of the cells that are `held` on the disk, and the internal ports where they are or
/// were last. A member may still lead a cell that the roster gives to others: it has to reach them to hand it over. Gossip
/// may be wrong about who is dead, so one that went is in it; one that was never seen is not.
pub fn neighbours(
    roster: &Roster,
    peers: &Peers,
    me: &MemberId,
    held: &[CellId],
) -> BTreeMap<MemberId, String> {
    let more = roster.cells_to_ask().filter(|cell| held.contains(&cell.id));
    let members = opens(roster, me).chain(more).flat_map(|cell| cell.founders.iter().chain(&cell.wanted));
    let others: BTreeSet<&MemberId> = members.filter(|member| *member != me).collect();
    let mut found = BTreeMap::new();
    for gone in peers.gone() {
        let Some(disk) = gone.said.disk else { continue };
        let member = MemberId { instance: gone.said.instance.clone(), disk };
        if others.contains(&member) {
            found.insert(member, gone.said.cluster_addr.to_string());
        }
    }
    for member in others {
        if let Some(peer) = peers.by_member(member) {
            found.insert(member.clone(), peer.said.cluster_addr.to_string());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_cluster::roster::CellState;
    use hearth_common::{DiskId, InstanceId};

    use super::*;

    fn member(name: &str) -> MemberId {
        MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(1) }
    }

    fn members(names: &str) -> Vec<MemberId> {
        names.split_whitespace().map(member).collect()
    }

    #[test]
    fn a_founder_opens_its_copy_also_when_others_should_have_it_by_now() {
        let cell = |state| Cell {
            id: CellId(InstanceId(Arc::from("a"))),
            log: LogId(7),
            founders: members("a b"),
            wanted: members("a c"),
            state,
        };
        let roster = |state| Roster {
            version: 2,
            nonce: 2,
            parent: 1,
            cluster_id: "test".to_owned(),
            factor: 2,
            members: Vec::new(),
            cells: vec![cell(state)],
            schedule: Vec::new(),
            losses: Vec::new(),
        };
        let open = roster(CellState::Open);
        let founders = |name| keeps(&open, &member(name)).first().map(|keep| keep.founders.clone());
        assert_eq!(founders("b"), Some(Some(members("a b"))));
        assert_eq!((founders("c"), founders("d")), (Some(None), None));
        assert!(keeps(&roster(CellState::Drained), &member("b")).is_empty());
    }
}
