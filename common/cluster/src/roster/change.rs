//! The steps by which a roster changes. Pure.

use hearth_common::{CellId, Classify, ErrorKind, LogId, MemberId, TimestampNs};

use super::types::{Cell, CellState, InvalidRoster, Loss, Member, MemberState, Roster, ScheduleEntry};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The first roster.
    Begin(Box<Roster>),
    /// A member that was not known. It has no cell yet.
    AddMember(Member),
    /// A member asked to go, went, came back, or is dead.
    SetState {
        /// Who.
        member: MemberId,
        /// What it is now.
        state: MemberState,
    },
    /// A member runs in another zone than before.
    SetZone {
        /// Who.
        member: MemberId,
        /// Where.
        zone: String,
    },
    /// An instance is back with another disk: the old member is dead, the new one takes its places, but for cells that
    /// the old one kept alone.
    ReplaceDisk {
        /// The member that is gone with its disk.
        old: MemberId,
        /// The one that takes its places.
        new: Member,
    },
    /// A cell begins a log: its first one, or another one because the one before is drained or lost.
    BeginLog {
        /// The cell.
        cell: CellId,
        /// The new log.
        log: LogId,
        /// Who begins it; also who should keep it.
        founders: Vec<MemberId>,
        /// Why the log before may be given up, and when. `None` only if there was none, or it is drained.
        lost: Option<(String, TimestampNs)>,
    },
    /// Other members should keep a cell.
    SetWanted {
        /// The cell.
        cell: CellId,
        /// Who should keep it, home first.
        wanted: Vec<MemberId>,
    },
    /// Records are placed on a cell, or no more, or none is left in it.
    SetCellState {
        /// The cell.
        cell: CellId,
        /// What it is now.
        state: CellState,
    },
    /// Keys are placed differently from a time on, or that is announced. Takes the place of one that was only announced.
    AddEntry(ScheduleEntry),
    /// What is announced is not to come.
    Withdraw,
    /// What is announced holds from a time on.
    SetEffective(TimestampNs),
    /// Entries that are superseded for longer than any profile is taken go; those that remain begin with this one.
    TrimSchedule {
        /// Effective time of the first entry that stays.
        first: TimestampNs,
    },
    /// A drained cell that nothing names goes.
    ForgetCell(CellId),
    /// A member that is gone and that nothing names goes.
    ForgetMember(MemberId),
    /// An operator takes answers as exact although a log was lost.
    AcceptLoss(LogId),
}

impl std::fmt::Display for Change {
    /// In a few words, for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begin(roster) => {
                let (members, cells) = (roster.members.len(), roster.cells.len());
                write!(f, "begun with {members} members and {cells} cells at factor {}", roster.factor)
            }
            Self::AddMember(member) => write!(f, "{} joins", member.id.instance),
            Self::SetState { member, state } => write!(f, "{} is {state:?}", member.instance),
            Self::SetZone { member, zone } => write!(f, "{} is in zone '{zone}'", member.instance),
            Self::ReplaceDisk { new, .. } => write!(f, "{} is back with another disk", new.id.instance),
            Self::BeginLog { cell, lost, .. } => {
                write!(f, "cell {} begins a log", cell.0)?;
                lost.as_ref().map_or(Ok(()), |(why, _)| write!(f, ", the one before is lost: {why}"))
            }
            Self::SetWanted { cell, wanted } => {
                let names: Vec<&str> = wanted.iter().map(|member| &*member.instance.0).collect();
                write!(f, "cell {} is to be kept by {}", cell.0, names.join(", "))
            }
            Self::SetCellState { cell, state } => write!(f, "cell {} is {state:?}", cell.0),
            Self::AddEntry(entry) if entry.announced => {
                write!(f, "keys are to lie on {} cells", entry.cells.len())
            }
            Self::Withdraw => write!(f, "keys are to lie where they lie"),
            Self::SetEffective(time) => write!(f, "from {} ns on keys lie as announced", time.0),
            Self::AddEntry(entry) => {
                write!(f, "from {} ns on keys lie on {} cells", entry.effective.0, entry.cells.len())
            }
            Self::TrimSchedule { first } => write!(f, "the schedule begins at {} ns", first.0),
            Self::ForgetCell(cell) => write!(f, "cell {} is forgotten", cell.0),
            Self::ForgetMember(member) => write!(f, "{} is forgotten", member.instance),
            Self::AcceptLoss(log) => write!(f, "the loss of log {log} is accepted"),
        }
    }
}

/// Why a step cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// The step is not one from this roster.
    #[error("the change does not fit the roster: {0}")]
    Misfit(String),
    /// The roster after all steps contradicts itself.
    #[error("the roster after the change is not valid")]
    Result(#[from] InvalidRoster),
}

impl Classify for InvalidChange {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Aborted
    }
}

/// The version after `base`, with all steps taken in their order. Its nonce is given when it is proposed.
pub fn apply(base: Option<&Roster>, changes: &[Change]) -> Result<Roster, InvalidChange> {
    let mut next = match (base, changes) {
        (None, [Change::Begin(first)]) => {
            let first = Roster { version: 1, nonce: 0, parent: 0, ..(**first).clone() };
            first.check()?;
            return Ok(first);
        }
        (None, _) => return misfit("there is no roster, so it must begin with one"),
        (Some(base), _) => Roster { version: base.version + 1, nonce: 0, parent: base.nonce, ..base.clone() },
    };
    for change in changes {
        step(&mut next, change)?;
    }
    next.check()?;
    Ok(next)
}

