//! Which cells have to be asked.

use hearth_cluster::roster::{Cell, CellState, Homes, Member, MemberState, Roster, ScheduleEntry};
use hearth_common::{DiskId, InstanceId, LogId, MemberId};

use super::*;

fn cell(n: usize) -> CellId {
    CellId(InstanceId(Arc::from(format!("i{n:03}"))))
}

/// So many cells, each of which keeps itself; of those in `drained` nothing is to be asked. The tenant has three cells of
/// the first half of them from the first entry of the schedule on, and three of the second half from the second, at 1000 s.
fn view(count: usize, drained: &[usize]) -> View {
    let member = |n: usize| MemberId { instance: cell(n).0, disk: DiskId(1) };
    let state = |n| if drained.contains(&n) { CellState::Drained } else { CellState::Open };
    let cells = (0..count).map(|n| Cell {
        id: cell(n),
        log: LogId(n as u128 + 1),
        founders: vec![member(n)],
        wanted: vec![member(n)],
        state: state(n),
    });
    let members = (0..count).map(|n| Member {
        id: member(n),
        zone: String::new(),
        state: MemberState::Active,
        joined: TimestampNs(0),
    });
    let entry = |effective_s: i64, of: std::ops::Range<usize>| {
        let placed = of.filter(|n| !drained.contains(n)).map(cell).collect();
        let mut entry = ScheduleEntry::new(TimestampNs(effective_s * 1_000_000_000), placed);
        entry.shuffle_size = 3;
        entry
    };
    let roster = Roster {
        version: 1,
        nonce: 1,
        parent: 0,
        cluster_id: "test".to_owned(),
        factor: 1,
        members: members.collect(),
        cells: cells.collect(),
        schedule: vec![entry(0, 0..count / 2), entry(1000, count / 2..count)],
        losses: Vec::new(),
    };
    roster.check().expect("valid");
    View { homes: Homes::new(&roster).expect("valid"), roster: Arc::new(roster) }
}

fn asked(view: &View, from_s: i64) -> BTreeSet<CellId> {
    obligations(view, &TenantId::anonymous(), TimestampNs(from_s * 1_000_000_000))
}

#[test]
fn a_small_cluster_is_asked_as_a_whole_but_for_what_is_drained() {
    let view = view(66, &[1, 2]);
    let all: BTreeSet<CellId> = (0..66).filter(|n| ![1, 2].contains(n)).map(cell).collect();
    assert_eq!(asked(&view, 5000), all);
}

#[test]
fn in_a_large_cluster_those_are_asked_on_which_the_window_places_the_tenant() {
    let view = view(80, &[]);
    let (both, later) = (asked(&view, 999), asked(&view, 1000));
    assert_eq!(later.len(), 3);
    assert!(later.iter().all(|cell| both.contains(cell) && cell.0.0.as_ref() >= "i040"));
    assert_eq!(both.len(), 6, "{both:?}");
}
