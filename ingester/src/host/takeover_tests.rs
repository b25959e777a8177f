//! Disks as ingesters leave them, looked at and taken over.

use std::sync::Arc;

use hearth_cell::{Base, Life};
use hearth_common::{InstanceId, LogId};
use hearth_wal::WalError;

use super::super::load::load;
use super::*;

const CELL: CellNumber = CellNumber(1);

fn member(name: &str) -> MemberId {
    MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(u128::from(name.as_bytes()[0])) }
}

fn cell() -> CheckpointCell {
    CheckpointCell {
        number: CELL,
        cell: CellId(InstanceId(Arc::from("c"))),
        log: LogId(9),
        pledge: Pledge { term: Term(3), vote: Some(member("b")), life: Life(1), damaged: false, left: None },
        base: Base { position: Position(4), term: Term(1), membership: Membership::of([member("b")]) },
    }
}

struct Quiet;

impl hearth_wal::WalEvents for Quiet {
    fn durable(&self, _upto: hearth_wal::Lsn) {}
    fn failed(&self, _error: &WalError) {}
}

/// The folder of disk `a`, whose cell has these voters as of position 5, and entries at the positions given.
fn disk(voters: &[&str], positions: &[u64], change: impl Fn(&mut CheckpointCell)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = StateDir::open(folder.path(), member("a").disk).expect("opens");
    let mut cell = cell();
    change(&mut cell);
    let preamble = codec::checkpoint([&cell].into_iter());
    let (wal, _) = Wal::open(WalOptions::new(dir.wal_dir()), preamble, Arc::new(Quiet)).expect("opens");
    let members = Body::Members(Membership::of(voters.iter().map(|name| member(name))));
    let others = positions.iter().map(|at| (*at, Body::Begin));
    for (at, body) in [(5, members)].into_iter().chain(others) {
        let (head, body) = codec::entry(CELL, Position(at), &Entry { term: Term(2), body });
        wal.append(&head, body).expect("taken");
    }
    wal.sync_and_close().expect("written");
    folder
}

fn look(folder: &Path, gone: &[&str], write: bool) -> CellOnDisk {
    let is_gone = |member: &MemberId| gone.contains(&&*member.instance.0);
    take_over(folder, is_gone, write).expect("read").cells.remove(0)
}

fn loaded(folder: &Path) -> LoadedCell {
    let dir = StateDir::open_existing(folder).expect("opens");
    let (_wal, replay) =
        Wal::open(WalOptions::new(dir.wal_dir()), Vec::new(), Arc::new(Quiet)).expect("opens");
    load(dir.disk, replay).cells.remove(&CELL).expect("the cell")
}

#[test]
fn a_cell_of_two_is_taken_over_whole() {
    let folder = disk(&["a", "b"], &[6, 7], |_| {});
    let found = look(folder.path(), &["b"], false);
    assert_eq!((found.released, found.end), (Position(4), Position(7)));
    assert_eq!(found.verdict, Verdict::TakeOver(vec![]));
    assert!(!loaded(folder.path()).is_alone(member("a").disk), "looking changes nothing");
    look(folder.path(), &["b"], true);
    let after = loaded(folder.path());
    assert!(after.is_alone(member("a").disk));
    assert_eq!(after.end(), (Position(8), Term(4)), "a term of its own");
    let (saved, slots) = after.into_parts();
    assert_eq!((saved.pledge.term, saved.pledge.vote), (Term(4), Some(member("a"))));
    assert_eq!(slots.len(), 4);
    assert_eq!(look(folder.path(), &["b"], true).verdict, Verdict::Alone, "once");
    assert_eq!(StateDir::open_existing(folder.path()).expect("opens").damage(), None);
}

#[test]
fn a_cell_is_left_alone_while_it_can_help_itself() {
    let verdict = |voters: &[&str], gone: &[&str]| {
        let folder = disk(voters, &[], |_| {});
        let verdict = look(folder.path(), gone, true).verdict;
        let untouched = loaded(folder.path()).end().0 == Position(5);
        (verdict, untouched)
    };
    assert_eq!(verdict(&["a"], &["b"]), (Verdict::Alone, true));
    assert_eq!(verdict(&["a", "b"], &["c"]), (Verdict::HasQuorum, true));
    assert_eq!(verdict(&["a", "b", "c"], &["c"]), (Verdict::HasQuorum, true));
    assert_eq!(verdict(&["b", "c"], &["b", "c"]), (Verdict::NoMember, true));
    let remain = Verdict::OthersRemain(vec![member("a"), member("b")]);
    assert_eq!(verdict(&["a", "b", "c", "d", "e"], &["c", "d", "e"]), (remain, true));
}

#[test]
fn what_may_be_missing_is_said_and_marks_answers() {
    let folder = disk(&["a", "b", "c"], &[6], |_| {});
    let Verdict::TakeOver(lacks) = look(folder.path(), &["b", "c"], true).verdict else {
        panic!("not taken")
    };
    assert!(lacks[0].contains("2 of its 3"), "{lacks:?}");
    let damage = StateDir::open_existing(folder.path()).expect("opens").damage().expect("reported");
    assert!(damage.contains("cell c was taken over") && damage.contains("2 of its 3"), "{damage}");
}

/// Places 6 and 7 were damaged: what lies behind them was acknowledged, and is nowhere else now.
#[test]
fn what_lies_behind_a_gap_is_kept() {
    let folder = disk(&["a", "b"], &[8, 9], |_| {});
    let Verdict::TakeOver(lacks) = look(folder.path(), &["b"], true).verdict else { panic!("not taken") };
    assert!(lacks[0].contains("damaged"), "{lacks:?}");
    let after = loaded(folder.path());
    assert_eq!((after.lost(), after.end().0), (2, Position(10)));
    assert!(after.is_alone(member("a").disk));
}

#[test]
fn who_let_go_of_its_log_takes_nothing_over() {
    let left = |at: u64| {
        move |cell: &mut CheckpointCell| {
            cell.pledge.left = Some(Mark { term: Term(2), position: Position(at) });
        }
    };
    let folder = disk(&["a", "b"], &[6], left(9));
    assert_eq!(look(folder.path(), &["b"], true).verdict, Verdict::NoMember);
    let folder = disk(&["a", "b"], &[6], left(6));
    assert_eq!(look(folder.path(), &["b"], true).verdict, Verdict::TakeOver(vec![]), "it has it again");
}

#[test]
fn a_folder_of_nobody_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = take_over(folder.path(), |_| true, false).expect_err("refused");
    assert!(error.to_string().contains("disk-id"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0, "nothing is made");
}
