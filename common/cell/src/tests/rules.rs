//! Single rules, each on a replica or two.

use std::time::Duration;

use bytes::Bytes;
use hearth_common::{Position, Rid};
use proptest::prelude::*;

use super::member;
use crate::log::Log;
use crate::{
    Base, Body, Change, ChangeError, Effects, Entry, EntryKind, EntryMeta, Membership, Message, Options,
    Pledge, ProposeError, Proposed, Replica, Rids, Role, Saved, Send, Term, Write,
};

const NOW: Duration = Duration::from_secs(10);

fn replica(number: usize, voters: usize) -> Replica {
    let saved = Saved::first(Membership::of((0..voters).map(member)));
    Replica::new(member(number), Options::new(7), saved, NOW)
}

/// Reports everything that was handed out as durable.
fn settle(replica: &mut Replica) -> Vec<Effects> {
    let mut all = Vec::new();
    loop {
        let effects = replica.effects();
        if effects.is_empty() {
            return all;
        }
        if let Some((last, _)) = effects.writes.last() {
            replica.durable(*last);
        }
        all.push(effects);
    }
}

/// A cell of one, which leads.
fn sole_leader() -> Replica {
    let mut replica = replica(0, 1);
    settle(&mut replica);
    replica.tick(replica.wake_at());
    settle(&mut replica);
    assert_eq!((replica.role(), replica.commit()), (Role::Leader, Position(1)));
    replica
}

#[test]
fn a_sole_member_leads_and_commits_by_its_disk() {
    let mut replica = sole_leader();
    let proposed = replica.propose(Rid(1), Bytes::from_static(b"a"));
    assert_eq!(proposed, Ok(Proposed::New(Position(2))));
    let effects = replica.effects();
    assert_eq!((effects.committed, replica.commit()), (None, Position(1)));
    replica.durable(effects.writes[0].0);
    assert_eq!(replica.effects().committed, Some(Position(2)));
    assert_eq!(replica.propose(Rid(1), Bytes::new()), Ok(Proposed::Known(Position(2))));
}

#[test]
fn records_that_are_proposed_together_are_written_together() {
    let mut replica = sole_leader();
    for rid in 1..=3 {
        replica.propose(Rid(rid), Bytes::new()).expect("it leads");
    }
    let effects = replica.effects();
    let [(_, Write::Entries { first, entries })] = effects.writes.as_slice() else {
        panic!("one write, not {:?}", effects.writes)
    };
    assert_eq!((first.0, entries.len()), (2, 3));
}

#[test]
fn what_waits_for_a_quorum_is_bounded() {
    let mut replica = sole_leader();
    let record = Bytes::from(vec![0; 40 << 20]);
    assert!(replica.propose(Rid(1), record.clone()).is_ok());
    let refused = replica.propose(Rid(2), record.clone());
    assert!(matches!(refused, Err(ProposeError::Uncommitted { .. })), "{refused:?}");
    settle(&mut replica);
    assert!(replica.propose(Rid(2), record).is_ok());
}

#[test]
fn what_an_older_term_left_does_not_count_against_that_bound() {
    let old = |rid| EntryMeta { term: Term(1), kind: EntryKind::Record(Rid(rid)), bytes: 40 << 20 };
    let first = Saved::first(Membership::of([member(0)]));
    let saved = Saved {
        pledge: Pledge { term: Term(1), ..Pledge::default() },
        entries: vec![old(1), old(2)],
        ..first
    };
    let mut replica = Replica::new(member(0), Options::new(7), saved, NOW);
    settle(&mut replica);
    replica.tick(replica.wake_at());
    // Its vote is on disk, its first entry is not: nothing is committed yet.
    while replica.role() != Role::Leader {
        let effects = replica.effects();
        replica.durable(effects.writes.last().expect("a vote to write").0);
    }
    assert_eq!(replica.commit(), Position(0));
    let record = Bytes::from(vec![0; 40 << 20]);
    assert_eq!(replica.propose(Rid(3), record.clone()), Ok(Proposed::New(Position(4))));
    let refused = replica.propose(Rid(4), record.clone());
    assert!(matches!(refused, Err(ProposeError::Uncommitted { .. })), "{refused:?}");
    settle(&mut replica);
    assert_eq!((replica.commit(), replica.status().uncommitted_bytes), (Position(4), 0));
    assert!(replica.propose(Rid(4), record).is_ok());
}

#[test]
fn questions_share_a_round() {
    let mut replica = sole_leader();
    let probes = [replica.read(), replica.read()].map(|probe| probe.expect("it leads"));
    assert_eq!(probes[0], probes[1]);
    assert_eq!(replica.effects().confirmed.map(|confirmed| confirmed.probe), Some(probes[0]));
}

