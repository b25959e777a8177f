//! What the planner makes of joins, leaves, deaths and new disks, case by case.

#![allow(clippy::unwrap_used)]

mod world;

use hearth_cluster::roster::{CellState, Change, InvalidChange, MemberState, Note, Presence, apply};
use hearth_common::TimestampNs;
use world::{BEGIN, World, cell_id, instance, member};

#[test]
fn a_cluster_begins_when_enough_are_there_and_nobody_moves() {
    let mut world = World::new(3);
    world.see("a1", 1, Presence::Joining);
    world.see("b1", 1, Presence::Joining);
    world.pass(100);
    assert_eq!(world.settle(), []);
    assert_eq!(world.notes, [Note::WaitingForMembers { seen: 2, zones: 2, factor: 3 }]);
    world.see("c1", 1, Presence::Joining);
    world.pass(4);
    assert_eq!(world.settle(), []);
    assert_eq!(world.notes, [Note::WaitingToSettle]);
    world.pass(1);
    assert_eq!(world.settle().len(), 1);
    assert_eq!((world.roster().version, world.roster().factor), (1, 3));
    assert_eq!(world.placed(), "a1 b1 c1");
    assert_eq!(world.roster().schedule[0].effective, TimestampNs(i64::MIN));
    for (home, cell) in [("a1", "a1"), ("b1", "b1"), ("c1", "c1")].map(|(h, c)| (h, world.cell(c))) {
        assert_eq!(&*cell.wanted[0].instance.0, home, "home first");
        assert_eq!((cell.wanted.len(), &cell.founders), (3, &cell.wanted));
    }
}

#[test]
fn with_too_few_zones_it_waits_longer_and_says_so() {
    let mut world = World::new(3);
    for name in ["a1", "a2", "b1"] {
        world.see(name, 1, Presence::Active);
    }
    let warning = Note::ZonesNotIndependent { zones: 2, factor: 3 };
    world.pass(29);
    assert_eq!(world.settle(), []);
    assert_eq!(world.notes, [Note::WaitingToSettle, warning.clone()]);
    world.pass(1);
    assert_eq!(world.settle().len(), 1);
    assert_eq!(world.notes, [warning]);
    assert_eq!(world.cell("a1").wanted.len(), 3);
}

#[test]
fn seats_are_even_and_in_distinct_zones() {
    let names = ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"];
    let world = World::begun(3, &names);
    for cell in &world.roster().cells {
        let zones: std::collections::BTreeSet<&str> =
            cell.wanted.iter().map(|id| &id.instance.0[..1]).collect();
        assert_eq!(zones.len(), 3, "{}", world.seats(&cell.id.0.0));
    }
    for name in names {
        let seats = world.roster().cells_of(&member(name, 1)).count();
        assert!((2..=4).contains(&seats), "{name} keeps {seats} cells");
    }
}

#[test]
fn a_join_adds_member_cell_and_entry() {
    let mut world = World::begun(3, &["a1", "b1", "c1"]);
    world.see("a2", 1, Presence::Joining);
    let wall = world.wall();
    let steps = world.settle();
    assert!(
        matches!(
            &steps[..],
            [
                Change::AddMember(_),
                Change::BeginLog { lost: None, .. },
                Change::AddEntry(_),
                Change::SetEffective(_)
            ]
        ),
        "{steps:?}"
    );
    assert_eq!(world.seats("a2"), world.seats("a2").replace("a1", "a2"), "not with its zone mate");
    assert_eq!(world.placed(), "a1 a2 b1 c1");
    assert_eq!(world.roster().schedule[1].effective.0, wall.0 + 60_000_000_000);
}

