//! What comes back from a log with overwritten, dropped, damaged and missing entries.

use std::sync::Arc;

use super::codec::CheckpointCell;
use super::*;
use hearth_cell::Life;
use hearth_common::{DiskId, InstanceId, MemberId};

fn member(name: &str) -> MemberId {
    MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(1) }
}

fn checkpoint(position: u64, voters: &[&str]) -> CheckpointCell {
    let membership = Membership::of(voters.iter().map(|name| member(name)));
    CheckpointCell {
        number: CellNumber(3),
        cell: CellId(InstanceId(Arc::from("c"))),
        log: LogId(9),
        pledge: Pledge { term: Term(2), vote: None, life: Life(1), damaged: false, left: None },
        base: Base { position: Position(position), term: Term(1), membership },
    }
}

/// A log of one segment after the other; each line is an item.
#[derive(Default)]
struct Log(Vec<Result<Replayed, Damage>>, u64);

impl Log {
    fn segment(mut self, checkpoint: &CheckpointCell) -> Self {
        self.1 += 1;
        let preamble = codec::checkpoint([checkpoint].into_iter()).into();
        self.0.push(Ok(Replayed::Segment { segment: SegmentNo(self.1), preamble }));
        self
    }

    fn bytes(mut self, bytes: Vec<u8>) -> Self {
        let location = Location { segment: SegmentNo(self.1), offset: self.0.len() as u64, bytes: 0 };
        self.0.push(Ok(Replayed::Entry { location, bytes: bytes.into() }));
        self
    }

    fn begin(self, position: u64, term: u64) -> Self {
        let entry = Entry { term: Term(term), body: Body::Begin };
        let (head, _) = codec::entry(CellNumber(3), Position(position), &entry);
        self.bytes(head)
    }

    fn damage(mut self) -> Self {
        let kind = DamageKind::Payload { lsn: 1 };
        self.0.push(Err(Damage { segment: SegmentNo(self.1), offset: 0, bytes_skipped: 0, kind }));
        self
    }

    /// (base, terms behind it, damaged), what is lost, and lines of damage.
    fn check(self, expect: (u64, &[u64], bool), lost: u64, damage: usize) -> Loaded {
        let mut loaded = load(DiskId(1), self.0.into_iter());
        let cell = loaded.cells.remove(&CellNumber(3)).expect("the cell");
        assert_eq!((cell.lost(), loaded.damage.len()), (lost, damage));
        let (saved, slots) = cell.into_parts();
        let terms: Vec<u64> = saved.entries.iter().map(|entry| entry.term.0).collect();
        assert_eq!((saved.base.position.0, &terms[..], saved.pledge.damaged), expect);
        assert_eq!(slots.len(), terms.len());
        loaded
    }
}

#[test]
fn later_entries_supersede_earlier_ones() {
    let log = Log::default().segment(&checkpoint(0, &["a", "b", "c"]));
    log.begin(1, 1).begin(2, 1).begin(3, 1).begin(2, 2).check((0, &[1, 2], false), 0, 0);
}

#[test]
fn a_checkpoint_is_what_is_known_when_its_segment_begins() {
    let log = Log::default().segment(&checkpoint(0, &["a", "b", "c"])).begin(1, 1).begin(2, 1);
    let log = log.segment(&checkpoint(1, &["a", "b", "c"])).begin(3, 2);
    let loaded = log.check((1, &[1, 2], false), 0, 0);
    assert_eq!(loaded.segments.removable(|_| Position(1)), None, "segment 1 holds place 2");
    assert_eq!(loaded.segments.removable(|_| Position(9)), Some(SegmentNo(1)), "the newest one stays");
}

/// Segment 1 held places 1 to 4 and was removed; segment 2 began when only place 1 was dropped.
#[test]
fn what_lies_before_the_first_segment_is_no_gap_once_the_base_is_behind_it() {
    for voters in [&["a"][..], &["a", "b", "c"]] {
        let base = checkpoint(4, voters).base;
        let log = Log::default().segment(&checkpoint(1, voters)).begin(5, 1).begin(6, 1);
        let log = log.bytes(codec::base(CellNumber(3), &base, false)).begin(7, 1);
        log.check((4, &[1, 1, 1], false), 0, 0);
    }
}

#[test]
fn a_base_that_resets_supersedes_everything() {
    let mut base = checkpoint(7, &["a", "b", "c"]).base;
    base.term = Term(4);
    let log = Log::default().segment(&checkpoint(0, &["a", "b", "c"])).begin(1, 1).begin(2, 1);
    log.bytes(codec::base(CellNumber(3), &base, true)).begin(8, 4).check((7, &[4], false), 0, 0);
}

#[test]
fn behind_a_gap_the_others_have_to_help() {
    let log = Log::default().segment(&checkpoint(0, &["a", "b", "c"])).begin(1, 1).damage();
    log.begin(3, 1).check((0, &[1], true), 0, 1);
}

#[test]
fn a_cell_of_one_keeps_what_is_behind_a_gap() {
    let log = Log::default().segment(&checkpoint(0, &["a"])).begin(1, 1).damage();
    log.begin(4, 1).begin(5, 1).check((0, &[1, 1, 1, 1, 1], true), 2, 1);
}

/// The learner cannot lead, so nobody would ever bring back what is missing.
#[test]
fn the_only_voter_keeps_what_is_behind_a_gap_while_another_learns() {
    let mut members = checkpoint(0, &["a"]);
    members.base.membership.learners.insert(MemberId { disk: DiskId(2), ..member("b") });
    let log = || Log::default().segment(&members).begin(1, 1).damage().begin(3, 1);
    log().check((0, &[1, 1, 1], true), 1, 1);
    let learner = load(DiskId(2), log().0.into_iter());
    assert_eq!(learner.cells[&CellNumber(3)].end().0, Position(1), "to the learner the voter sends it");
}

#[test]
fn damage_at_the_end_is_damage_of_every_cell() {
    Log::default().segment(&checkpoint(0, &["a", "b"])).begin(1, 1).damage().check((0, &[1], true), 0, 1);
}

/// The damaged segment was the first, so nothing before it names the cell; what is missing lies behind the base that the next
/// one knows.
#[test]
fn damage_before_a_cell_is_named_is_damage_of_it_too() {
    let log = Log::default().damage().segment(&checkpoint(4, &["a", "b", "c"]));
    log.check((4, &[], true), 0, 1);
}

#[test]
fn a_member_that_may_have_forgotten_a_promise_says_so() {
    let whole = |log: Log| Log([log.0, vec![Err(gone())]].concat(), log.1);
    fn gone() -> Damage {
        Damage { segment: SegmentNo(9), offset: 0, bytes_skipped: 0, kind: DamageKind::Header }
    }
    let members = checkpoint(0, &["a", "b", "c"]);
    let log = whole(Log::default().segment(&members).begin(1, 1));
    assert!(load(DiskId(1), log.0.clone().into_iter()).forgotten);
    let log = log.segment(&members).begin(2, 1);
    assert!(!load(DiskId(1), log.0.into_iter()).forgotten, "a later checkpoint says everything anew");
}

#[test]
fn unknown_entries_and_preambles_are_said() {
    let log = Log::default().segment(&checkpoint(0, &["a"])).bytes(vec![99, 3, 0]).bytes(vec![3, 7, 0]);
    log.begin(1, 1).check((0, &[1], false), 0, 2);
}
