//! Properties of the conversions.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_block::{Deletion, Hidden};
use hearth_cell::{
    AppendHead, AppendReply, Base, Body, Entry, Life, Membership, Message, Outcome as Reply, Probe,
    RememberHead, SnapshotHead, Term, VoteKind, VoteReply, VoteRequest,
};
use hearth_cluster::PushOutcome;
use hearth_cluster::roster::Volume;
use hearth_common::{
    BlockId, ErrorKind, Incarnation, LogId, Position, Rid, TenantId, TimeRange, TimestampNs,
};
use hearth_model::question::Stats;
use hearth_model::spans::SpanFilter;
use hearth_model::{Answer, MatchKind, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use hearth_query::fetch::{FetchRequest, JournalAnswer};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

use super::frame::Received;
use super::*;
use crate::api::{
    CellStatus, Fetch, FetchOutcome, Fetched, MemberStatus, NotReady, Outcome, PeerStatus, Push, Pushed,
    Retry, RetryWhy,
};
use crate::frame::{Frame, Hello};

fn instance() -> impl Strategy<Value = InstanceId> {
    "[a-z0-9.-]{1,9}".prop_map(|text| InstanceId(Arc::from(text)))
}

fn some_member() -> impl Strategy<Value = MemberId> {
    (instance(), any::<u128>()).prop_map(|(instance, disk)| MemberId { instance, disk: DiskId(disk) })
}

fn some_journal() -> impl Strategy<Value = JournalId> {
    (instance(), any::<u32>(), some_member(), any::<u64>()).prop_map(|(cell, epoch, owner, life)| JournalId {
        cell: CellId(cell),
        epoch,
        owner,
        incarnation: Incarnation(life),
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let kind = prop::sample::select(vec![
        MatchKind::Equal,
        MatchKind::NotEqual,
        MatchKind::Regex,
        MatchKind::NotRegex,
    ]);
    let value = prop_oneof!["[a-z]{0,4}", "(a|b)+\\.", "\\PC{0,4}".prop_map(|text| regex_free(&text))];
    vec(("\\PC{0,5}", kind, value), 0..4)
        .prop_map(|parts| Selector::from_parts(parts).expect("valid patterns"))
}

/// Text that is a pattern of itself.
fn regex_free(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

fn range() -> impl Strategy<Value = TimeRange> {
    (any::<i64>(), any::<i64>())
        .prop_map(|(start, end)| TimeRange { start: TimestampNs(start), end: TimestampNs(end) })
}

fn spans() -> impl Strategy<Value = SpanFilter> {
    let sorted = |mut ids: Vec<u64>| {
        ids.sort_unstable();
        SpanFilter::Spans(ids)
    };
    let sorted_traces = |mut ids: Vec<[u8; 16]>| {
        ids.sort_unstable();
        SpanFilter::Traces(ids)
    };
    prop_oneof![
        vec(any::<u64>(), 0..4).prop_map(sorted),
        vec(any::<[u8; 16]>(), 0..4).prop_map(sorted_traces)
    ]
}

prop_compose! {
    fn query()(
        (name, sample_type, unit) in ("\\PC{0,5}", "[a-z:]{0,5}", "[a-z]{0,5}"),
        selector in selector(),
        range in range(),
        call_site in vec("\\PC{0,6}", 0..4),
        spans in option::of(spans()),
        profile_ids in vec(any::<u128>(), 0..3),
        native in any::<bool>(),
    ) -> ProfileQuery {
        let profile_type = ProfileType::new(&name, &sample_type, &unit, &unit, "");
        ProfileQuery { profile_type, selector, range, call_site, spans, profile_ids, native }
    }
}

fn question() -> impl Strategy<Value = Question> {
    let grid = (any::<i32>(), 0..1_000_000i64, 1..1_000_000i64).prop_map(|(first, length, step_ms)| {
        StepGrid { first_ms: first.into(), last_ms: i64::from(first) + length, step_ms }
    });
    let matchers = || vec(selector(), 0..3);
    prop_oneof![
        query().prop_map(Question::Tree),
        query().prop_map(Question::Pprof),
        (query(), vec("[a-z]{0,4}", 0..3), grid).prop_map(|(query, group_by, grid)| Question::Points {
            query,
            group_by,
            grid
        }),
        option::of(range()).prop_map(|range| Question::ProfileTypes { range }),
        (option::of(range()), matchers())
            .prop_map(|(range, matchers)| Question::LabelNames { range, matchers }),
        ("\\PC{0,5}", option::of(range()), matchers())
            .prop_map(|(name, range, matchers)| Question::LabelValues { name, range, matchers }),
        (option::of(range()), matchers(), vec("[a-z]{0,4}", 0..3))
            .prop_map(|(range, matchers, label_names)| Question::Series { range, matchers, label_names }),
        Just(Question::Stats),
        (range(), selector()).prop_map(|(range, selector)| Question::Estimate { range, selector }),
        (range(), selector()).prop_map(|(range, selector)| Question::Tally { range, selector }),
    ]
}

prop_compose! {
    fn deletion()(
        id: u128,
        selector in selector(),
        range in range(),
        upto in vec((some_journal(), any::<u64>()), 0..3),
        blocks in vec(any::<u128>(), 0..3),
    ) -> Deletion {
        Deletion {
            id,
            hidden: Arc::new(Hidden { selector, range }),
            upto: upto.into_iter().map(|(journal, at)| (journal, Position(at))).collect(),
            blocks: blocks.into_iter().map(BlockId).collect(),
        }
    }
}

prop_compose! {
    fn fetch()(
        question in question(),
        coverage in vec((some_journal(), any::<u64>()), 0..4),
        drained in vec(("[a-z/]{1,9}", any::<u64>()), 0..3),
        (root_version, roster_version, millis) in (any::<u64>(), any::<u64>(), 0..100_000u64),
        cells in vec(instance().prop_map(CellId), 0..3),
        deletions in vec(deletion(), 0..3),
    ) -> Fetch {
        let request = FetchRequest {
            tenant: TenantId::parse("team-a").expect("valid"),
            question,
            root_version,
            coverage: coverage.into_iter().map(|(journal, at)| (journal, Position(at))).collect(),
            drained: drained.into_iter().map(|(owner, life)| (owner, Incarnation(life))).collect::<BTreeMap<_, _>>(),
            deletions,
            timeout: Duration::from_millis(millis),
        };
        Fetch { request, roster_version, cells }
    }
}

fn not_ready() -> impl Strategy<Value = NotReady> {
    (option::of(instance().prop_map(CellId)), "\\PC{0,9}", option::of(instance()))
        .prop_map(|(cell, why, leader)| NotReady { cell, why, leader })
}

fn fetched() -> impl Strategy<Value = Fetched> {
    let journal = (some_journal(), any::<[u64; 3]>()).prop_map(|(journal, [after, end, rows_end])| {
        let (after, rows_end) = (Position(after), Position(rows_end));
        JournalAnswer { journal, after, visible_end: Position(end), rows_end }
    });
    let answered = (
        vec(journal, 0..3),
        option::of("\\PC{0,9}"),
        vec(instance().prop_map(CellId), 0..3),
        vec(not_ready(), 0..3),
        any::<i64>(),
    );
    let outcome = prop_oneof![
        answered.prop_map(|(journals, inexact, cells, elsewhere, time)| {
            let oldest_newest = Some((TimestampNs(time), TimestampNs(time)));
            let partial = Answer::Stats(Stats { oldest_newest });
            FetchOutcome::Answered { journals, partial, inexact, cells, elsewhere }
        }),
        not_ready().prop_map(FetchOutcome::NotReady),
        (some_journal(), any::<u64>())
            .prop_map(|(journal, at)| FetchOutcome::NeedFresh { journal, retained_after: Position(at) }),
    ];
    (outcome, any::<u64>()).prop_map(|(outcome, roster_version)| Fetched { outcome, roster_version })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    use RetryWhy::{Full, NotLeader, NotMember, NotReady, OldRoster, Stopping};
    let why = prop::sample::select(vec![NotLeader, NotMember, NotReady, Full, Stopping, OldRoster]);
    let kind = prop::sample::select(vec![ErrorKind::ResourceExhausted, ErrorKind::InvalidArgument]);
    let reason = prop::sample::select(vec!["series_limit", "quarantined"]);
    prop_oneof![
        Just(Outcome::Done(PushOutcome::Acked)),
        (kind, reason, "\\PC{0,9}").prop_map(|(kind, reason, message)| Outcome::Done(PushOutcome::Refused {
            kind,
            reason,
            message
        })),
        (why, "\\PC{0,9}", option::of(instance())).prop_map(|(why, message, leader)| Outcome::Retry(Retry {
            why,
            message,
            leader
        })),
    ]
}

fn membership() -> impl Strategy<Value = Membership> {
    (vec(some_member(), 0..4), vec(some_member(), 0..3)).prop_map(|(voters, learners)| Membership {
        voters: voters.into_iter().collect(),
        learners: learners.into_iter().collect(),
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let body = prop_oneof![
        Just(Body::Begin),
        (any::<u128>(), vec(any::<u8>(), 0..50))
            .prop_map(|(rid, bytes)| Body::Record { rid: Rid(rid), bytes: bytes.into() }),
        membership().prop_map(Body::Members),
    ];
    (any::<u64>(), body).prop_map(|(term, body)| Entry { term: Term(term), body })
}

fn message() -> impl Strategy<Value = Message> {
    let place = || (0..u64::MAX / 2).prop_map(Position);
    let term = || any::<u64>().prop_map(Term);
    let kind = || prop::sample::select(vec![VoteKind::Pre, VoteKind::Real]);
    let head = (term(), place(), term(), place(), place(), any::<u64>(), any::<u64>()).prop_map(
        |(term, prev, prev_term, commit, released, probe, life)| AppendHead {
            term,
            prev,
            prev_term,
            commit,
            released,
            probe: Probe(probe),
            life: Life(life),
        },
    );
    let reply = prop_oneof![
        place().prop_map(|durable_end| Reply::Held { durable_end }),
        (place(), place(), term()).prop_map(|(prev, hint, hint_term)| Reply::Missing {
            prev,
            hint,
            hint_term
        }),
        Just(Reply::Stale),
    ];
    prop_oneof![
        (head, vec(entry(), 0..5)).prop_map(|(head, entries)| Message::Append { head, entries }),
        (term(), any::<u64>(), any::<u64>(), any::<bool>(), reply).prop_map(
            |(term, life, probe, damaged, outcome)| {
                let (life, probe) = (Life(life), Probe(probe));
                Message::AppendReply(AppendReply { term, life, probe, damaged, outcome })
            }
        ),
        (term(), any::<u64>(), place(), vec((any::<u128>(), place()), 0..5)).prop_map(
            |(term, life, upto, rids)| Message::Remember {
                head: RememberHead { term, life: Life(life), upto },
                rids: rids.into_iter().map(|(rid, position)| (Rid(rid), position)).collect(),
            }
        ),
        (term(), kind(), any::<bool>(), place(), term()).prop_map(|(term, kind, forced, last, last_term)| {
            Message::Vote(VoteRequest { term, kind, forced, last, last_term })
        }),
        (term(), kind(), any::<bool>()).prop_map(|(term, kind, granted)| Message::VoteReply(VoteReply {
            term,
            kind,
            granted
        })),
        (term(), place(), term(), membership(), vec((any::<u128>(), place()), 0..5)).prop_map(
            |(term, position, base_term, membership, rids)| Message::Snapshot {
                head: SnapshotHead { term, base: Base { position, term: base_term, membership } },
                rids: rids.into_iter().map(|(rid, position)| (Rid(rid), position)).collect(),
            }
        ),
        term().prop_map(|term| Message::TimeoutNow { term }),
        (term(), any::<u64>(), term()).prop_map(|(term, at, at_term)| Message::Removed {
            term,
            at: Position(at),
            at_term
        }),
    ]
}

fn some_frame() -> impl Strategy<Value = Frame> {
    (instance(), any::<u128>(), any::<u64>(), message()).prop_map(|(cell, log, roster_version, message)| {
        Frame { cell: CellId(cell), log: LogId(log), roster_version, message }
    })
}

/// Through bytes, as on the wire.
fn over_the_wire<T: prost::Message + Default>(message: &T) -> T {
    T::decode(Bytes::from(message.encode_to_vec())).expect("just encoded")
}

/// What arrives of damaged bytes is converted or refused.
fn damaged<T: prost::Message + Default, U>(
    message: &T,
    flips: &[(prop::sample::Index, u8)],
    convert: impl Fn(T) -> Result<U, Malformed>,
) {
    let mut bytes = message.encode_to_vec();
    if bytes.is_empty() {
        return;
    }
    for (at, mask) in flips {
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
    }
    for end in 0..=bytes.len() {
        if let Ok(message) = T::decode(&bytes[..end]) {
            drop(convert(message));
        }
    }
}

fn flips() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
}

proptest! {
    #[test]
    fn questions_keep_everything(question in question(), flips in flips()) {
        let wire = question::encode(&question);
        prop_assert_eq!(&question::decode(over_the_wire(&wire)).expect("valid"), &question);
        damaged(&wire, &flips, question::decode);
    }

    #[test]
    fn fetches_keep_everything(fetch in fetch(), flips in flips()) {
        let wire = ingester::fetch_to(&fetch);
        let again = ingester::fetch(over_the_wire(&wire)).expect("valid");
        prop_assert_eq!(format!("{again:?}"), format!("{fetch:?}"));
        damaged(&wire, &flips, ingester::fetch);
    }

    #[test]
    fn answers_keep_everything(fetched in fetched(), flips in flips()) {
        let shown = format!("{fetched:?}");
        let answer = ingester::encode_answer(&fetched.outcome).expect("small");
        let wire = ingester::fetched_to(fetched, answer);
        let again = ingester::fetched(over_the_wire(&wire)).expect("valid");
        prop_assert_eq!(format!("{again:?}"), shown);
        damaged(&wire, &flips, ingester::fetched);
    }

    #[test]
    fn pushes_keep_everything(
        cell in instance(),
        roster_version in any::<u64>(),
        records in vec(vec(any::<u8>(), 0..20), 0..5),
        outcomes in vec(outcome(), 0..5),
        flips in flips(),
    ) {
        let records = records.into_iter().map(Bytes::from).collect();
        let push = Push { cell: CellId(cell), roster_version, records };
        let wire = ingester::push_to(push.clone());
        prop_assert_eq!(ingester::push(over_the_wire(&wire)).expect("valid"), push);
        damaged(&wire, &flips, ingester::push);

        let count = outcomes.len();
        let pushed = Pushed { outcomes, roster_version };
        let wire = ingester::pushed_to(pushed.clone());
        prop_assert_eq!(&ingester::pushed(over_the_wire(&wire), count).expect("valid"), &pushed);
        prop_assert!(ingester::pushed(wire.clone(), count + 1).is_err());
        damaged(&wire, &flips, |wire| ingester::pushed(wire, count));
    }

    #[test]
    fn frames_keep_everything(frame in some_frame(), flips in flips()) {
        let wire = frame::frame_to(frame.clone());
        let received = frame::received(over_the_wire(&wire)).expect("valid");
        prop_assert!(matches!(received, Received::Frame(again) if again == frame));
        damaged(&wire, &flips, frame::received);
    }

    #[test]
    fn hellos_keep_everything(cluster_id in "\\PC{0,9}", protocol in any::<u32>(), member in some_member()) {
        let hello = Hello { cluster_id, protocol, member };
        let received = frame::received(over_the_wire(&frame::hello_to(&hello))).expect("valid");
        prop_assert!(matches!(received, Received::Hello(again) if again == hello));
    }

    #[test]
    fn statuses_keep_everything(
        member in some_member(),
        other in some_member(),
        numbers in any::<[u64; 8]>(),
        heard in option::of(any::<u64>()),
        cells in 0..3usize,
        flips in flips(),
    ) {
        let [term, durable_end, committed, covered, released, base, matched, roster_version] = numbers;
        let peer = PeerStatus { member: other.clone(), voter: true, matched: Position(matched), last_heard_ms: heard };
        let cell = CellStatus {
            cell: CellId(member.instance.clone()),
            log: LogId(term.into()),
            role: "leader".to_owned(),
            term,
            leader: heard.map(|_| other),
            durable_end: Position(durable_end),
            committed: Position(committed),
            covered: Position(covered),
            released: Position(released),
            base: Position(base),
            peers: vec![peer],
            waits_for: "a quorum".to_owned(),
            standing: "learner".to_owned(),
            damaged: true,
        };
        let status = MemberStatus {
            cluster_id: "c".to_owned(),
            member,
            roster_version,
            state: "active".to_owned(),
            cells: vec![cell; cells],
            volumes: vec![Volume { tenant: TenantId::anonymous(), service_hash: 7, bytes_per_second: 9 }; cells],
            wall_ns: -3,
        };
        let wire = status::encode(&status);
        prop_assert_eq!(status::decode(over_the_wire(&wire)).expect("valid"), status);
        damaged(&wire, &flips, status::decode);
    }
}

#[test]
fn records_are_slices_of_the_message() {
    let record = Bytes::from(vec![7; 1000]);
    let push = Push { cell: CellId(InstanceId(Arc::from("a"))), roster_version: 1, records: vec![record] };
    let message = Bytes::from(ingester::push_to(push).encode_to_vec());
    let inside = message.as_ptr_range();
    let decoded = ingester::push(pb::PushRequest::decode(message).expect("valid")).expect("valid");
    assert!(inside.contains(&decoded.records[0].as_ptr()));
}

#[test]
fn too_many_patterns_are_refused() {
    let matcher =
        pb::Matcher { op: pb::matcher::Op::Regex.into(), name: "a".into(), value: "b".repeat(1 << 10) };
    let selector = pb::Selector { matchers: vec![matcher] };
    let question = |selectors| {
        let names = pb::LabelNamesQuestion { range: None, matchers: vec![selector.clone(); selectors] };
        pb::Question { question: Some(pb::question::Question::LabelNames(names)) }
    };
    assert!(question::decode(question(4)).is_ok());
    assert!(question::decode(question(257)).is_err());
}
