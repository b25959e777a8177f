//! Who should keep a cell: its home, then ring successors of the home in other zones, fewest memberships first (design:
//! replication B2). Pure.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use hearth_common::{InstanceId, MemberId};
use hearth_ring::{Ring, tokens_of};

use super::types::{Cell, CellState, Member, MemberState, Roster};

/// Who is there to take seats, and how many each has.
pub(super) struct Seating<'a> {
    members: BTreeMap<&'a MemberId, &'a Member>,
    alive: &'a BTreeSet<MemberId>,
    factor: usize,
    /// There are as many zones as seats: no two members of a cell may share one.
    zones_matter: bool,
    /// Of the active members; built when the first seat is to be given, for it is costly.
    ring: OnceCell<Ring>,
    seats: BTreeMap<MemberId, usize>,
}

/// What to do with a cell's seats.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All is as it should be.
    None,
    /// One seat changes.
    Change(Vec<MemberId>),
    /// A seat should change, and nobody can take it.
    NoSpare(Option<MemberId>),
    /// Two seats are in one zone, and nobody of another zone can take one.
    SharedZone,
}

impl<'a> Seating<'a> {
    /// The seats of a roster's cells, and those of its members that are alive.
    pub(super) fn of(roster: &'a Roster, alive: &'a BTreeSet<MemberId>) -> Self {
        let mut this = Self::empty(&roster.members, alive, roster.factor);
        for cell in roster.cells.iter().filter(|cell| cell.state != CellState::Drained) {
            this.take(&cell.wanted);
        }
        this
    }

    /// No seat is taken yet.
    pub(super) fn empty(members: &'a [Member], alive: &'a BTreeSet<MemberId>, factor: u32) -> Self {
        let factor = factor as usize;
        let zones_matter = zones(members) >= factor;
        let members = members.iter().map(|member| (&member.id, member)).collect();
        Self { members, alive, factor, zones_matter, ring: OnceCell::new(), seats: BTreeMap::new() }
    }

    /// Counts seats as taken.
    pub(super) fn take(&mut self, seats: &[MemberId]) {
        for member in seats {
            *self.seats.entry(member.clone()).or_default() += 1;
        }
    }

    fn ring(&self) -> &Ring {
        self.ring.get_or_init(|| {
            let active = self.members.values().filter(|member| member.state == MemberState::Active);
            Ring::new(&active.map(|member| member.id.instance.clone()).collect::<Vec<_>>())
        })
    }

    fn state(&self, id: &MemberId) -> Option<MemberState> {
        self.members.get(id).map(|member| member.state)
    }

    fn zone(&self, id: &MemberId) -> &str {
        self.members.get(id).map_or("", |member| &member.zone)
    }

    /// Who could take one more seat of a home's cell beside `others`.
    fn spare(&self, home: &InstanceId, others: &[MemberId]) -> Option<MemberId> {
        let token = tokens_of(home).next()?;
        let order: BTreeMap<&InstanceId, usize> =
            self.ring().successors(token).enumerate().map(|(at, instance)| (instance, at)).collect();
        let shares_zone = |id: &MemberId| others.iter().any(|other| self.zone(other) == self.zone(id));
        self.members
            .values()
            .filter(|member| member.state == MemberState::Active && self.alive.contains(&member.id))
            .map(|member| &member.id)
            .filter(|id| !others.iter().any(|other| other.instance == id.instance))
            .filter(|id| !(self.zones_matter && shares_zone(id)))
            .min_by_key(|id| {
                let seats = self.seats.get(id).copied().unwrap_or(0);
                (shares_zone(id), seats, order.get(&id.instance).copied().unwrap_or(usize::MAX))
            })
            .cloned()
    }

    /// The seats of a new cell; `None` if there are too few members that could take them.
    pub(super) fn new_cell(&self, home: &MemberId) -> Option<Vec<MemberId>> {
        let mut seats = vec![home.clone()];
        while seats.len() < self.factor {
            seats.push(self.spare(&home.instance, &seats)?);
        }
        Some(seats)
    }

