//! Whatever comes and goes: what no step of the planner may break, and where it comes to rest.

#![allow(clippy::unwrap_used)]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use hearth_cluster::roster::{
    Cell, CellState, Change, Homes, LogId, MemberState, Note, Presence, Roster, ScheduleEntry, decode_roster,
    encode_roster,
};
use hearth_common::{MemberId, TenantId, TimestampNs};
use proptest::prelude::*;
use world::World;

#[derive(Debug, Clone)]
enum Event {
    /// Seconds pass.
    Pass(u64),
    /// An instance shows up with its disk.
    Come(usize),
    Go(usize),
    /// It goes and comes back with an empty disk.
    NewDisk(usize),
    Leave(usize),
    /// The leader of some lingering cell says that all is published.
    Drain(usize),
    /// The planner takes so many steps.
    Steps(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..9usize;
    prop_oneof![
        4 => (1..400u64).prop_map(Event::Pass),
        1 => Just(Event::Pass(700)),
        1 => Just(Event::Pass(5000)),
        4 => who.clone().prop_map(Event::Come),
        2 => who.clone().prop_map(Event::Go),
        1 => who.clone().prop_map(Event::NewDisk),
        1 => who.clone().prop_map(Event::Leave),
        2 => (0..9usize).prop_map(Event::Drain),
        6 => (1..30usize).prop_map(Event::Steps),
    ]
}

/// Nine instances in three zones.
fn name(at: usize) -> String {
    format!("{}{}", ["a", "b", "c"][at % 3], at / 3)
}

struct Run {
    world: World,
    disks: BTreeMap<String, u128>,
}

impl Run {
    fn new(factor: u32) -> Self {
        Self { world: World::new(factor), disks: BTreeMap::new() }
    }

    fn come(&mut self, at: usize, presence: Presence) {
        let name = name(at);
        let disk = *self.disks.entry(name.clone()).or_insert(1);
        self.world.see(&name, disk, presence);
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Pass(seconds) => self.world.pass(*seconds),
            Event::Come(at) => self.come(*at, Presence::Active),
            Event::Go(at) if self.disks.contains_key(&name(*at)) => self.come(*at, Presence::Gone),
            Event::NewDisk(at) if self.disks.contains_key(&name(*at)) => {
                self.come(*at, Presence::Gone);
                *self.disks.get_mut(&name(*at)).unwrap() += 1;
                self.come(*at, Presence::Active);
            }
            Event::Leave(at) if self.disks.contains_key(&name(*at)) => self.come(*at, Presence::Leaving),
            Event::Go(_) | Event::NewDisk(_) | Event::Leave(_) => {}
            Event::Drain(at) => {
                let cells = self.world.roster.iter().flat_map(|roster| &roster.cells);
                let lingering: Vec<LogId> =
                    cells.filter(|c| c.state == CellState::Lingering).map(|c| c.log).collect();
                self.world.drained.extend(lingering.get(*at));
            }
            Event::Steps(steps) => {
                for _ in 0..*steps {
                    let before = self.world.roster.clone();
                    let Some(change) = self.world.step() else { break };
                    check_step(&self.world, before.as_ref(), &change);
                }
            }
        }
    }

    /// Everybody comes, and time passes until all is done.
    fn rest(&mut self) {
        for at in 0..9 {
            self.come(at, Presence::Active);
        }
        for _ in 0..150 {
            self.world.pass(61);
            let cells = self.world.roster.iter().flat_map(|roster| &roster.cells);
            let lingering: Vec<LogId> =
                cells.filter(|c| c.state == CellState::Lingering).map(|c| c.log).collect();
            self.world.drained.extend(lingering);
            self.apply(&Event::Steps(500));
        }
        assert_eq!(self.world.settle(), []);
    }
}

/// What holds of each step.
fn check_step(world: &World, before: Option<&Roster>, change: &Change) {
    let after = world.roster();
    let decoded = decode_roster("roster", &encode_roster(after)).unwrap();
    assert_eq!(&decoded, after);
    let Some(before) = before else { return };
    assert_eq!((after.version, after.parent), (before.version + 1, before.nonce));
    for cell in &before.cells {
        check_cell(world, cell, after, change);
    }
    check_new_seats(world, before, after, change);
    check_schedule(world, before, after);
}

/// A log ends only drained, or with a loss on record; founders of a log never change; one seat changes at a time.
fn check_cell(world: &World, cell: &Cell, after: &Roster, change: &Change) {
    match after.cell(&cell.id) {
        Some(now) if now.log == cell.log => {
            assert_eq!(now.founders, cell.founders);
            let (old, new): (BTreeSet<_>, BTreeSet<_>) =
                (cell.wanted.iter().collect(), now.wanted.iter().collect());
            assert!(old.intersection(&new).count() > 0, "somebody who has the log stays: {change:?}");
            assert!(old.difference(&new).count() <= 1 && new.difference(&old).count() <= 1, "{change:?}");
        }
        _ if cell.state == CellState::Drained => {}
        _ => {
            assert!(after.open_losses().any(|loss| loss.log == cell.log), "{change:?}");
            assert_eq!(cell.wanted.len(), 1, "only what nobody else kept is given up");
        }
    }
    if cell.state != CellState::Drained
        && after.cell(&cell.id).is_some_and(|now| now.state == CellState::Drained)
    {
        assert!(world.drained.contains(&cell.log), "only when its leader said so");
        assert_eq!(cell.state, CellState::Lingering);
    }
}