#[test]
fn one_change_of_members_at_a_time_and_no_unready_voter() {
    let mut replica = sole_leader();
    assert_eq!(replica.change_members(&Change::AddLearner(member(1))), Ok(Position(2)));
    let second = replica.change_members(&Change::AddLearner(member(2)));
    assert_eq!(second, Err(ChangeError::NotCommitted));
    settle(&mut replica);
    let unheard = replica.change_members(&Change::Promote(member(1)));
    assert_eq!(unheard, Err(ChangeError::Silent(member(1))));
    let lacks = Options::new(0).limits.promote_lag_entries;
    for rid in 0..u128::from(lacks) {
        replica.propose(Rid(rid), Bytes::new()).expect("it leads");
    }
    settle(&mut replica);
    let early = replica.change_members(&Change::Promote(member(1)));
    assert!(matches!(early, Err(ChangeError::Behind { .. })), "{early:?}");
    let last = replica.change_members(&Change::Remove(member(0)));
    assert!(matches!(last, Err(ChangeError::Member { .. })), "{last:?}");
}

#[test]
fn a_candidate_asks_nobody_before_its_own_vote_is_on_disk() {
    let mut replica = replica(0, 3);
    settle(&mut replica);
    replica.campaign_now();
    let effects = replica.effects();
    assert_eq!(effects.sends, []);
    replica.durable(effects.writes[0].0);
    let asked = replica.effects().sends;
    assert!(matches!(asked.as_slice(), [Send::Message { .. }, Send::Message { .. }]), "{asked:?}");
}

#[test]
fn a_damaged_member_does_not_campaign_unless_it_is_told_to() {
    let pledge = Pledge { damaged: true, ..Pledge::default() };
    let saved = Saved { pledge, ..Saved::first(Membership::of([member(0)])) };
    let leads = |accept_damage: bool| {
        let options = Options { accept_damage, ..Options::new(1) };
        let mut replica = Replica::new(member(0), options, saved.clone(), NOW);
        settle(&mut replica);
        replica.tick(replica.wake_at());
        settle(&mut replica);
        replica.role() == Role::Leader
    };
    assert_eq!((leads(false), leads(true)), (false, true));
}

#[test]
fn dropped_records_are_known_for_the_horizon() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let mut rids = Rids::new(Position(0), minutes(30), 2);
    (1..=4).for_each(|rid| rids.push(Some(Rid(rid))));
    rids.drop_upto(Position(2), minutes(0));
    rids.forget(minutes(31));
    assert_eq!(rids.find(Rid(1)), Some(Position(1)));
    rids.forget(minutes(32));
    assert_eq!((rids.find(Rid(1)), rids.find(Rid(3)), rids.len()), (None, Some(Position(3)), 2));
    rids.drop_upto(Position(4), minutes(40));
    rids.restore(vec![(Rid(9), Position(1))], minutes(40));
    assert_eq!((rids.find(Rid(3)), rids.find(Rid(9)), rids.len()), (None, Some(Position(1)), 2));
}

fn meta(term: u64) -> EntryMeta {
    EntryMeta { term: Term(term), kind: EntryKind::Begin, bytes: 1 }
}

/// What a log is to be, in the plainest form: the terms from position 1 on, and how many are dropped.
fn check_log(log: &Log, terms: &[u64], dropped: usize) {
    assert_eq!((log.end().0, log.base().position.0), (terms.len() as u64, dropped as u64));
    for (position, term) in (1..).zip(terms) {
        let known = (position >= dropped as u64).then_some(Term(*term));
        let known = if position == dropped as u64 { Some(log.base().term) } else { known };
        assert_eq!(log.term_at(Position(position)), known, "at {position}");
    }
    assert_eq!(log.term_at(Position(terms.len() as u64 + 1)), None);
    assert_eq!(log.term_at(Position(0)), Some(Term(0)));
}

