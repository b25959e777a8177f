//! What the page shows, as values; field names are those of the JSON. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_cluster::gossip::{Announcement, Peers};
use hearth_cluster::roster::{Cell, CellState, MemberState, Note, Roster};
use hearth_common::{InstanceId, MemberId};
use hearth_internode::api::CellStatus;
use serde::Serialize;

use crate::membership::Asked;

/// What is known at one moment.
pub(super) struct Known<'a> {
    pub(super) cluster: &'a str,
    pub(super) me: &'a Announcement,
    pub(super) peers: &'a Peers,
    pub(super) roster: Option<&'a Roster>,
    pub(super) asked: &'a Asked,
    pub(super) notes: &'a [Note],
    pub(super) now: Duration,
}

/// The whole page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Ring {
    /// The cluster's name.
    pub(super) cluster: String,
    /// Who answers.
    pub(super) instance: String,
    /// What it does.
    pub(super) role: &'static str,
    /// The newest roster that it knows; 0 = none.
    pub(super) roster_version: u64,
    /// Disks for each profile, by the roster.
    pub(super) replication_factor: Option<u32>,
    /// What people should know.
    pub(super) notes: Vec<String>,
    /// All processes, sorted by instance.
    pub(super) members: Vec<Member>,
    /// All cells, sorted by name.
    pub(super) cells: Vec<CellView>,
    /// Logs that are lost, and not accepted as such.
    pub(super) losses: Vec<String>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    pub(super) instance: String,
    /// `unknown` if only the roster knows it.
    pub(super) role: &'static str,
    pub(super) zone: String,
    /// By gossip: `joining`, `active`, `leaving`, `gone`; `unseen` if only the roster knows it.
    pub(super) state: &'static str,
    /// Its public port.
    pub(super) address: Option<String>,
    /// Its internal port.
    pub(super) cluster_address: Option<String>,
    /// The identity of its data folder.
    pub(super) disk: Option<String>,
    /// By the roster: `active`, `leaving`, `left`, `dead`; none if it is not in it.
    pub(super) roster_state: Option<&'static str>,
    /// The roster that it has.
    pub(super) roster_version: u64,
    /// How long ago it was taken to be alive, in milliseconds; none = never.
    pub(super) last_seen_ms: Option<u64>,
    /// What it says when it is asked, if it is an ingester: its state, or why it does not answer.
    pub(super) says: Option<String>,
}

/// One cell. Positions are those of its leader, else of the member that is furthest; none if nobody answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CellView {
    pub(super) cell: String,
    /// The identity of its log.
    pub(super) log: String,
    /// `open`, `lingering`, `drained`.
    pub(super) state: &'static str,
    pub(super) leader: Option<String>,
    pub(super) term: Option<u64>,
    /// End of what is on the disk of whoever is shown.
    pub(super) durable: Option<u64>,
    /// End of what is committed.
    pub(super) committed: Option<u64>,
    /// End of what is published.
    pub(super) covered: Option<u64>,
    /// Up to here entries may be dropped.
    pub(super) released: Option<u64>,
    /// In words; empty = nothing.
    pub(super) waits_for: String,
    /// Its members: those wanted by the roster, home first, then others that keep it.
    pub(super) members: Vec<CellMember>,
}

/// One member of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CellMember {
    pub(super) instance: String,
    pub(super) zone: String,
    /// Whether the roster wants it.
    pub(super) wanted: bool,
    /// As it says: `leader`, `follower`, `candidate`; `absent` if it does not keep the cell, `silent` if it does not answer.
    pub(super) role: String,
    /// As its log says: `voter`, `learner` (gets the log and does not count yet), `none`; none if it does not answer.
    pub(super) standing: Option<String>,
    /// Its disk lost entries, and the others are sending them: it gives no vote meanwhile.
    pub(super) damaged: bool,
    pub(super) durable: Option<u64>,
    pub(super) committed: Option<u64>,
    /// What it waits for, in words; empty = nothing.
    pub(super) waits_for: String,
}

pub(super) fn ring(known: &Known<'_>) -> Ring {
    let roster = known.roster;
    Ring {
        cluster: known.cluster.to_owned(),
        instance: known.me.instance.to_string(),
        role: known.me.role.as_str(),
        roster_version: roster.map_or(0, |roster| roster.version),
        replication_factor: roster.map(|roster| roster.factor),
        notes: known.notes.iter().map(ToString::to_string).collect(),
        members: members(known),
        cells: roster.into_iter().flat_map(|roster| &roster.cells).map(|one| cell(known, one)).collect(),
        losses: roster
            .into_iter()
            .flat_map(Roster::open_losses)
            .map(|loss| format!("cell {}: {}", loss.cell.0, loss.text))
            .collect(),
    }
}

