use proptest::prelude::*;

use super::*;

fn header() -> RecordHeader<'static> {
    RecordHeader {
        tenant: "team-a",
        rid: Rid(7 << 90 | 5),
        service_hash: 1,
        series_hash: 2,
        time: TimestampNs(-3),
    }
}

fn sample() -> Record<'static> {
    Record {
        labels: vec![("__name__", "process_cpu"), ("service_name", "shöp")],
        sample_types: vec![("samples", "count"), ("cpu", "nanoseconds")],
        period_type: ("cpu", "nanoseconds"),
        period: 10_000_000,
        duration_ns: 15_000_000_000,
        annotations: vec![("k", "v")],
        strings: vec!["", "main", "wörk", "main.go", "/bin/app", "abc"],
        mappings: vec![Mapping { file: 4, build_id: 5, start: 0, limit: u64::MAX, offset: 3 }],
        functions: vec![
            Function { name: 1, system_name: 1, file: 3, start_line: -1 },
            Function { name: 2, system_name: 1, file: 3, start_line: i64::MAX },
        ],
        lines: vec![
            Line { function: 0, line: 10 },
            Line { function: 1, line: -5 },
            Line { function: 0, line: 12 },
        ],
        locations: vec![
            Location { mapping_plus_1: 1, address: 0, first_line: 0, line_count: 1 },
            Location { mapping_plus_1: 0, address: 0, first_line: 1, line_count: 2 },
            Location { mapping_plus_1: 1, address: 0xdead_beef, first_line: 3, line_count: 0 },
        ],
        stack_ends: vec![2, 5, 5],
        frames: vec![0, 1, 0, 1, 2],
        values: vec![1, 10, 0, 30, i64::MAX, 0],
        spans: vec![
            SpanRow { stack: 1, span: 99, trace: Some([3; 16]) },
            SpanRow { stack: 0, span: 1, trace: None },
        ],
        span_values: vec![0, 4, 1, 0],
    }
}

fn bytes_of(record: &Record<'_>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    encode(&header(), record, &mut out).expect("fits");
    out.split_off(6)
}

#[test]
fn a_record_comes_back() {
    let bytes = bytes_of(&sample());
    let mut record = Record::default();
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"after");
    assert_eq!(decode(&longer, &mut record), Ok(header()));
    assert_eq!(format!("{record:?}"), format!("{:?}", sample()));
    assert_eq!(peek(&bytes).map(|(_, length)| length), Ok(bytes.len()));
    assert_eq!(record.stack(1), [0, 1, 2]);
}

/// Records of version 1 must be readable for ever: this file was written by the first version and is never written again.
#[test]
fn the_golden_record_is_readable() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/record-v1.bin");
    let golden = std::fs::read(path).expect("the golden record lies in the tree");
    let mut record = Record::default();
    assert_eq!(decode(&golden, &mut record), Ok(header()));
    assert_eq!(format!("{record:?}"), format!("{:?}", sample()));
}

#[test]
fn each_flipped_bit_is_found_and_each_cut_is_refused() {
    let bytes = bytes_of(&sample());
    for at in 0..bytes.len() {
        assert!(decode(&bytes[..at], &mut Record::default()).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(decode(&flipped, &mut Record::default()).is_err(), "bit {bit} of byte {at}");
        }
    }
}

/// With the checksum made right again, whatever stands in the payload is refused or read, never a panic.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn a_payload_of_any_bytes_does_no_harm(edits in prop::collection::vec((HEADER_BYTES..300usize, any::<u8>()), 1..6)) {
        let mut bytes = bytes_of(&sample());
        for (at, byte) in edits {
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        let bytes = with_checksum(bytes);
        let mut record = Record::default();
        if decode(&bytes, &mut record).is_ok() {
            let again = bytes_of(&record);
            let mut back = Record::default();
            prop_assert!(decode(&again, &mut back).is_ok());
            prop_assert_eq!(format!("{:?}", back), format!("{:?}", record));
        }
    }

    #[test]
    fn stacks_and_values_come_back(
        stacks in prop::collection::vec((prop::collection::vec(0u32..200, 0..30), prop::collection::vec(0i64.., 3)), 0..40),
        types in 1usize..4,
    ) {
        let mut record = sample();
        record.sample_types = vec![("a", "b"); types];
        record.locations = vec![Location::default(); 200];
        record.stack_ends.clear();
        record.frames.clear();
        record.values.clear();
        record.spans.clear();
        record.span_values.clear();
        for (stack, values) in &stacks {
            record.frames.extend(stack);
            record.stack_ends.push(record.frames.len() as u32);
            record.values.extend(&values[..types]);
        }
        let bytes = bytes_of(&record);
        let mut back = Record::default();
        prop_assert_eq!(decode(&bytes, &mut back), Ok(header()));
        prop_assert_eq!((&back.frames, &back.stack_ends, &back.values), (&record.frames, &record.stack_ends, &record.values));
    }
}

/// Writes the golden file of the first version. Only for the first version: `cargo test -- --ignored write_golden`.
#[test]
#[ignore = "writes the golden file, which must never change again"]
fn write_golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/record-v1.bin");
    assert!(!std::path::Path::new(path).exists(), "the golden record exists and must never change");
    std::fs::write(path, bytes_of(&sample())).expect("writable");
}