/// Nobody is placed on a new cell before all leaders know that they may be: one that does not would take the same profile.
#[test]
fn a_change_of_placement_holds_once_all_cells_know_of_it() {
    let mut world = World::begun(3, &["a1", "b1", "c1"]);
    world.ignorant = Some(cell_id("b1"));
    world.see("a2", 1, Presence::Joining);
    let announced_at = world.wall();
    assert!(matches!(world.settle()[..], [.., Change::AddEntry(_)]));
    let announced = |world: &World| world.roster().announced().map(|entry| entry.effective.0);
    assert_eq!(announced(&world), Some(announced_at.0 + 60_000_000_000));
    assert!(world.notes.contains(&Note::PlacementWaits(instance("b1"))), "{:?}", world.notes);
    assert_eq!(world.roster().placement().unwrap().entries().len(), 1, "it does not hold yet");
    world.pass(29);
    assert_eq!(world.settle(), []);
    // Leaders hold back what it may move from that time on, so it is put off.
    world.pass(2);
    assert!(matches!(world.settle()[..], [Change::AddEntry(_)]));
    assert_eq!(announced(&world), Some(world.wall().0 + 60_000_000_000));
    assert_eq!(world.roster().schedule.len(), 2);
    // Others come meanwhile: that is one change with this one.
    world.see("b2", 1, Presence::Joining);
    world.settle();
    assert_eq!((world.placed(), world.roster().schedule.len()), ("a1 a2 b1 b2 c1".to_owned(), 2));
    world.ignorant = None;
    let then = announced(&world).unwrap();
    assert_eq!(world.settle(), [Change::SetEffective(TimestampNs(then))]);
    assert_eq!((announced(&world), world.roster().placement().unwrap().entries().len()), (None, 2));
    assert_eq!(world.settle(), []);
}

#[test]
fn entries_come_once_a_minute() {
    let mut world = World::begun(3, &["a1", "b1", "c1"]);
    for name in ["a2", "b2", "c2"] {
        world.see(name, 1, Presence::Joining);
        world.pass(10);
        world.settle();
    }
    assert_eq!(world.placed(), "a1 a2 b1 c1");
    world.pass(39);
    assert_eq!(world.settle(), []);
    world.pass(1);
    world.settle();
    assert_eq!(world.placed(), "a1 a2 b1 b2 c1 c2");
    assert_eq!(world.roster().schedule.len(), 3);
}

#[test]
fn who_leaves_goes_step_by_step() {
    let mut world = World::begun(3, &["a1", "a2", "b1", "b2", "c1", "c2"]);
    world.see("a1", 1, Presence::Leaving);
    world.settle();
    assert_eq!(world.state("a1", 1), Some(MemberState::Leaving));
    assert_eq!(world.cell_state("a1"), Some(CellState::Lingering));
    assert_eq!(world.placed(), "a2 b1 b2 c1 c2");
    for cell in ["a2", "b1", "b2", "c1", "c2"] {
        assert!(!world.seats(cell).contains("a1"), "{cell}: {}", world.seats(cell));
    }
    assert!(world.seats("a1").starts_with("a1 "), "it keeps its own cell");
    world.drained.push(world.cell("a1").log);
    world.run(70);
    assert_eq!(world.cell_state("a1"), Some(CellState::Lingering), "late records may still come");
    world.run(3);
    assert_eq!(world.cell_state("a1"), None);
    assert_eq!(world.state("a1", 1), Some(MemberState::Left), "it is still named as a founder of others");
    assert_eq!(world.roster().schedule.len(), 1, "the old entry is trimmed");
    assert_eq!(world.settle(), [], "its gossip still says leaving");
    world.see("a1", 1, Presence::Joining);
    world.run(2);
    assert_eq!(world.state("a1", 1), Some(MemberState::Active));
    assert_eq!(world.placed(), "a1 a2 b1 b2 c1 c2");
}

#[test]
fn a_cell_that_is_not_drained_stays() {
    let mut world = World::begun(3, &["a1", "a2", "b1", "c1"]);
    world.see("a1", 1, Presence::Leaving);
    world.run(600);
    assert_eq!(world.cell_state("a1"), Some(CellState::Lingering));
    assert_eq!(world.state("a1", 1), Some(MemberState::Leaving));
}