    /// The next small step for a cell: at most one member comes, at most one goes.
    pub(super) fn next(&self, cell: &Cell) -> Step {
        let home = &cell.id.0;
        let own = self
            .members
            .values()
            .find(|member| member.id.instance == *home && member.state == MemberState::Active);
        if let [only] = &cell.wanted[..]
            && only.instance == *home
            && own.is_some_and(|own| own.id != *only)
        {
            // Its log is lost: it begins another one, and no seat of this one can be given to anybody.
            return Step::None;
        }
        if let Some(own) = own
            && cell.state == CellState::Open
            && self.alive.contains(&own.id)
            && cell.wanted.first() != Some(&own.id)
        {
            return Step::Change(self.home_comes(cell, &own.id));
        }
        if cell.wanted.len() > self.factor {
            return Step::Change(without(&cell.wanted, self.victim(cell, &cell.wanted, None)));
        }
        // What only one member keeps, nobody else can take over: its own return is waited for.
        let alone = cell.wanted.len() == 1;
        let gone = cell.wanted.iter().find(|id| !alone && self.must_go(cell, id));
        let mut no_spare = None;
        if let Some(gone) = gone {
            match self.spare(home, &without(&cell.wanted, gone)) {
                Some(spare) => return Step::Change(replaced(&cell.wanted, gone, spare)),
                None => no_spare = Some(Step::NoSpare(Some(gone.clone()))),
            }
        }
        if cell.wanted.len() < self.factor {
            match self.spare(home, &cell.wanted) {
                Some(spare) => return Step::Change([&cell.wanted[..], &[spare]].concat()),
                None => no_spare = no_spare.or(Some(Step::NoSpare(None))),
            }
        }
        no_spare.unwrap_or_else(|| self.part_zones(cell))
    }

    /// A member that shares its zone with one before it makes room for one of another zone.
    fn part_zones(&self, cell: &Cell) -> Step {
        let shared = |at: usize| {
            cell.wanted[..at].iter().any(|before| self.zone(before) == self.zone(&cell.wanted[at]))
        };
        let Some(second) = (1..cell.wanted.len()).find(|at| self.zones_matter && shared(*at)) else {
            return Step::None;
        };
        let second = &cell.wanted[second];
        match self.spare(&cell.id.0, &without(&cell.wanted, second)) {
            Some(spare) => Step::Change(replaced(&cell.wanted, second, spare)),
            None => Step::SharedZone,
        }
    }

    /// Whether somebody else should have this seat. A home that leaves keeps its own cell until that is drained.
    fn must_go(&self, cell: &Cell, id: &MemberId) -> bool {
        match self.state(id) {
            Some(MemberState::Active) => false,
            Some(MemberState::Leaving) => id.instance != cell.id.0,
            Some(MemberState::Left | MemberState::Dead) | None => true,
        }
    }

    /// The home takes the first seat of its cell.
    fn home_comes(&self, cell: &Cell, own: &MemberId) -> Vec<MemberId> {
        let others: Vec<MemberId> = cell.wanted.iter().filter(|id| *id != own).cloned().collect();
        let mut seats = vec![own.clone()];
        if others.len() >= self.factor.max(2) {
            seats.extend(without(&others, self.victim(cell, &others, Some(own))));
        } else {
            seats.extend(others);
        }
        seats
    }

    /// Whom a cell can spare best: whoever must go, is away, shares the home's zone, or else is last. Never its home.
    fn victim<'b>(&self, cell: &Cell, seats: &'b [MemberId], own: Option<&MemberId>) -> &'b MemberId {
        let rank = |(at, id): &(usize, &MemberId)| {
            let shares = own.is_some_and(|own| self.zone(own) == self.zone(id));
            let is_home = id.instance == cell.id.0 && self.state(id) == Some(MemberState::Active);
            (!is_home, self.must_go(cell, id), !self.alive.contains(id), shares, Reverse(usize::MAX - at))
        };
        seats.iter().enumerate().max_by_key(rank).map(|(_, id)| id).expect("a cell has seats: checked")
    }
}

/// In how many zones members run, or ran that are dead and were not succeeded by another disk.
pub(super) fn zones(members: &[Member]) -> usize {
    let active: BTreeSet<&InstanceId> =
        members.iter().filter(|m| m.state == MemberState::Active).map(|m| &m.id.instance).collect();
    let counts = |member: &&Member| match member.state {
        MemberState::Active | MemberState::Leaving => true,
        MemberState::Dead => !active.contains(&member.id.instance),
        MemberState::Left => false,
    };
    members.iter().filter(counts).map(|member| &member.zone).collect::<BTreeSet<_>>().len()
}

fn without(seats: &[MemberId], one: &MemberId) -> Vec<MemberId> {
    seats.iter().filter(|id| *id != one).cloned().collect()
}

fn replaced(seats: &[MemberId], old: &MemberId, new: MemberId) -> Vec<MemberId> {
    seats.iter().map(|id| if id == old { new.clone() } else { id.clone() }).collect()
}
