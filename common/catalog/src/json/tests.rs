use proptest::prelude::*;

use super::*;
use crate::coverage::Coverage;

fn journal(name: &str, incarnation: u64) -> JournalId {
    JournalId::parse(&format!("{name}/1/{name}/000000000000000000000000000000d1/{incarnation}")).unwrap()
}

fn entry() -> BlockEntry {
    let object = |name: &str, bytes| ObjectEntry { name: name.to_owned(), bytes, crc32c: 99 };
    BlockEntry {
        id: BlockId(0xb10c),
        attempt: "a1".to_owned(),
        format: 1,
        day: 20_000,
        level: 0,
        min_time: TimestampNs(1_728_000_000_000_000_000),
        max_time: TimestampNs(1_728_000_900_000_000_000),
        first_service: "cart".to_owned(),
        last_service: "web \"é\"".to_owned(),
        types: vec!["process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned()],
        objects: vec![
            object("index", 1000),
            object("profiles.parquet", 2000),
            object("samples.parquet", 3000),
        ],
        index_directory_offset: 900,
        profiles: 10,
        samples: 100,
        series: 4,
        units: 2,
        sources: vec![SourceRange { journal: journal("one", 3), after: Position(5), upto: Position(15) }],
    }
}

fn root() -> Root {
    let page = PageRef { unique: 0xaa, bytes: 777, crc32c: 5, blocks: 1 };
    let tombstone = Tombstone {
        id: 0x70,
        selector: "{service_name=\"cart\"}".to_owned(),
        start: TimestampNs(1),
        end: TimestampNs(2),
        upto: [(journal("one", 3), Position(12))].into(),
        blocks: [BlockId(0xb10c)].into(),
    };
    Root {
        version: 12,
        nonce: u128::MAX,
        parent: 0x1234,
        pages: [(20_000, page), (-1, page)].into(),
        coverage: Coverage::from_parts(
            [(journal("one", 3), Position(15))].into(),
            [("one/1/one/000000000000000000000000000000d1".to_owned(), Incarnation(2))].into(),
        ),
        voids: [(journal("two", 1), [Position(7), Position(9)].into())].into(),
        tombstones: vec![tombstone],
        condemned: [("t/a/pages/19999-00".to_owned(), Condemned { since: TimestampNs(5) })].into(),
    }
}

/// A change of these bytes is a change of the format: raise it and keep reading the old one.
#[test]
fn golden_root_and_page() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let page = vec![Arc::new(entry())];
    let files = [("root", encode_root(&root()).unwrap()), ("page", encode_page(20_000, &page).unwrap())];
    for (name, bytes) in files {
        let path = format!("{folder}/{name}.bin");
        if std::env::var_os("HEARTH_BLESS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&std::fs::read(path).unwrap()),
            "{name}"
        );
    }
    let read = |name: &str| std::fs::read(format!("{folder}/{name}.bin")).unwrap();
    assert_eq!(decode_root("k", &read("root")).unwrap(), root());
    let decoded = decode_page("k", 1, &read("page")).unwrap();
    assert_eq!((decoded.day, &decoded.blocks), (20_000, &page));
}

#[test]
fn fields_that_are_not_what_they_must_be_are_named() {
    let json = String::from_utf8(encode_root(&root()).unwrap()[20..].to_vec()).unwrap();
    let page = String::from_utf8(encode_page(1, &[Arc::new(entry())]).unwrap()[20..].to_vec()).unwrap();
    let refused = |kind, json: String| {
        let object = envelope::wrap(kind, json.as_bytes());
        match kind {
            Kind::Root => decode_root("the-key", &object).unwrap_err(),
            Kind::Page => decode_page("the-key", 1, &object).unwrap_err(),
            Kind::Deletion | Kind::FirstDeletion => crate::record::decode("the-key", &object).unwrap_err(),
        }
        .to_string()
    };
    for (kind, json, from, to, why) in [
        (Kind::Root, &json, "\"nonce\":\"f", "\"nonce\":\"x", "nonce"),
        (Kind::Root, &json, "one/1/one", "one/one", "journal"),
        (Kind::Root, &json, "\"voids\"", "\"void\"", "void"),
        (Kind::Page, &page, "\"attempt\":\"a1\"", "\"attempt\":\"../a\"", "attempt"),
        (Kind::Page, &page, "\"level\":0", "\"level\":-1", "u8"),
    ] {
        assert!(json.contains(from), "{from}");
        let error = refused(kind, json.replacen(from, to, 1));
        let chain = error.contains("'the-key'") && error.contains(why);
        assert!(chain, "{error}");
    }
}

proptest! {
    #[test]
    fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\":,a-z0-9]{0,100}") {
        let _ = decode_root("k", &bytes);
        let _ = decode_root("k", &envelope::wrap(Kind::Root, text.as_bytes()));
        let _ = decode_page("k", 1, &envelope::wrap(Kind::Page, text.as_bytes()));
    }

    #[test]
    fn roots_read_back(version: u64, nonce: u128, positions in proptest::collection::vec((0u8..5, 1u64..9, any::<u64>()), 0..20)) {
        let mut root = Root { version, nonce, ..root() };
        for (owner, incarnation, at) in positions {
            let journal = journal(&format!("o{owner}"), incarnation);
            root.coverage.raise(&journal, Position(at));
            root.voids.entry(journal).or_default().insert(Position(at));
        }
        prop_assert_eq!(decode_root("k", &encode_root(&root).unwrap()).unwrap(), root);
    }
}
