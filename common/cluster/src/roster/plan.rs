//! What should change in the roster, given who is seen (design: replication B2, B7). Pure: the same arguments give the same
//! plan, so it does not matter which process makes it; put-if-absent picks one.
//!
//! A plan is one small step. Take it, and plan again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_common::{CellId, InstanceId, LogId, MemberId, TimestampNs};
use hearth_ring::ServiceShards;

use super::change::Change;
use super::seats::{Seating, Step, zones};
use super::shards::shards;
use super::sight::{Note, PlanOptions, Presence, Seen, Sight};
use super::types::{Cell, CellState, Member, MemberState, Roster, ScheduleEntry};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The next step, for [`super::apply`] and [`super::RosterStore::propose`]. Empty: the roster is as it should be.
    pub changes: Vec<Change>,
    /// For people.
    pub notes: Vec<Note>,
}

/// Decides the next step. `random` gives the ids of new logs.
pub fn plan(
    roster: Option<&Roster>,
    sight: &Sight<'_>,
    options: &PlanOptions,
    random: &mut dyn FnMut() -> u128,
) -> Plan {
    let mut planner = Planner::new(sight, options, random);
    let change = match roster {
        None => planner.begin(),
        Some(roster) => planner.next(roster),
    };
    planner.notes.sort();
    planner.notes.dedup();
    Plan { changes: change.into_iter().collect(), notes: planner.notes }
}

struct Planner<'a> {
    sight: &'a Sight<'a>,
    options: &'a PlanOptions,
    random: &'a mut dyn FnMut() -> u128,
    /// All that are alive but for names with two lives, by id.
    alive: BTreeMap<MemberId, &'a Seen>,
    /// The same, for questions.
    alive_ids: BTreeSet<MemberId>,
    /// Names with two lives.
    doubled: BTreeSet<InstanceId>,
    notes: Vec<Note>,
}

impl<'a> Planner<'a> {
    fn new(sight: &'a Sight<'a>, options: &'a PlanOptions, random: &'a mut dyn FnMut() -> u128) -> Self {
        let mut alive: BTreeMap<MemberId, &Seen> = BTreeMap::new();
        for seen in sight.seen.iter().filter(|seen| seen.presence != Presence::Gone) {
            alive.insert(seen.member.clone(), seen);
        }
        let mut instances = BTreeSet::new();
        let doubled: BTreeSet<InstanceId> =
            alive.keys().map(|id| &id.instance).filter(|i| !instances.insert(*i)).cloned().collect();
        alive.retain(|id, _| !doubled.contains(&id.instance));
        let notes = doubled.iter().cloned().map(Note::TwoLives).collect();
        let alive_ids = alive.keys().cloned().collect();
        Self { sight, options, random, alive, alive_ids, doubled, notes }
    }

    /// Version 1: a cell for everybody there, once nobody comes or goes any more.
    fn begin(&mut self) -> Option<Change> {
        let joined = self.sight.wall;
        let members: Vec<Member> = self
            .alive
            .values()
            .filter(|seen| seen.presence != Presence::Leaving)
            .map(|seen| member(seen, joined))
            .collect();
        let (factor, zones) = (self.options.factor, zones(&members));
        if members.len() < (factor.max(1)) as usize {
            self.notes.push(Note::WaitingForMembers { seen: members.len(), zones, factor });
            return None;
        }
        let independent = zones >= factor as usize;
        if !independent {
            self.notes.push(Note::ZonesNotIndependent { zones, factor });
        }
        let settle = if independent { self.options.settle } else { self.options.settle_without_zones };
        let last = self.sight.seen.iter().map(|seen| seen.since).max().unwrap_or_default();
        if self.sight.now.saturating_sub(last.max(self.sight.watching_since)) < settle {
            self.notes.push(Note::WaitingToSettle);
            return None;
        }
        let mut seating = Seating::empty(&members, &self.alive_ids, factor);
        let mut cells = Vec::new();
        for home in &members {
            let founders = seating.new_cell(&home.id)?;
            seating.take(&founders);
            let (id, log) = (CellId(home.id.instance.clone()), LogId((self.random)()));
            cells.push(Cell { id, log, wanted: founders.clone(), founders, state: CellState::Open });
        }
        let entry = ScheduleEntry {
            shuffle_size: self.options.shuffle_size,
            shuffle_sizes: self.options.shuffle_sizes.clone(),
            ..ScheduleEntry::new(TimestampNs(i64::MIN), cells.iter().map(|cell| cell.id.clone()).collect())
        };
        Some(Change::Begin(Box::new(Roster {
            version: 1,
            nonce: 0,
            parent: 0,
            cluster_id: self.options.cluster_id.clone(),
            factor,
            members,
            cells,
            schedule: vec![entry],
            losses: Vec::new(),
        })))
    }