fn step(roster: &mut Roster, change: &Change) -> Result<(), InvalidChange> {
    match change {
        Change::Begin(_) => return misfit("there is a roster already"),
        Change::AddMember(member) => add_member(roster, member.clone())?,
        Change::SetState { member, state } => member_mut(roster, member)?.state = *state,
        Change::SetZone { member, zone } => member_mut(roster, member)?.zone.clone_from(zone),
        Change::ReplaceDisk { old, new } => replace_disk(roster, old, new)?,
        Change::BeginLog { cell, log, founders, lost } => begin_log(roster, cell, *log, founders, lost)?,
        Change::SetWanted { cell, wanted } => cell_mut(roster, cell)?.wanted.clone_from(wanted),
        Change::SetCellState { cell, state } => cell_mut(roster, cell)?.state = *state,
        Change::AddEntry(entry) => {
            roster.schedule.retain(|known| !known.announced);
            roster.schedule.push(entry.clone());
        }
        Change::Withdraw => match roster.announced() {
            Some(_) => _ = roster.schedule.pop(),
            None => return misfit("nothing is announced"),
        },
        Change::SetEffective(time) => match roster.schedule.last_mut() {
            Some(last) if last.announced && *time >= last.effective => {
                (last.effective, last.announced) = (*time, false);
            }
            _ => return misfit("nothing is announced, or for later"),
        },
        Change::TrimSchedule { first } => roster.schedule.retain(|entry| entry.effective >= *first),
        Change::ForgetCell(id) => {
            cell_mut(roster, id)?;
            roster.cells.retain(|cell| cell.id != *id);
        }
        Change::ForgetMember(id) => {
            member_mut(roster, id)?;
            roster.members.retain(|member| member.id != *id);
        }
        Change::AcceptLoss(log) => {
            let Some(loss) = roster.losses.iter_mut().find(|loss| loss.log == *log) else {
                return misfit(format!("no loss of log {log} is recorded"));
            };
            loss.accepted = true;
        }
    }
    Ok(())
}

fn add_member(roster: &mut Roster, member: Member) -> Result<(), InvalidChange> {
    match roster.members.binary_search_by(|known| known.id.cmp(&member.id)) {
        Ok(_) => misfit(format!("{} is a member already", member.id.instance)),
        Err(at) => {
            roster.members.insert(at, member);
            Ok(())
        }
    }
}

fn replace_disk(roster: &mut Roster, old: &MemberId, new: &Member) -> Result<(), InvalidChange> {
    if old.instance != new.id.instance || *old == new.id {
        return misfit("only a disk of the same instance can be replaced");
    }
    member_mut(roster, old)?.state = MemberState::Dead;
    // The instance may be back with a disk that it had before.
    match member_mut(roster, &new.id) {
        Ok(known) => *known = Member { joined: known.joined, ..new.clone() },
        Err(_) => add_member(roster, new.clone())?,
    }
    for cell in &mut roster.cells {
        let alone = cell.wanted.len() == 1;
        if cell.state == CellState::Drained || alone {
            continue;
        }
        if cell.wanted.contains(&new.id) {
            cell.wanted.retain(|member| member != old);
        }
        for member in cell.wanted.iter_mut().filter(|member| *member == old) {
            *member = new.id.clone();
        }
    }
    Ok(())
}

fn begin_log(
    roster: &mut Roster,
    id: &CellId,
    log: LogId,
    founders: &[MemberId],
    lost: &Option<(String, TimestampNs)>,
) -> Result<(), InvalidChange> {
    let new = Cell {
        id: id.clone(),
        log,
        founders: founders.to_vec(),
        wanted: founders.to_vec(),
        state: CellState::Open,
    };
    match roster.cells.binary_search_by(|cell| cell.id.cmp(id)) {
        Err(at) => roster.cells.insert(at, new),
        Ok(at) => {
            let before = &roster.cells[at];
            match (before.state, lost) {
                (CellState::Drained, None) => {}
                (CellState::Drained, Some(_)) => return misfit("a drained log has nothing to lose"),
                (_, None) => return misfit(format!("cell {} has a log that is not drained", id.0)),
                (_, Some((text, since))) => roster.losses.push(Loss {
                    cell: id.clone(),
                    log: before.log,
                    since: *since,
                    text: text.clone(),
                    accepted: false,
                }),
            }
            roster.cells[at] = new;
        }
    }
    Ok(())
}

fn member_mut<'a>(roster: &'a mut Roster, id: &MemberId) -> Result<&'a mut Member, InvalidChange> {
    match roster.members.binary_search_by(|member| member.id.cmp(id)) {
        Ok(at) => Ok(&mut roster.members[at]),
        Err(_) => misfit(format!("{} with disk {} is no member", id.instance, id.disk)),
    }
}

fn cell_mut<'a>(roster: &'a mut Roster, id: &CellId) -> Result<&'a mut Cell, InvalidChange> {
    match roster.cells.binary_search_by(|cell| cell.id.cmp(id)) {
        Ok(at) => Ok(&mut roster.cells[at]),
        Err(_) => misfit(format!("there is no cell {}", id.0)),
    }
}

fn misfit<T>(why: impl Into<String>) -> Result<T, InvalidChange> {
    Err(InvalidChange::Misfit(why.into()))
}