fn members(known: &Known<'_>) -> Vec<Member> {
    let mut found: BTreeMap<(InstanceId, Option<String>), Member> = BTreeMap::new();
    for member in known.roster.into_iter().flat_map(|roster| &roster.members) {
        let disk = member.id.disk.to_string();
        let shown = Member {
            instance: member.id.instance.to_string(),
            role: "unknown",
            zone: member.zone.clone(),
            state: "unseen",
            address: None,
            cluster_address: None,
            disk: Some(disk.clone()),
            roster_state: Some(roster_state(member.state)),
            roster_version: 0,
            last_seen_ms: None,
            says: None,
        };
        found.insert((member.id.instance.clone(), Some(disk)), shown);
    }
    let gone =
        known.peers.gone().map(|gone| (&gone.said, "gone", ms(known.now.saturating_sub(gone.last_seen))));
    let alive = known.peers.alive().map(|peer| (&peer.said, peer.said.state.as_str(), 0));
    for (said, state, last_seen_ms) in gone.chain(alive) {
        let disk = said.disk.map(|disk| disk.to_string());
        let key = (said.instance.clone(), disk.clone());
        let member = said.disk.map(|disk| MemberId { instance: said.instance.clone(), disk });
        let says = member.and_then(|member| known.asked.get(&member)).map(|asked| match asked {
            Ok(status) => status.state.clone(),
            Err(why) => format!("no answer: {why}"),
        });
        let shown = Member {
            instance: said.instance.to_string(),
            role: said.role.as_str(),
            zone: said.zone.clone(),
            state,
            address: Some(said.api_addr.to_string()),
            cluster_address: Some(said.cluster_addr.to_string()),
            disk,
            roster_state: found.get(&key).and_then(|known| known.roster_state),
            roster_version: said.roster_version,
            last_seen_ms: Some(last_seen_ms),
            says,
        };
        found.insert(key, shown);
    }
    found.into_values().collect()
}

fn cell(known: &Known<'_>, cell: &Cell) -> CellView {
    let said: BTreeMap<&MemberId, &CellStatus> = known
        .asked
        .iter()
        .filter_map(|(member, asked)| {
            let cells = &asked.as_ref().ok()?.cells;
            Some((member, cells.iter().find(|status| status.cell == cell.id && status.log == cell.log)?))
        })
        .collect();
    // Of two that say they lead, the one of the later term does.
    let leader =
        said.iter().filter(|(_, status)| status.role == "leader").max_by_key(|(_, status)| status.term);
    let shown = leader.or_else(|| said.iter().max_by_key(|(_, status)| (status.term, status.durable_end)));
    let status = shown.map(|(_, status)| *status);
    let believed =
        || status.and_then(|status| status.leader.as_ref()).map(|leader| leader.instance.to_string());
    CellView {
        cell: cell.id.0.to_string(),
        log: cell.log.to_string(),
        state: cell_state(cell.state),
        leader: leader.map(|(member, _)| member.instance.to_string()).or_else(believed),
        term: status.map(|status| status.term),
        durable: status.map(|status| status.durable_end.0),
        committed: status.map(|status| status.committed.0),
        covered: status.map(|status| status.covered.0),
        released: status.map(|status| status.released.0),
        waits_for: status.map(|status| status.waits_for.clone()).unwrap_or_default(),
        members: cell_members(known, cell, &said),
    }
}

fn cell_members(known: &Known<'_>, cell: &Cell, said: &BTreeMap<&MemberId, &CellStatus>) -> Vec<CellMember> {
    let wanted: BTreeSet<&MemberId> = cell.wanted.iter().collect();
    let others = said.keys().copied().filter(|member| !wanted.contains(member));
    let one = |member: &MemberId| {
        let status = said.get(member);
        let role = match (status, known.asked.get(member)) {
            (Some(status), _) => status.role.clone(),
            (None, Some(Ok(_))) => "absent".to_owned(),
            (None, _) => "silent".to_owned(),
        };
        CellMember {
            instance: member.instance.to_string(),
            zone: known.roster.and_then(|r| r.member(member)).map(|m| m.zone.clone()).unwrap_or_default(),
            wanted: wanted.contains(member),
            role,
            standing: status.map(|status| status.standing.clone()),
            damaged: status.is_some_and(|status| status.damaged),
            durable: status.map(|status| status.durable_end.0),
            committed: status.map(|status| status.committed.0),
            waits_for: status.map_or_else(String::new, |status| status.waits_for.clone()),
        }
    };
    cell.wanted.iter().chain(others).map(one).collect()
}

fn ms(ago: Duration) -> u64 {
    u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)
}

fn roster_state(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "active",
        MemberState::Leaving => "leaving",
        MemberState::Left => "left",
        MemberState::Dead => "dead",
    }
}

