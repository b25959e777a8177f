//! The roster as values, and what makes one valid. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hearth_common::{CellId, Classify, ErrorKind, InstanceId, LogId, MemberId, TenantId, TimestampNs};
use hearth_ring::{Schedule, ScheduleError, ServiceShards};

/// The format of rosters that this code writes.
pub const ROSTER_FORMAT: u32 = 1;
/// Most members that a roster may list, those that left and are still named included.
pub(crate) const MEMBERS_MAX: usize = 10_000;
/// Most entries of the schedule.
pub(crate) const SCHEDULE_MAX: usize = 4_096;
/// Most losses on record.
pub(crate) const LOSSES_MAX: usize = 10_000;
/// Most members that keep one cell.
pub(crate) const FACTOR_MAX: u32 = 7;
/// Longest name of an instance, zone or cluster, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 253;

/// Whether a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It has a cell of its own and keeps others'.
    Active,
    /// It asked to go: nothing new is placed on it, others take its places.
    Leaving,
    /// It is in no cell any more.
    Left,
    /// It was away too long, or its disk was replaced; others take its places.
    Dead,
}

/// An ingester with its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The instance and its disk.
    pub id: MemberId,
    /// Where it runs: machines of one zone may fail together. May be empty.
    pub zone: String,
    /// Whether it takes part.
    pub state: MemberState,
    /// When it was added, by the clock of who did it.
    pub joined: TimestampNs,
}

/// Whether records are placed on a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellState {
    /// It is in the schedule, or will be.
    Open,
    /// Its home leaves: not in new schedule entries; it still takes what older entries place on it.
    Lingering,
    /// All its records are published and none can come. Readers need not ask it.
    Drained,
}

/// A group of members that keep one log; named by the instance that is its home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its name.
    pub id: CellId,
    /// The identity of its log.
    pub log: LogId,
    /// The members that begin the log. They never change: whoever is added later is added by the log itself. A founder
    /// begins it once, and only while it is wanted: what a disk holds of a log, be it only that this member was removed
    /// from it, must stay there as long as the cell has this log. One that forgot it and began anew could vote twice.
    pub founders: Vec<MemberId>,
    /// The members that should keep it now, home first. Its leader changes the log's membership towards this.
    pub wanted: Vec<MemberId>,
    /// Whether records are placed on it.
    pub state: CellState,
}

/// From `effective` on (profile time), records are placed on these cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleEntry {
    /// Profile time from which the entry holds; if it is only announced, it does not hold before.
    pub effective: TimestampNs,
    /// It does not hold yet, and gets its time when all cells know of it. Until then no leader takes a profile of that time or
    /// later that the entry would move: it may hold already.
    pub announced: bool,
    /// The cells, sorted.
    pub cells: Vec<CellId>,
    /// Cells that each tenant uses; 0 is all.
    pub shuffle_size: u32,
    /// Tenants with another number of cells.
    pub shuffle_sizes: BTreeMap<TenantId, u32>,
    /// How many shards services have; those not named have one.
    pub shards: ServiceShards,
}

/// A log that is gone with records that may not have been published. Answers are marked as not exact until an operator
/// accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The cell.
    pub cell: CellId,
    /// Its log that is gone.
    pub log: LogId,
    /// When it was recorded.
    pub since: TimestampNs,
    /// What happened, for people.
    pub text: String,
    /// Whether an operator has accepted it.
    pub accepted: bool,
}

/// One version of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// 1, 2, 3 …
    pub version: u64,
    /// Random: whose write this version is.
    pub nonce: u128,
    /// Nonce of the version before; 0 in version 1.
    pub parent: u128,
    /// The cluster's name, the same as in gossip.
    pub cluster_id: String,
    /// How many members should keep each cell.
    pub factor: u32,
    /// All members, sorted by id.
    pub members: Vec<Member>,
    /// All cells, sorted by id.
    pub cells: Vec<Cell>,
    /// Oldest first.
    pub schedule: Vec<ScheduleEntry>,
    /// Oldest first.
    pub losses: Vec<Loss>,
}

/// Why a roster contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoster {
    /// The schedule places nothing, or its entries are out of order.
    #[error("its schedule is not valid")]
    Schedule(#[from] ScheduleError),
    /// Anything else, in words.
    #[error("{0}")]
    Contradiction(String),
}

impl Classify for InvalidRoster {
    fn kind(&self) -> ErrorKind {
        ErrorKind::FailedPrecondition
    }
}

impl ScheduleEntry {
    /// An entry in which every tenant uses all cells and every service has one shard.
    pub fn new(effective: TimestampNs, mut cells: Vec<CellId>) -> Self {
        cells.sort();
        cells.dedup();
        Self {
            effective,
            announced: false,
            cells,
            shuffle_size: 0,
            shuffle_sizes: BTreeMap::new(),
            shards: ServiceShards::new(),
        }
    }

    fn placement(&self) -> hearth_ring::ScheduleEntry {
        let homes: Vec<InstanceId> = self.cells.iter().map(|cell| cell.0.clone()).collect();
        let mut entry = hearth_ring::ScheduleEntry::new(self.effective, &homes);
        entry.shuffle_size = self.shuffle_size;
        entry.shuffle_sizes.clone_from(&self.shuffle_sizes);
        entry.shards.clone_from(&self.shards);
        entry
    }
}

impl Roster {
    /// The pure placement of keys on cells. Building the rings takes some ms for hundreds of cells: once a version.
    pub fn placement(&self) -> Result<Schedule, ScheduleError> {
        let holds = self.schedule.iter().filter(|entry| !entry.announced);
        Schedule::new(holds.map(ScheduleEntry::placement).collect())
    }