#[test]
fn a_leave_can_be_taken_back() {
    let mut world = World::begun(3, &["a1", "a2", "b1", "c1"]);
    let log = world.cell("a1").log;
    world.see("a1", 1, Presence::Leaving);
    world.run(3);
    world.see("a1", 1, Presence::Active);
    world.run(3);
    assert_eq!((world.cell_state("a1"), world.cell("a1").log), (Some(CellState::Open), log));
    assert_eq!(world.placed(), "a1 a2 b1 c1");
}

#[test]
fn the_dead_are_replaced_and_come_back() {
    let mut world = World::begun(3, &["a1", "a2", "b1", "b2", "c1", "c2"]);
    world.see("a1", 1, Presence::Gone);
    world.pass(599);
    assert_eq!(world.settle(), [], "not yet");
    world.pass(1);
    world.settle();
    assert_eq!(world.state("a1", 1), Some(MemberState::Dead));
    for cell in ["a1", "a2", "b1", "b2", "c1", "c2"] {
        assert!(!world.seats(cell).contains("a1"), "{cell}: {}", world.seats(cell));
        assert_eq!(world.cell(cell).wanted.len(), 3);
    }
    assert_eq!(world.cell_state("a1"), Some(CellState::Open), "the others keep its cell");
    assert_eq!(world.placed(), "a1 a2 b1 b2 c1 c2");
    world.see("a1", 1, Presence::Active);
    world.settle();
    assert!(world.seats("a1").starts_with("a1 "), "{}", world.seats("a1"));
    assert!(!world.seats("a1").contains("a2"), "{}", world.seats("a1"));
}

#[test]
fn without_a_spare_the_dead_keep_their_seats() {
    let mut world = World::begun(3, &["a1", "b1", "c1", "c2"]);
    let before = world.seats("a1");
    world.see("a1", 1, Presence::Gone);
    world.run(11);
    assert_eq!(world.seats("a1"), before);
    let note = Note::NoSpare { cell: instance("a1"), member: Some(instance("a1")) };
    assert!(world.notes.contains(&note), "{:?}", world.notes);
    world.see("a2", 1, Presence::Joining);
    world.run(2);
    assert!(!world.seats("a1").contains("a1"), "{}", world.seats("a1"));
}

#[test]
fn who_sees_few_declares_nobody_dead() {
    let mut world = World::begun(3, &["a1", "b1", "c1", "a2", "b2"]);
    for name in ["b1", "c1", "a2"] {
        world.see(name, 1, Presence::Gone);
    }
    world.run(20);
    assert_eq!(world.notes, [Note::Blind { alive: 2, members: 5 }]);
    assert_eq!(world.roster().version, 1);
}

#[test]
fn who_is_declared_dead_and_sees_few_does_not_bring_itself_back() {
    let names = ["a1", "b1", "c1", "a2", "b2"];
    let mut world = World::begun(3, &names);
    world.see("a1", 1, Presence::Gone);
    world.run(11);
    assert_eq!(world.state("a1", 1), Some(MemberState::Dead));
    // The same roster as a1 sees it, which reaches the store and nobody else.
    for name in names {
        world.see(name, 1, if name == "a1" { Presence::Active } else { Presence::Gone });
    }
    world.run(20);
    assert_eq!(world.state("a1", 1), Some(MemberState::Dead));
    for name in ["b1", "c1"] {
        world.see(name, 1, Presence::Active);
    }
    world.settle();
    assert_eq!(world.state("a1", 1), Some(MemberState::Active));
}

