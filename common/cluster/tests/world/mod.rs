//! A cluster on paper: ingesters that come and go, a planner, and the roster that it makes.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_cluster::roster::Volume;
use hearth_cluster::roster::{
    Cell, CellState, Change, Knowledge, LogId, MemberState, Note, Plan, PlanOptions, Presence, Roster, Seen,
    Sight, apply, plan,
};
use hearth_common::{CellId, DiskId, InstanceId, MemberId, TimestampNs};

/// Wall clock at the beginning.
pub const BEGIN: TimestampNs = TimestampNs(1_700_000_000_000_000_000);
/// More steps than any plan needs.
const STEPS_MAX: usize = 2_000;

pub fn instance(name: &str) -> InstanceId {
    InstanceId(Arc::from(name))
}

pub fn member(name: &str, disk: u128) -> MemberId {
    MemberId { instance: instance(name), disk: DiskId(disk) }
}

pub fn cell_id(name: &str) -> CellId {
    CellId(instance(name))
}

#[derive(Debug, Clone)]
pub struct World {
    pub options: PlanOptions,
    pub now: Duration,
    pub seen: BTreeMap<MemberId, Seen>,
    pub drained: Vec<LogId>,
    pub volumes: Option<Vec<Volume>>,
    /// A cell that does not know of the newest roster; the others do.
    pub ignorant: Option<CellId>,
    pub roster: Option<Roster>,
    /// All rosters, oldest first.
    pub history: Vec<Roster>,
    pub changes: Vec<Change>,
    pub notes: Vec<Note>,
    random: u128,
}

impl World {
    pub fn new(factor: u32) -> Self {
        Self {
            options: PlanOptions::new("test", factor, Duration::from_secs(3600)),
            now: Duration::from_secs(1000),
            seen: BTreeMap::new(),
            drained: Vec::new(),
            volumes: None,
            ignorant: None,
            roster: None,
            history: Vec::new(),
            changes: Vec::new(),
            notes: Vec::new(),
            random: 0,
        }
    }

    /// A cluster of ingesters `a1`, `b1`, `c1` …: the letter is the zone, the disk is 1. It has begun.
    pub fn begun(factor: u32, names: &[&str]) -> Self {
        let mut world = Self::new(factor);
        for name in names {
            world.see(name, 1, Presence::Active);
        }
        world.pass(60);
        world.settle();
        assert!(world.roster.is_some(), "{:?}", world.notes);
        world
    }

    pub fn wall(&self) -> TimestampNs {
        TimestampNs(BEGIN.0 + self.now.as_nanos() as i64)
    }

    /// The zone of an instance is the first letter of its name.
    pub fn see(&mut self, name: &str, disk: u128, presence: Presence) {
        let (member, zone) = (member(name, disk), name[..1].to_owned());
        let before = self.seen.get(&member);
        let alive = |presence| presence != Presence::Gone;
        let since = match before {
            Some(before) if alive(before.presence) == alive(presence) => before.since,
            _ => self.now,
        };
        self.seen.insert(member.clone(), Seen { member, zone, presence, since });
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub fn plan(&mut self) -> Plan {
        let seen: Vec<Seen> = self.seen.values().cloned().collect();
        let version = self.roster.as_ref().map_or(0, |roster| roster.version);
        let version = self.ignorant.clone().map_or(Ok(version), Err);
        let knowledge = Knowledge { version, wall: self.wall() };
        let sight = Sight {
            seen: &seen,
            watching_since: Duration::from_secs(1000),
            now: self.now,
            wall: self.wall(),
            drained: &self.drained,
            volumes: self.volumes.as_deref(),
            knowledge: Some(&knowledge),
        };
        let random = &mut self.random;
        plan(self.roster.as_ref(), &sight, &self.options, &mut || {
            *random += 1;
            *random
        })
    }

    /// One step; returns the change, if there was one.
    pub fn step(&mut self) -> Option<Change> {
        let Plan { changes, notes } = self.plan();
        self.notes = notes;
        assert!(changes.len() <= 1, "one small step: {changes:?}");
        let change = changes.into_iter().next()?;
        let mut next = apply(self.roster.as_ref(), std::slice::from_ref(&change)).unwrap();
        self.random += 1;
        next.nonce = self.random;
        next.check().unwrap();
        self.roster = Some(next.clone());
        self.history.push(next);
        self.changes.push(change.clone());
        Some(change)
    }

    /// Steps until nothing is left to do now; returns the steps.
    pub fn settle(&mut self) -> Vec<Change> {
        let steps: Vec<Change> = std::iter::from_fn(|| self.step()).take(STEPS_MAX).collect();
        assert!(steps.len() < STEPS_MAX, "does not come to rest: {:?}", &steps[STEPS_MAX - 6..]);
        steps
    }

    /// Lets minutes pass, with plans in between.
    pub fn run(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.pass(60);
            self.settle();
        }
    }

    pub fn roster(&self) -> &Roster {
        self.roster.as_ref().unwrap()
    }

    pub fn cell(&self, name: &str) -> &Cell {
        self.roster().cell(&cell_id(name)).unwrap()
    }

    /// The seats of a cell as text: `a1 b1 c1`, with the disk behind if it is not 1.
    pub fn seats(&self, name: &str) -> String {
        text(&self.cell(name).wanted)
    }

    pub fn state(&self, name: &str, disk: u128) -> Option<MemberState> {
        self.roster().member(&member(name, disk)).map(|member| member.state)
    }

    pub fn cell_state(&self, name: &str) -> Option<CellState> {
        self.roster().cell(&cell_id(name)).map(|cell| cell.state)
    }

    /// The cells of the last schedule entry.
    pub fn placed(&self) -> String {
        let cells = &self.roster().schedule.last().unwrap().cells;
        cells.iter().map(|cell| &*cell.0.0).collect::<Vec<_>>().join(" ")
    }
}

pub fn text(members: &[MemberId]) -> String {
    let one = |id: &MemberId| match id.disk.0 {
        1 => id.instance.to_string(),
        disk => format!("{}/{disk}", id.instance),
    };
    members.iter().map(one).collect::<Vec<_>>().join(" ")
}