    fn next(&mut self, roster: &Roster) -> Option<Change> {
        if roster.factor != self.options.factor {
            let (settings, roster) = (self.options.factor, roster.factor);
            self.notes.push(Note::FactorDiffers { settings, roster });
        }
        let (zones, factor) = (zones(&roster.members), roster.factor);
        if zones < factor as usize {
            self.notes.push(Note::ZonesNotIndependent { zones, factor });
        }
        let alive = self.alive_ids.clone();
        let seating = Seating::of(roster, &alive);
        self.arrivals(roster)
            .or_else(|| self.deaths(roster))
            .or_else(|| self.cells(roster, &seating))
            .or_else(|| self.seats(roster, &seating))
            .or_else(|| self.trim(roster))
            .or_else(|| self.place(roster))
            .or_else(|| self.drained(roster))
            .or_else(|| left(roster))
            .or_else(|| forget(roster))
    }

    /// Who came, came back, asks to leave, or has another disk or zone than before.
    fn arrivals(&self, roster: &Roster) -> Option<Change> {
        let blind = self.blind(roster);
        self.alive.values().find_map(|seen| {
            let known = roster.member(&seen.member);
            let leaves = seen.presence == Presence::Leaving;
            if known.is_none() && leaves {
                return None;
            }
            if let Some(old) = roster.members.iter().find(|old| succeeded(old, &seen.member, roster)) {
                return (!leaves).then(|| Change::ReplaceDisk {
                    old: old.id.clone(),
                    new: member(seen, self.sight.wall),
                });
            }
            let Some(known) = known else {
                return Some(Change::AddMember(member(seen, self.sight.wall)));
            };
            if known.zone != seen.zone {
                return Some(Change::SetZone { member: known.id.clone(), zone: seen.zone.clone() });
            }
            let state = match (leaves, known.state) {
                (true, MemberState::Left) => MemberState::Left,
                (true, _) => MemberState::Leaving,
                (false, _) => MemberState::Active,
            };
            // A member that only the store hears of would declare itself alive, and the others it dead, again and again.
            let unheard = blind.is_some() && known.state == MemberState::Dead && !leaves;
            (known.state != state && !unheard).then(|| Change::SetState { member: known.id.clone(), state })
        })
    }

    /// Who is away too long.
    fn deaths(&mut self, roster: &Roster) -> Option<Change> {
        if let Some(note) = self.blind(roster) {
            self.notes.push(note);
            return None;
        }
        let away = roster
            .members
            .iter()
            .filter(|m| m.state == MemberState::Active && !self.alive.contains_key(&m.id));
        let leaving = roster
            .members
            .iter()
            .filter(|m| m.state == MemberState::Leaving && !self.alive.contains_key(&m.id));
        let dead = away.chain(leaving).find(|member| {
            !self.doubled.contains(&member.id.instance)
                && self.sight.now.saturating_sub(self.away_since(&member.id)) >= self.options.replace_after
        })?;
        Some(Change::SetState { member: dead.id.clone(), state: MemberState::Dead })
    }

    /// Who sees fewer than half of those that take part is likely the one that is cut off, and knows nothing of the others.
    fn blind(&self, roster: &Roster) -> Option<Note> {
        let active = || roster.members.iter().filter(|m| m.state == MemberState::Active);
        let (members, alive) =
            (active().count(), active().filter(|m| self.alive.contains_key(&m.id)).count());
        (alive * 2 < members).then_some(Note::Blind { alive, members })
    }

    fn away_since(&self, id: &MemberId) -> Duration {
        let seen = self.sight.seen.iter().find(|seen| seen.member == *id && seen.presence == Presence::Gone);
        seen.map_or(self.sight.watching_since, |seen| seen.since)
    }