    /// The entry that is announced and does not hold yet.
    pub fn announced(&self) -> Option<&ScheduleEntry> {
        self.schedule.last().filter(|entry| entry.announced)
    }

    /// The placement that is announced, for all time, and when it holds at the earliest; `None` if nothing is announced.
    pub fn announced_placement(&self) -> Result<Option<(TimestampNs, Schedule)>, ScheduleError> {
        let Some(entry) = self.announced() else { return Ok(None) };
        let always = ScheduleEntry { effective: TimestampNs(i64::MIN), ..entry.clone() };
        Ok(Some((entry.effective, Schedule::new(vec![always.placement()])?)))
    }

    /// A member.
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        self.members.binary_search_by(|member| member.id.cmp(id)).ok().map(|at| &self.members[at])
    }

    /// A cell.
    pub fn cell(&self, id: &CellId) -> Option<&Cell> {
        self.cells.binary_search_by(|cell| cell.id.cmp(id)).ok().map(|at| &self.cells[at])
    }

    /// The cells that a member should keep: what its process runs. Beside these it runs those that are on its disk, until
    /// their logs say that it was removed.
    pub fn cells_of(&self, id: &MemberId) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.state != CellState::Drained && cell.wanted.contains(id))
    }

    /// The cells that may hold records that are not published: those that a reader has to ask.
    pub fn cells_to_ask(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| cell.state != CellState::Drained)
    }

    /// Losses that no operator has accepted.
    pub fn open_losses(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter().filter(|loss| !loss.accepted)
    }

    /// Checks that the roster does not contradict itself. Asked before it is written and after it was read.
    pub fn check(&self) -> Result<(), InvalidRoster> {
        if self.version == 0 {
            return contradiction("version 0 does not exist");
        }
        name("cluster", &self.cluster_id, false)?;
        if self.factor == 0 || self.factor > FACTOR_MAX {
            return contradiction(format!("factor {} is not in 1 to {FACTOR_MAX}", self.factor));
        }
        if self.members.len().max(self.cells.len()) > MEMBERS_MAX
            || self.schedule.len() > SCHEDULE_MAX
            || self.losses.len() > LOSSES_MAX
        {
            return contradiction("too many members, cells, schedule entries or losses");
        }
        if !self.members.windows(2).all(|pair| pair[0].id < pair[1].id) {
            return contradiction("members are not sorted, or one is listed twice");
        }
        if !self.cells.windows(2).all(|pair| pair[0].id < pair[1].id) {
            return contradiction("cells are not sorted, or one is listed twice");
        }
        for member in &self.members {
            name("instance", &member.id.instance.0, true)?;
            name("zone", &member.zone, false)?;
        }
        let mut active = BTreeSet::new();
        for member in self.members.iter().filter(|m| m.state == MemberState::Active) {
            if !active.insert(&member.id.instance) {
                return contradiction(format!("{} is active with two disks", member.id.instance));
            }
        }
        let mut logs = BTreeSet::new();
        for cell in &self.cells {
            self.check_cell(cell)?;
            if !logs.insert(cell.log) {
                return contradiction(format!("two cells have log {}", cell.log));
            }
        }
        self.check_schedule()
    }

    fn check_cell(&self, cell: &Cell) -> Result<(), InvalidRoster> {
        name("cell", &cell.id.0.0, true)?;
        for (what, list) in [("founders", &cell.founders), ("wanted", &cell.wanted)] {
            let distinct: BTreeSet<&MemberId> = list.iter().collect();
            if list.is_empty() || distinct.len() != list.len() || list.len() > FACTOR_MAX as usize {
                return contradiction(format!("{what} of cell {} are none, too many or repeated", cell.id.0));
            }
            if let Some(unknown) = list.iter().find(|id| self.member(id).is_none()) {
                let (cell, instance) = (&cell.id.0, &unknown.instance);
                return contradiction(format!("{what} of cell {cell} name {instance}, which is no member"));
            }
        }
        Ok(())
    }

    fn check_schedule(&self) -> Result<(), InvalidRoster> {
        if self.schedule.first().is_none_or(|entry| entry.announced) {
            return Err(ScheduleError::Empty.into());
        }
        for (at, entry) in self.schedule.iter().enumerate() {
            if entry.cells.is_empty() {
                return Err(ScheduleError::NoMembers(entry.effective).into());
            }
            if entry.announced && at + 1 < self.schedule.len() {
                return contradiction("a schedule entry is announced, and another one follows it");
            }
            if at > 0 && self.schedule[at - 1].effective >= entry.effective {
                return Err(ScheduleError::Order(entry.effective).into());
            }
            if !entry.cells.windows(2).all(|pair| pair[0] < pair[1]) {
                return contradiction("cells of a schedule entry are not sorted");
            }
            if let Some(bad) = entry
                .cells
                .iter()
                .find(|id| self.cell(id).is_none_or(|cell| cell.state == CellState::Drained))
            {
                return contradiction(format!(
                    "the schedule names cell {}, which is drained or unknown",
                    bad.0
                ));
            }
        }
        Ok(())
    }
}

fn contradiction<T>(why: impl Into<String>) -> Result<T, InvalidRoster> {
    Err(InvalidRoster::Contradiction(why.into()))
}

/// Names stand in keys and in texts with `/` between parts.
fn name(what: &str, text: &str, required: bool) -> Result<(), InvalidRoster> {
    if (required && text.is_empty()) || text.len() > NAME_MAX_BYTES {
        return contradiction(format!("the {what} '{text}' is empty or longer than {NAME_MAX_BYTES} bytes"));
    }
    if text.contains('/') || text.chars().any(char::is_control) {
        return contradiction(format!(
            "the {what} '{}' has a '/' or a control character",
            text.escape_debug()
        ));
    }
    Ok(())
}