proptest! {
    #[test]
    fn runs_of_terms_are_a_list_of_terms(steps in proptest::collection::vec((0..4u8, 0..20usize), 1..60)) {
        let (mut log, mut terms, mut dropped) = (Log::new(Base::default()), Vec::new(), 0);
        let mut term = 1;
        for (what, number) in steps {
            match what {
                0 => term += 1,
                1 => {
                    let from = dropped.max(terms.len().saturating_sub(number)) + 1;
                    log.truncate(Position(from as u64));
                    terms.truncate(from - 1);
                    term += 1;
                }
                2 => {
                    let upto = (dropped + number).min(terms.len());
                    log.drop_upto(Position(upto as u64));
                    dropped = upto;
                }
                _ => {
                    log.push(&meta(term));
                    terms.push(term);
                }
            }
            check_log(&log, &terms, dropped);
        }
    }

    /// A follower's hint never skips a position at which the logs agree.
    #[test]
    fn hints_find_the_last_agreement(common in 0..6usize, ours in 0..6u64, theirs in 0..6u64, gap in 1..3u64) {
        let build = |own: u64, term: u64| {
            let mut log = Log::new(Base::default());
            (0..common).for_each(|at| { log.push(&meta(1 + at as u64 / 2)); });
            (0..own).for_each(|_| { log.push(&meta(term)); });
            log
        };
        let (leader, follower) = (build(ours, 20 + gap), build(theirs, 20));
        let mut prev = leader.end();
        let mut rounds = 0;
        while follower.term_at(prev) != leader.term_at(prev) {
            let (hint, hint_term) = follower.may_agree(prev, leader.term_at(prev).expect("its own log"));
            let (agree, _) = leader.may_agree(hint, hint_term);
            prop_assert!(agree < prev && agree.0 >= common as u64);
            prev = agree;
            rounds += 1;
        }
        prop_assert_eq!(prev.0, common as u64);
        prop_assert!(rounds <= 3);
    }
}

/// Entries keep their identity through a write and a restart.
#[test]
fn a_restarted_leader_knows_its_records() {
    let mut first = sole_leader();
    first.propose(Rid(5), Bytes::from_static(b"x")).expect("it leads");
    let written: Vec<Entry> = settle(&mut first)
        .into_iter()
        .flat_map(|effects| effects.writes)
        .flat_map(|(_, write)| if let Write::Entries { entries, .. } = write { entries } else { Vec::new() })
        .collect();
    let mut saved = Saved::first(Membership::of([member(0)]));
    saved.entries = vec![meta(1)];
    saved.entries.extend(written.iter().map(Entry::meta));
    saved.pledge = first.pledge().clone();
    let mut second = Replica::new(member(0), Options::new(8), saved, NOW);
    settle(&mut second);
    second.tick(second.wake_at());
    settle(&mut second);
    assert_eq!(second.propose(Rid(5), Bytes::new()), Ok(Proposed::Known(Position(2))));
    assert_eq!(second.term(), Term(2));
}

/// Carries everything between members 0 and 2, whose entries are all beginnings of the first term; member 1 is away.
fn exchange(zero: &mut Replica, two: &mut Replica, now: Duration) {
    loop {
        let sends = [settle(zero), settle(two)].map(|all| all.into_iter().flat_map(|effects| effects.sends));
        let [from_zero, from_two] = sends.map(Iterator::collect::<Vec<Send>>);
        if from_zero.is_empty() && from_two.is_empty() {
            return;
        }
        for (sends, from, to, receiver) in [(from_zero, 0, 2, &mut *two), (from_two, 2, 0, &mut *zero)] {
            for send in sends {
                let (addressee, message) = match send {
                    Send::Message { to, message } => (to, message),
                    Send::Append { to, head, entries } => {
                        let begin = |_| Entry { term: Term(1), body: Body::Begin };
                        (to, Message::Append { head, entries: entries.iter().map(begin).collect() })
                    }
                    Send::Snapshot { .. } | Send::Remember { .. } => panic!("nothing was dropped or damaged"),
                };
                if addressee == member(to) {
                    receiver.step(&member(from), message, now);
                }
            }
        }
    }
}

/// Questions stand for heartbeats, but not for looking at the time.
#[test]
fn a_leader_that_is_asked_all_the_time_gives_up_a_hand_over_to_one_that_is_away() {
    let (mut leader, mut follower) = (replica(0, 3), replica(2, 3));
    let mut now = leader.wake_at();
    leader.tick(now);
    exchange(&mut leader, &mut follower, now);
    assert_eq!((leader.role(), leader.commit()), (Role::Leader, Position(1)));
    leader.transfer_to(&member(1)).expect("a voter");
    let refused = leader.propose(Rid(1), Bytes::new());
    assert!(matches!(refused, Err(ProposeError::HandingOver(_))), "{refused:?}");
    let timing = Options::new(7).timing;
    let until = now + timing.election_max + timing.resend;
    while now < until {
        now += timing.heartbeat / 8;
        leader.read().expect("it leads");
        exchange(&mut leader, &mut follower, now);
        if leader.wake_at() <= now {
            leader.tick(now);
        }
    }
    assert!(leader.propose(Rid(1), Bytes::new()).is_ok());
}