    /// Each active member has an open cell; each that leaves has none.
    fn cells(&mut self, roster: &Roster, seating: &Seating<'_>) -> Option<Change> {
        for member in &roster.members {
            let id = CellId(member.id.instance.clone());
            let cell = roster.cell(&id);
            match (member.state, cell.map(|cell| cell.state)) {
                (MemberState::Active, None | Some(CellState::Drained)) => {
                    if let Some(begin) = self.begin_log(&member.id, None, seating) {
                        return Some(begin);
                    }
                }
                (MemberState::Active, Some(_)) if cell.is_some_and(|c| is_lost(c, &member.id)) => {
                    let text = format!(
                        "the disk of {} was replaced, and no other member kept the log of its cell",
                        member.id.instance
                    );
                    if let Some(begin) = self.begin_log(&member.id, Some(text), seating) {
                        return Some(begin);
                    }
                }
                (MemberState::Active, Some(CellState::Lingering)) => {
                    return Some(Change::SetCellState { cell: id, state: CellState::Open });
                }
                (MemberState::Leaving | MemberState::Left, Some(CellState::Open))
                    if !has_active(roster, &member.id.instance) =>
                {
                    return Some(Change::SetCellState { cell: id, state: CellState::Lingering });
                }
                _ => {}
            }
        }
        None
    }

    fn begin_log(&mut self, home: &MemberId, lost: Option<String>, seating: &Seating<'_>) -> Option<Change> {
        let founders = seating.new_cell(home).filter(|_| self.alive.contains_key(home));
        let Some(founders) = founders else {
            self.notes.push(Note::NoFounders(home.instance.clone()));
            return None;
        };
        Some(Change::BeginLog {
            cell: CellId(home.instance.clone()),
            log: LogId((self.random)()),
            founders,
            lost: lost.map(|text| (text, self.sight.wall)),
        })
    }

    /// The first cell whose seats should change.
    fn seats(&mut self, roster: &Roster, seating: &Seating<'_>) -> Option<Change> {
        for cell in roster.cells.iter().filter(|cell| cell.state != CellState::Drained) {
            let name = cell.id.0.clone();
            match seating.next(cell) {
                Step::None => {}
                Step::Change(wanted) => return Some(Change::SetWanted { cell: cell.id.clone(), wanted }),
                Step::NoSpare(member) => {
                    self.notes.push(Note::NoSpare { cell: name, member: member.map(|id| id.instance) });
                }
                Step::SharedZone => self.notes.push(Note::SharedZone(name)),
            }
        }
        None
    }

    /// Entries go that are superseded for longer than any profile is taken.
    fn trim(&self, roster: &Roster) -> Option<Change> {
        let keep = self.options.ingestion_window + self.options.window_margin;
        let horizon = minus(self.sight.wall, keep);
        let mut holds = roster.schedule.iter().rev().filter(|entry| !entry.announced);
        let first = holds.find(|entry| entry.effective <= horizon)?.effective;
        (roster.schedule[0].effective < first).then_some(Change::TrimSchedule { first })
    }

    /// Keys are placed on the open cells: that is announced, and holds from a time on that is set once all cells know of it.
    /// One entry at a time: the next when the last one holds.
    fn place(&mut self, roster: &Roster) -> Option<Change> {
        let open = roster.cells.iter().filter(|cell| cell.state == CellState::Open);
        let cells: Vec<CellId> = open.map(|cell| cell.id.clone()).collect();
        let announced = roster.announced();
        let last = roster.schedule.iter().rfind(|entry| !entry.announced)?;
        if cells.is_empty() {
            self.notes.push(Note::NobodyToPlaceOn);
            return announced.map(|_| Change::Withdraw);
        }
        if last.effective > self.sight.wall {
            return None;
        }
        let shards = self.shards(announced.unwrap_or(last), cells.len());
        let (shuffle_size, shuffle_sizes) = (self.options.shuffle_size, self.options.shuffle_sizes.clone());
        let wall = self.sight.knowledge.map_or(self.sight.wall, |known| known.wall.max(self.sight.wall));
        let effective = plus(wall, self.options.entry_ahead);
        let next = ScheduleEntry { effective, announced: true, cells, shuffle_size, shuffle_sizes, shards };
        // An entry may be in force for long: that it holds from another time on is no reason for another one.
        let same = |other: &ScheduleEntry| {
            let (effective, announced) = (other.effective, other.announced);
            ScheduleEntry { effective, announced, ..next.clone() } == *other
        };
        match announced {
            Some(announced) if same(announced) => self.hold(roster, announced, next),
            _ if same(last) => announced.map(|_| Change::Withdraw),
            _ => Some(Change::AddEntry(next)),
        }
    }

