//! Properties of the conversions.

use hearth_block::{Deletion, Hidden};
use hearth_common::{ErrorKind, Position, TimeRange};
use hearth_model::{Answer, NameTree, ProfileQuery, ProfileType, Question, Selector};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::*;

prop_compose! {
    fn some_entry()(
        (id, attempt, format) in (any::<u128>(), "[a-zA-Z0-9_-]{1,20}", any::<u16>()),
        (day, level) in (any::<i32>(), any::<u8>()),
        (min, max) in (any::<i64>(), any::<i64>()),
        (first_service, last_service) in ("\\PC{0,9}", "\\PC{0,9}"),
        types in vec("\\PC{0,9}", 0..4),
        objects in vec(("[a-z.]{1,9}", any::<u64>(), any::<u32>()), 0..5),
        counts in any::<[u64; 5]>(),
    ) -> BlockEntry {
        let object = |(name, bytes, crc32c)| ObjectEntry { name, bytes, crc32c };
        let [index_directory_offset, profiles, samples, series, units] = counts;
        BlockEntry {
            id: BlockId(id), attempt, format, day, level,
            min_time: TimestampNs(min), max_time: TimestampNs(max),
            first_service, last_service, types,
            objects: objects.into_iter().map(object).collect(),
            index_directory_offset, profiles, samples, series, units,
            sources: Vec::new(),
        }
    }
}