/// New seats go to members that are active and alive. `ReplaceDisk` gives them to the new disk.
fn check_new_seats(world: &World, before: &Roster, after: &Roster, change: &Change) {
    for cell in &after.cells {
        let old: &[MemberId] = before.cell(&cell.id).map_or(&[], |cell| &cell.wanted);
        for id in cell.wanted.iter().filter(|id| !old.contains(id)) {
            assert_eq!(after.member(id).unwrap().state, MemberState::Active, "{change:?}");
            assert!(world.seen[id].presence != Presence::Gone, "{change:?}");
        }
    }
}

/// No key moves but from a time on that lies ahead; no entry that matters goes.
fn check_schedule(world: &World, before: &Roster, after: &Roster) {
    let (wall, ahead_ns) = (world.wall().0, 60_000_000_000);
    let added: Vec<_> = after.schedule.iter().filter(|e| !before.schedule.contains(e)).collect();
    match (before.announced(), &added[..]) {
        (_, []) => {}
        // What holds was announced, for then or earlier.
        (Some(known), [entry]) if !entry.announced => {
            assert!(entry.effective >= known.effective && entry.effective.0 >= wall + ahead_ns / 2);
            let (effective, announced) = (known.effective, true);
            assert_eq!(ScheduleEntry { effective, announced, ..(*entry).clone() }, *known);
        }
        (_, [entry]) => assert!(entry.announced && entry.effective.0 >= wall + ahead_ns),
        _ => panic!("one at a time: {added:?}"),
    }
    let last = before.schedule.iter().rfind(|entry| !entry.announced);
    if let (Some(entry), Some(last)) = (added.first(), last) {
        assert!(entry.effective.0.saturating_sub(last.effective.0) >= ahead_ns, "at most one a minute");
    }
    if before.schedule == after.schedule {
        return;
    }
    let (old, new) = (Homes::new(before).unwrap(), Homes::new(after).unwrap());
    let window_ns = 3_600_000_000_000;
    for at in [wall - window_ns, wall - window_ns / 2, wall, wall + ahead_ns / 2 - 1] {
        for service in ["checkout", "search", "cart"] {
            let place = |homes: &Homes| {
                homes.place(&TenantId::anonymous(), service, 0, TimestampNs(at), TimestampNs(at))
            };
            assert_eq!(place(&old), place(&new), "{service} at {at}");
        }
    }
}

/// Everybody is there: all have an open cell that is placed, with all seats taken by distinct zones.
fn check_rest(world: &World, factor: usize) {
    let roster = world.roster();
    assert_eq!(world.notes, [] as [Note; 0]);
    assert_eq!(world.placed(), "a0 a1 a2 b0 b1 b2 c0 c1 c2");
    assert_eq!((roster.cells.len(), roster.schedule.len()), (9, 1));
    for cell in &roster.cells {
        let seats = world.seats(&cell.id.0.0);
        assert_eq!((cell.state, cell.wanted.len()), (CellState::Open, factor), "{seats}");
        assert_eq!(cell.wanted[0].instance, cell.id.0, "{seats}");
        let zones: BTreeSet<&str> = cell.wanted.iter().map(|id| &id.instance.0[..1]).collect();
        assert_eq!(zones.len(), factor, "{seats}");
        for id in &cell.wanted {
            assert_eq!(roster.member(id).unwrap().state, MemberState::Active, "{seats}");
            assert!(world.seen[id].presence == Presence::Active, "{seats}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn steps_are_safe_and_come_to_rest(factor in 1u32..4, events in prop::collection::vec(event(), 1..60)) {
        let mut run = Run::new(factor);
        for event in &events {
            run.apply(event);
        }
        run.rest();
        check_rest(&run.world, factor as usize);
        let logs: Vec<LogId> = run.world.roster().cells.iter().map(|cell| cell.log).collect();
        prop_assert_eq!(logs.iter().collect::<BTreeSet<_>>().len(), logs.len());
    }

    /// The same sight gives the same plan, whoever makes it.
    #[test]
    fn plans_are_a_function_of_what_is_seen(events in prop::collection::vec(event(), 1..40)) {
        let mut run = Run::new(3);
        for event in &events {
            run.apply(event);
        }
        let mut other = run.world.clone();
        prop_assert_eq!(run.world.plan(), other.plan());
    }
}