    /// What is announced holds from the time that was said, or a later one: profiles that were taken before a leader knew may be
    /// dated ahead of its clock. If that time comes near, it is announced anew, as leaders hold back what it may move.
    fn hold(&mut self, roster: &Roster, announced: &ScheduleEntry, anew: ScheduleEntry) -> Option<Change> {
        let least = |wall: TimestampNs| plus(wall, self.options.entry_ahead / 2);
        match self.sight.knowledge.map(|known| (&known.version, known.wall.max(self.sight.wall))) {
            Some((Ok(version), wall)) if *version >= roster.version => {
                return Some(Change::SetEffective(announced.effective.max(least(wall))));
            }
            Some((Err(cell), _)) => self.notes.push(Note::PlacementWaits(cell.0.clone())),
            Some((Ok(_), _)) | None => {}
        }
        (announced.effective < least(self.sight.wall)).then_some(Change::AddEntry(anew))
    }

    /// The shards that services should have from now on.
    fn shards(&self, last: &ScheduleEntry, cells: usize) -> ServiceShards {
        let rests = self.sight.wall < plus(last.effective, self.options.shards_every);
        match self.sight.volumes {
            _ if self.options.shard_bytes_per_second == 0 => ServiceShards::new(),
            Some(volumes) if !rests => {
                shards(&last.shards, volumes, cells, self.options.shard_bytes_per_second)
            }
            _ => last.shards.clone(),
        }
    }

    /// A cell is drained when no entry places records on it any more and its leader says that all are published.
    fn drained(&self, roster: &Roster) -> Option<Change> {
        let placed: BTreeSet<&CellId> = roster.schedule.iter().flat_map(|entry| &entry.cells).collect();
        let drained = roster.cells.iter().find(|cell| {
            cell.state == CellState::Lingering
                && !placed.contains(&cell.id)
                && self.sight.drained.contains(&cell.log)
        })?;
        Some(Change::SetCellState { cell: drained.id.clone(), state: CellState::Drained })
    }
}

fn member(seen: &Seen, joined: TimestampNs) -> Member {
    let (id, zone) = (seen.member.clone(), seen.zone.clone());
    Member { id, zone, state: MemberState::Active, joined }
}

fn has_active(roster: &Roster, instance: &InstanceId) -> bool {
    roster.members.iter().any(|m| m.id.instance == *instance && m.state == MemberState::Active)
}

/// Whether `new` takes the place of a member with another disk: one that takes part, or is dead and still has seats.
fn succeeded(old: &Member, new: &MemberId, roster: &Roster) -> bool {
    let seated = || {
        let kept = roster.cells.iter().filter(|cell| cell.state != CellState::Drained);
        kept.into_iter().any(|cell| cell.wanted.len() > 1 && cell.wanted.contains(&old.id))
    };
    old.id.instance == new.instance
        && old.id != *new
        && match old.state {
            MemberState::Active | MemberState::Leaving => true,
            MemberState::Dead => seated(),
            MemberState::Left => false,
        }
}

/// Whether the only member that kept a cell was its home with a disk that is replaced.
fn is_lost(cell: &Cell, home: &MemberId) -> bool {
    cell.state != CellState::Drained
        && matches!(&cell.wanted[..], [only] if only.instance == home.instance && only != home)
}

/// Who leaves has left when it keeps nothing any more.
fn left(roster: &Roster) -> Option<Change> {
    let keeps = |id: &MemberId| {
        let mut kept = roster.cells.iter().filter(|cell| cell.state != CellState::Drained);
        kept.any(|cell| cell.wanted.contains(id) || cell.id.0 == id.instance)
    };
    let left = roster.members.iter().find(|m| m.state == MemberState::Leaving && !keeps(&m.id))?;
    Some(Change::SetState { member: left.id.clone(), state: MemberState::Left })
}

/// Drained cells whose home is gone, then members that are gone and that no cell names.
fn forget(roster: &Roster) -> Option<Change> {
    let home_stays = |cell: &Cell| {
        let mut homes = roster.members.iter().filter(|m| m.id.instance == cell.id.0);
        homes.any(|m| matches!(m.state, MemberState::Active | MemberState::Leaving))
    };
    let cell = roster.cells.iter().find(|cell| cell.state == CellState::Drained && !home_stays(cell));
    if let Some(cell) = cell {
        return Some(Change::ForgetCell(cell.id.clone()));
    }
    let named = |id: &MemberId| {
        roster.cells.iter().any(|cell| cell.wanted.contains(id) || cell.founders.contains(id))
    };
    let gone = |m: &&Member| matches!(m.state, MemberState::Left | MemberState::Dead) && !named(&m.id);
    Some(Change::ForgetMember(roster.members.iter().find(gone)?.id.clone()))
}

fn plus(at: TimestampNs, by: Duration) -> TimestampNs {
    TimestampNs(at.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
}

fn minus(at: TimestampNs, by: Duration) -> TimestampNs {
    TimestampNs(at.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
}