fn some_request(blocks: Vec<BlockEntry>, bytes_max: u64) -> BlocksRequest {
    BlocksRequest {
        tenant: TenantId::parse("t1").expect("valid"),
        question: Question::Tree(ProfileQuery {
            profile_type: ProfileType::parse("cpu:cpu:ns:cpu:ns").expect("valid"),
            selector: Selector::parse(r#"{service_name="a"}"#).expect("valid"),
            range: TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        }),
        blocks: blocks.into_iter().map(Arc::new).collect(),
        deletions: vec![Deletion {
            id: 9,
            hidden: Arc::new(Hidden { selector: Selector::default(), range: TimeRange::ALL }),
            upto: Default::default(),
            blocks: [BlockId(3), BlockId(u128::MAX)].into(),
        }],
        bytes_max,
        timeout: Duration::from_millis(1234),
    }
}

fn asker() -> InstanceId {
    InstanceId(Arc::from("querier-1"))
}

proptest! {
    #[test]
    fn a_request_arrives_as_it_was(blocks in vec(some_entry(), 1..5), bytes_max: u64) {
        let sent = some_request(blocks, bytes_max);
        let wire = request_to(&sent, "c", &asker()).encode_to_vec();
        let wire = pb::BlocksRequest::decode(&*wire).expect("decodes");
        prop_assert_eq!((&*wire.cluster_id, wire.protocol, &*wire.asker), ("c", PROTOCOL, "querier-1"));
        let got = request(wire).expect("valid");
        prop_assert_eq!((&got.blocks, got.bytes_max, got.timeout), (&sent.blocks, bytes_max, sent.timeout));
        prop_assert_eq!((&got.question, &got.tenant), (&sent.question, &sent.tenant));
    }

    #[test]
    fn damaged_messages_are_survived(
        blocks in vec(some_entry(), 1..3), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut wire = request_to(&some_request(blocks, 7), "c", &asker()).encode_to_vec();
        let at = at.index(wire.len());
        wire[at] = byte;
        if let Ok(decoded) = pb::BlocksRequest::decode(&*wire) {
            // Refused, or something that may go into a path.
            if let Ok(request) = request(decoded) {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                prop_assert!(request.blocks.iter().all(|block| block.attempt.bytes().all(plain)));
            }
        }
        let mut answer = answered(&[1, 2]).encode_to_vec();
        let at = at % answer.len();
        answer[at] = byte;
        if let Ok(decoded) = pb::BlocksResponse::decode(&*answer) {
            let _ = response(decoded, &[1, 2]);
        }
    }
}

fn answered(blocks: &[u128]) -> pb::BlocksResponse {
    let mut tree = NameTree::new();
    tree.add_stack(&["main", "work"], 5);
    answer_to(&BlocksAnswer { partial: Answer::Tree(tree), fetched_bytes: 77, wire_bytes: 0 }, blocks)
}

#[test]
fn an_answer_is_of_the_blocks_that_were_asked_for_or_none() {
    let answer = response(answered(&[3, 1]), &[3, 1]).expect("decodes").expect("an answer");
    let Answer::Tree(tree) = &answer.partial else { panic!("{answer:?}") };
    assert_eq!((tree.checked_total(), answer.fetched_bytes, answer.wire_bytes > 0), (Ok(5), 77, true));
    for other in [&[1, 3][..], &[3], &[3, 1, 1], &[]] {
        let error = response(answered(other), &[3, 1]).expect_err("other blocks");
        assert!(error.to_string().contains("other blocks"), "{error}");
    }
}

#[test]
fn every_refusal_keeps_its_reason() {
    use hearth_common::Classify;
    let all = [
        (RefusalWhy::Busy, ErrorKind::Unavailable),
        (RefusalWhy::Stranger, ErrorKind::FailedPrecondition),
        (RefusalWhy::Bytes, ErrorKind::ResourceExhausted),
        (RefusalWhy::Overflow, ErrorKind::OutOfRange),
        (RefusalWhy::Unreadable, ErrorKind::Unavailable),
        (RefusalWhy::Failed, ErrorKind::Internal),
    ];
    for (why, kind) in all {
        let refusal = Refusal::new(why, "so it is");
        assert_eq!(refusal.kind(), kind);
        assert_eq!(
            response(refusal_to(refusal.clone()), &[]).expect("decodes").expect_err("refused"),
            refusal
        );
    }
    let mut tree = NameTree::new();
    tree.add_stack(&["a"], i64::MAX);
    tree.add_stack(&["b"], i64::MAX);
    let overflow =
        answer_to(&BlocksAnswer { partial: Answer::Tree(tree), fetched_bytes: 0, wire_bytes: 0 }, &[1]);
    let refused = response(overflow, &[1]).expect("decodes").expect_err("refused");
    assert_eq!(refused.why, RefusalWhy::Overflow);
}

#[test]
fn what_may_not_be_in_a_request_is_refused() {
    let entry = || BlockEntry { sources: Vec::new(), ..block() };
    let refused = |change: &dyn Fn(&mut pb::BlocksRequest)| {
        let mut wire = request_to(&some_request(vec![entry()], 7), "c", &asker());
        change(&mut wire);
        request(wire).expect_err("refused").to_string()
    };
    assert!(refused(&|r| r.blocks.clear()).contains("0 blocks"));
    assert!(refused(&|r| r.blocks = vec![r.blocks[0].clone(); BLOCKS_MAX + 1]).contains("1025 blocks"));
    for path in ["", "../x", "a/b", "a.b", &"a".repeat(NAME_BYTES_MAX + 1)] {
        assert!(refused(&|r| r.blocks[0].attempt = path.to_owned()).contains("attempt"), "{path}");
    }
    assert!(refused(&|r| r.tenant = "a/b".to_owned()).contains("malformed"));
    assert!(refused(&|r| r.question = None).contains("question is missing"));
    assert!(refused(&|r| r.blocks[0].level = 256).contains("level"));
    assert!(refused(&|r| r.blocks[0].format = 1 << 16).contains("format"));
    assert!(refused(&|r| r.blocks[0].id = vec![1; 15].into()).contains("16 bytes"));
}

fn block() -> BlockEntry {
    let source = hearth_block::SourceRange {
        journal: hearth_common::JournalId::parse(&format!("home/1/home/{:032x}/1", 7)).expect("valid"),
        after: Position(0),
        upto: Position(1),
    };
    BlockEntry {
        id: BlockId(1),
        attempt: "a".to_owned(),
        format: 1,
        day: 0,
        level: 0,
        min_time: TimestampNs(0),
        max_time: TimestampNs(1),
        first_service: "a".to_owned(),
        last_service: "b".to_owned(),
        types: Vec::new(),
        objects: Vec::new(),
        index_directory_offset: 0,
        profiles: 1,
        samples: 1,
        series: 1,
        units: 1,
        sources: vec![source],
    }
}

#[test]
fn sources_stay_at_home() {
    let wire = request_to(&some_request(vec![block()], 7), "c", &asker());
    assert_eq!(request(wire).expect("valid").blocks[0].sources, []);
}