fn cell_state(state: CellState) -> &'static str {
    match state {
        CellState::Open => "open",
        CellState::Lingering => "lingering",
        CellState::Drained => "drained",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_cluster::gossip::{PeerState, Role};
    use hearth_cluster::roster::{LogId, Member as RosterMember, ScheduleEntry};
    use hearth_common::{CellId, DiskId, Position, TimestampNs};
    use hearth_internode::api::MemberStatus;

    use super::*;

    fn id(name: &str, disk: u128) -> MemberId {
        MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(disk) }
    }

    fn said(name: &str, role: Role, disk: Option<u128>) -> Announcement {
        Announcement {
            role,
            instance: InstanceId(Arc::from(name)),
            disk: disk.map(DiskId),
            zone: "z1".to_owned(),
            api_addr: ([10, 0, 0, 1], 4040).into(),
            cluster_addr: ([10, 0, 0, 1], 9095).into(),
            state: PeerState::Active,
            roster_version: 2,
        }
    }

    fn roster() -> Roster {
        let cell = CellId(InstanceId(Arc::from("i1")));
        let member = |id: MemberId| RosterMember {
            id,
            zone: "z1".to_owned(),
            state: MemberState::Active,
            joined: TimestampNs(0),
        };
        let wanted = vec![id("i1", 1), id("i2", 2)];
        Roster {
            version: 2,
            nonce: 1,
            parent: 0,
            cluster_id: "c".to_owned(),
            factor: 2,
            members: wanted.iter().cloned().map(member).collect(),
            cells: vec![Cell {
                id: cell.clone(),
                log: LogId(7),
                founders: wanted.clone(),
                wanted,
                state: CellState::Open,
            }],
            schedule: vec![ScheduleEntry::new(TimestampNs(i64::MIN), vec![cell])],
            losses: Vec::new(),
        }
    }

    fn status(member: MemberId, role: &str, term: u64) -> MemberStatus {
        let cell = CellStatus {
            cell: CellId(InstanceId(Arc::from("i1"))),
            log: LogId(7),
            role: role.to_owned(),
            term,
            leader: Some(id("i1", 1)),
            durable_end: Position(9),
            committed: Position(8),
            covered: Position(5),
            released: Position(4),
            base: Position(0),
            peers: Vec::new(),
            waits_for: "a <vote>".to_owned(),
            standing: "learner".to_owned(),
            damaged: true,
        };
        MemberStatus {
            cluster_id: "c".to_owned(),
            member,
            roster_version: 2,
            state: "active".to_owned(),
            cells: vec![cell],
            volumes: Vec::new(),
            wall_ns: 0,
        }
    }

    fn shown(asked: &Asked) -> Ring {
        let me = said("q", Role::Querier, None);
        let peers = Peers::fixed([me.clone(), said("i1", Role::Ingester, Some(1))]);
        let roster = roster();
        let known = Known {
            cluster: "c",
            me: &me,
            peers: &peers,
            roster: Some(&roster),
            asked,
            notes: &[Note::WaitingToSettle],
            now: Duration::from_secs(5),
        };
        ring(&known)
    }

    #[test]
    fn members_are_those_of_gossip_and_those_that_only_the_roster_knows() {
        let ring = shown(&Asked::new());
        let states: Vec<_> = ring
            .members
            .iter()
            .map(|m| (m.instance.as_str(), m.state, m.zone.as_str(), m.roster_state))
            .collect();
        let expect = [
            ("i1", "active", "z1", Some("active")),
            ("i2", "unseen", "z1", Some("active")),
            ("q", "active", "z1", None),
        ];
        assert_eq!(states, expect);
        assert_eq!(ring.notes, ["waiting until nobody comes or goes"]);
        assert_eq!((ring.cells[0].leader.as_deref(), ring.cells[0].committed), (None, None));
        assert!(ring.cells[0].members.iter().all(|member| member.role == "silent"));
    }

    #[test]
    fn the_leader_of_the_latest_term_says_how_a_cell_is() {
        let asked = Asked::from([
            (id("i1", 1), Ok(status(id("i1", 1), "leader", 3))),
            (id("i2", 2), Ok(status(id("i2", 2), "leader", 2))),
        ]);
        let ring = shown(&asked);
        let cell = &ring.cells[0];
        assert_eq!((cell.leader.as_deref(), cell.term), (Some("i1"), Some(3)));
        assert_eq!([cell.durable, cell.committed, cell.covered, cell.released], [9, 8, 5, 4].map(Some));
        assert_eq!(cell.waits_for, "a <vote>");
        let json = serde_json::to_value(&ring).expect("plain values");
        assert_eq!(json["members"][0]["state"], "active");
        assert_eq!(json["members"][0]["zone"], "z1");
        let member = &json["cells"][0]["members"][1];
        assert_eq!((&member["role"], &member["standing"]), (&"leader".into(), &"learner".into()));
        assert_eq!((&member["damaged"], &member["waits_for"]), (&true.into(), &"a <vote>".into()));
        let page = super::super::html::page(&ring);
        assert!(page.contains("a &lt;vote&gt;") && !page.contains("<vote>"), "{page}");
        assert!(page.contains("leader, learner") && page.contains("damaged, being repaired"), "{page}");
    }
}
