//! When the other members of a cell are gone for good: an entry at the end of this disk's log makes it the only voter.
//!
//! For a person who has decided so, on the folder of a process that is stopped. Raft has no such step: whoever takes a cell
//! over while another member still lives splits it in two. Owns what is asked before. Must not know the roster: the leader that comes
//! of it brings the members that the roster wants, as any leader does.

use std::collections::BTreeMap;
use std::path::Path;

use hearth_cell::{Body, Entry, Mark, Membership, Pledge, Term};
use hearth_common::{CellId, DiskId, MemberId, Position};
use hearth_wal::{Wal, WalOptions};
use tokio::sync::watch;

use super::codec::{self, CellNumber, CheckpointCell};
use super::load::{Loaded, LoadedCell, read};
use super::{Durable, Reports, WalTimes};
use crate::options::StartError;
use crate::state_dir::StateDir;

/// What a disk holds of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellOnDisk {
    /// The cell.
    pub cell: CellId,
    /// Its voters, as far as this disk knows.
    pub voters: Vec<MemberId>,
    /// Members that get the log and count for nothing yet.
    pub learners: Vec<MemberId>,
    /// Everything up to here is in the object store.
    pub released: Position,
    /// The last entry.
    pub end: Position,
    /// Records behind `released`: they are nowhere but on the disks of members.
    pub records: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// What happens to it.
    pub verdict: Verdict,
}

/// Whether a cell is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This disk is the only voter already.
    Alone,
    /// A majority of the voters is not among those that are gone.
    HasQuorum,
    /// So is no majority, but this disk is not the only one: name all but one of them.
    OthersRemain(Vec<MemberId>),
    /// This disk does not belong to the cell.
    NoMember,
    /// This disk becomes the only voter. With what may be missing, for people.
    TakeOver(Vec<String>),
}

/// What a data folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLook {
    /// The disk.
    pub disk: DiskId,
    /// Its cells, by name.
    pub cells: Vec<CellOnDisk>,
    /// What of its log is damaged, for people.
    pub damage: Vec<String>,
}

/// Looks at an ingester's data folder, and with `write` takes cells over. `gone` says which members are gone for good. The process
/// that owns the folder must be stopped: the caller holds its lock. Blocks for about a second a GB.
pub fn take_over(
    data_dir: &Path,
    gone: impl Fn(&MemberId) -> bool,
    write: bool,
) -> Result<DiskLook, StartError> {
    let dir = StateDir::open_existing(data_dir)?;
    let (reports, _durable) = watch::channel(Durable::default());
    // Entries of takeovers are few and small: they may use the room that is kept free.
    let options = WalOptions { reserve_bytes: 0, ..WalOptions::new(dir.wal_dir()) };
    let (wal, replay) =
        Wal::open(options, Vec::new(), std::sync::Arc::new(Reports(reports, WalTimes::default())))?;
    let loaded = read(replay);
    let mut cells = Vec::new();
    let mut taken = BTreeMap::new();
    for (number, found) in &loaded.cells {
        let me = found.membership().members().find(|member| member.disk == dir.disk).cloned();
        let verdict = judge(found, me.as_ref(), &gone);
        if let (Verdict::TakeOver(lacks), Some(me)) = (&verdict, me) {
            taken.insert(*number, (me, lacks.clone()));
        }
        cells.push(about(found, verdict));
    }
    if write && !taken.is_empty() {
        // Answers are marked before anything can be answered.
        for (number, (_, lacks)) in &taken {
            for line in lacks {
                let line = format!("cell {} was taken over: {line}", loaded.cells[number].cell.0);
                dir.report_damage(&line).map_err(|source| dir.failed("write to", source))?;
            }
        }
        write_down(&wal, &loaded, &taken)?;
        wal.sync_and_close()?;
    }
    cells.sort_by(|a, b| a.cell.cmp(&b.cell));
    Ok(DiskLook { disk: dir.disk, cells, damage: loaded.damage })
}

fn about(found: &LoadedCell, verdict: Verdict) -> CellOnDisk {
    let Membership { voters, learners } = found.membership().clone();
    CellOnDisk {
        cell: found.cell.clone(),
        voters: voters.into_iter().collect(),
        learners: learners.into_iter().collect(),
        released: found.base.position,
        end: found.end().0,
        records: found.records(),
        bytes: found.bytes(),
        verdict,
    }
}

fn judge(found: &LoadedCell, me: Option<&MemberId>, gone: &impl Fn(&MemberId) -> bool) -> Verdict {
    let membership = found.membership();
    let (position, term) = found.end();
    // Who let go of its log, and does not have it again, knows nothing that counts.
    let left = found.pledge.left.is_some_and(|left| Mark { term, position } < left);
    let Some(me) = me.filter(|_| !left) else { return Verdict::NoMember };
    if membership.voters.len() == 1 && membership.voters.contains(me) {
        return Verdict::Alone;
    }
    let there: Vec<MemberId> = membership.voters.iter().filter(|voter| !gone(voter)).cloned().collect();
    if there.len() >= membership.quorum() {
        return Verdict::HasQuorum;
    }
    if there.iter().any(|voter| voter != me) {
        return Verdict::OthersRemain(there);
    }
    let mut lacks = Vec::new();
    let others = membership.voters.iter().filter(|voter| *voter != me).count();
    if others >= membership.quorum() {
        lacks.push(format!(
            "records that only {} of its {} members had acknowledged are lost",
            membership.quorum(),
            membership.voters.len()
        ));
    }
    if found.pledge.damaged || found.missing() > 0 {
        lacks.push("its log is damaged, and what is missing was on the others' disks".to_owned());
    }
    Verdict::TakeOver(lacks)
}

type Taken = BTreeMap<CellNumber, (MemberId, Vec<String>)>;

/// A term of this member's own, in which it voted for itself, and one entry of it: nobody else can have written that place in
/// that term.
fn write_down(wal: &Wal, loaded: &Loaded, taken: &Taken) -> Result<(), StartError> {
    let mut checkpoint: BTreeMap<CellNumber, CheckpointCell> = BTreeMap::new();
    let mut entries = Vec::new();
    for (number, found) in &loaded.cells {
        let mut pledge = found.pledge.clone();
        if let Some((me, _)) = taken.get(number) {
            let (end, end_term) = found.end();
            let term = Term(pledge.term.max(end_term).0 + 1);
            pledge = Pledge { term, vote: Some(me.clone()), ..pledge };
            let body = Body::Members(Membership::of([me.clone()]));
            entries.push((*number, Position(end.0 + 1), Entry { term, body }));
        }
        let (cell, log, base) = (found.cell.clone(), found.log, found.base.clone());
        checkpoint.insert(*number, CheckpointCell { number: *number, cell, log, pledge, base });
    }
    // The new segment begins with the pledges.
    wal.set_preamble(codec::checkpoint(checkpoint.values()))?;
    for (number, position, entry) in entries {
        let (head, body) = codec::entry(number, position, &entry);
        wal.append_admitted(&head, body)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;