#[test]
fn another_disk_takes_the_places_of_the_old_one() {
    let mut world = World::begun(3, &["a1", "b1", "c1"]);
    let (log, founders) = (world.cell("a1").log, world.cell("a1").founders.clone());
    world.see("a1", 1, Presence::Gone);
    world.see("a1", 2, Presence::Joining);
    assert_eq!(world.settle().len(), 1);
    assert_eq!(world.state("a1", 1), Some(MemberState::Dead));
    for cell in ["a1", "b1", "c1"] {
        assert!(world.seats(cell).contains("a1/2"), "{}", world.seats(cell));
    }
    assert_eq!((world.cell("a1").log, &world.cell("a1").founders), (log, &founders));
    assert_eq!(world.roster().losses, []);
    // The old disk is found again.
    world.see("a1", 2, Presence::Gone);
    world.see("a1", 1, Presence::Joining);
    world.settle();
    assert_eq!(
        world.seats("a1"),
        world.history[0].cells[0]
            .wanted
            .iter()
            .map(|id| id.instance.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    );
    assert_eq!(world.state("a1", 1), Some(MemberState::Active));
}

#[test]
fn two_lives_of_one_name_change_nothing() {
    let mut world = World::begun(3, &["a1", "b1", "c1"]);
    world.see("a1", 2, Presence::Active);
    world.run(20);
    assert_eq!(world.notes, [Note::TwoLives(instance("a1"))]);
    assert_eq!(world.roster().version, 1);
}

#[test]
fn with_one_copy_another_disk_is_a_loss() {
    let mut world = World::begun(1, &["a1", "b1"]);
    let lost = world.cell("a1").log;
    world.see("a1", 1, Presence::Gone);
    world.run(30);
    assert_eq!((world.seats("a1"), world.cell("a1").log), ("a1".to_owned(), lost), "its owner is waited for");
    world.see("a1", 2, Presence::Joining);
    world.settle();
    assert_ne!(world.cell("a1").log, lost);
    assert_eq!(world.seats("a1"), "a1/2");
    let losses = world.roster().losses.clone();
    assert_eq!(losses.iter().map(|l| (l.log, l.accepted)).collect::<Vec<_>>(), [(lost, false)]);
    assert_eq!(world.state("a1", 1), None, "nothing names the old disk");
    let accepted = apply(world.roster.as_ref(), &[Change::AcceptLoss(lost)]).unwrap();
    assert_eq!(accepted.open_losses().count(), 0);
}

#[test]
fn a_loss_is_recorded_however_fast_the_new_disk_comes() {
    let mut world = World::begun(1, &["a1", "b1"]);
    let lost = world.cell("a1").log;
    world.see("a1", 1, Presence::Gone);
    world.see("a1", 2, Presence::Joining);
    world.settle();
    assert_ne!(world.cell("a1").log, lost);
    assert_eq!(world.roster().losses.iter().map(|loss| loss.log).collect::<Vec<_>>(), [lost]);
}

#[test]
fn a_member_that_moves_to_another_zone_is_told_apart() {
    let mut world = World::begun(3, &["a1", "b1", "c1", "c2"]);
    let seen = world.seen.get_mut(&member("c1", 1)).unwrap();
    seen.zone = "b".to_owned();
    world.run(2);
    for cell in ["a1", "b1"] {
        assert!(!world.seats(cell).contains("c1"), "{cell}: {}", world.seats(cell));
    }
    assert!(world.notes.is_empty(), "{:?}", world.notes);
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let world = World::begun(3, &["a1", "b1", "c1"]);
    let refused = |change: Change| apply(world.roster.as_ref(), &[change]).expect_err("refused");
    let begin = Change::BeginLog {
        cell: cell_id("a1"),
        log: hearth_cluster::roster::LogId(99),
        founders: vec![member("a1", 1)],
        lost: None,
    };
    assert!(matches!(refused(begin), InvalidChange::Misfit(_)), "its log is not drained");
    let wanted = vec![member("a1", 1), member("nobody", 1)];
    let change = Change::SetWanted { cell: cell_id("a1"), wanted };
    assert!(matches!(refused(change), InvalidChange::Result(_)));
    let entry = hearth_cluster::roster::ScheduleEntry::new(BEGIN, vec![cell_id("nobody")]);
    assert!(matches!(refused(Change::AddEntry(entry)), InvalidChange::Result(_)));
    let drained = Change::SetCellState { cell: cell_id("a1"), state: CellState::Drained };
    assert!(matches!(refused(drained), InvalidChange::Result(_)), "the schedule names it");
    assert!(matches!(refused(Change::ForgetMember(member("a1", 1))), InvalidChange::Result(_)));
}
