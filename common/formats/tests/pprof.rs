//! The pprof parser against profiles whose content is known, against a slow reader, and against damage.

use hearth_formats::pprof::{Function, Label, Line, Mapping, Pprof, PprofError, ValueType};
use hearth_testkit::raw::{Encoding, RawLocation, RawProfile, RawSample};
use hearth_testkit::{PprofBuilder, files, wire};
use proptest::collection::vec;
use proptest::prelude::*;

mod slow;

fn parse(bytes: &[u8]) -> Result<RawProfile, PprofError> {
    let mut pprof = Pprof::default();
    pprof.parse(bytes)?;
    assert_within_input(&pprof, bytes.len());
    Ok(RawProfile::of(&pprof))
}

/// No array may have more entries than the input has bytes.
fn assert_within_input(pprof: &Pprof<'_>, bytes: usize) {
    let counts = [
        pprof.strings.len(),
        pprof.sample_types.len(),
        pprof.samples.len(),
        pprof.location_ids.len(),
        pprof.values.len(),
        pprof.labels.len(),
        pprof.mappings.len(),
        pprof.locations.len(),
        pprof.lines.len(),
        pprof.functions.len(),
        pprof.comments.len(),
    ];
    assert!(counts.iter().sum::<usize>() <= bytes, "{counts:?} entries of {bytes} bytes");
}

fn small() -> PprofBuilder {
    PprofBuilder::cpu()
        .time_ns(1_700_000_000_000_000_000)
        .stack("main;work", &[1, 10_000_000])
        .labelled("main;wörk;leaf", &[3, -30_000_000], &[("thread", "a")])
        .number_label("size", 300, "bytes")
}

#[test]
fn a_built_profile_is_read() {
    let parsed = parse(&small().encode()).expect("valid");
    assert_eq!(parsed, small().raw());
    assert_eq!(parsed.samples[1].location_ids, [3, 4, 2]);
}

#[test]
fn nothing_is_an_empty_profile() {
    assert_eq!(parse(&[]), Ok(RawProfile::default()));
}

#[test]
fn a_parser_is_used_again() {
    let (first, second) = (small().encode(), PprofBuilder::heap().stack("a;b", &[1, 2, 3, 4]).encode());
    let mut pprof = Pprof::default();
    pprof.parse(&first).expect("valid");
    let capacity = pprof.strings.capacity();
    let mut pprof = pprof.recycle();
    assert_eq!(pprof.strings.capacity(), capacity);
    pprof.parse(&second).expect("valid");
    assert_eq!(Ok(RawProfile::of(&pprof)), parse(&second));
}

#[test]
fn a_field_that_comes_twice() {
    let mut bytes = small().encode();
    wire::number(&mut bytes, 12, 5);
    wire::bytes(&mut bytes, 11, &[]);
    let parsed = parse(&bytes).expect("valid");
    assert_eq!(parsed.period, 5);
    // Protobuf merges a message that comes twice: what the second leaves out stays as it was.
    assert_eq!(parsed.period_type, small().raw().period_type);
}

#[test]
fn wire_types_that_a_field_cannot_have() {
    for (field, wire_type) in
        [(1, 0), (2, 5), (4, 1), (6, 0), (9, 2), (14, 2), (99, 3), (99, 4), (99, 6), (2, 7)]
    {
        let mut bytes = Vec::new();
        wire::key(&mut bytes, field, wire_type);
        bytes.extend_from_slice(&[0; 16]);
        let parsed = parse(&bytes);
        assert!(
            matches!(parsed, Err(PprofError::WireType { field: f, wire: w, .. }) if (f, w) == (field, wire_type)),
            "field {field}, wire type {wire_type}: {parsed:?}"
        );
    }
    // Field 0 does not exist.
    assert!(parse(&[0x00, 0x00]).is_err());
}

#[test]
fn numbers_of_more_than_64_bits() {
    let number = |last: u8| [&[9 << 3][..], &[0xff; 9], &[last]].concat();
    assert_eq!(parse(&number(1)).map(|p| p.time_ns), Ok(-1));
    assert!(matches!(parse(&number(0x81)), Err(PprofError::Number(_) | PprofError::Truncated(_))));
    assert!(parse(&[number(0xff), vec![1]].concat()).is_err());
}

#[test]
fn lengths_that_lie() {
    for field in [1, 2, 3, 4, 5, 6, 11, 13, 77] {
        for length in [1, 127, 1 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX - 8, u64::MAX] {
            let mut bytes = Vec::new();
            wire::key(&mut bytes, field, 2);
            wire::varint(&mut bytes, length);
            assert!(matches!(parse(&bytes), Err(PprofError::Truncated(_))), "field {field}, length {length}");
            // The same one level deeper: the inner message may not reach out of the outer one.
            let mut outer = Vec::new();
            wire::bytes(&mut outer, 2, &bytes);
            outer.extend_from_slice(&[0; 200]);
            assert!(parse(&outer).is_err(), "inner field {field}, length {length}");
        }
    }
}

#[test]
fn each_cut_and_each_flipped_bit_is_survived() {
    let bytes = small().encode();
    for at in 0..bytes.len() {
        assert_eq!(parse(&bytes[..at]).is_ok(), slow::read(&bytes[..at]).is_some(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(parse(&flipped).ok(), slow::read(&flipped), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn real_profiles_read_as_the_slow_reader_reads_them() {
    for file in files::bench_profiles().into_iter().chain(files::corpus_profiles()) {
        let parsed = parse(&file.raw).unwrap_or_else(|error| panic!("{}: {error}", file.name));
        assert!(slow::read(&file.raw).as_ref() == Some(&parsed), "{} differs", file.name);
        // Written again, it reads the same: the builder of the tests is honest, too.
        for packed in [true, false] {
            let encoding = Encoding { packed, strings_first: packed, unknown_fields: true };
            assert!(parse(&parsed.encode_as(encoding)).as_ref() == Ok(&parsed), "{}", file.name);
        }
    }
}

/// Numbers of all lengths, mostly short.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..128, 4 => 0u64..20_000, 1 => any::<u64>(), 1 => (0u32..64).prop_map(|bit| 1 << bit)]
}

fn signed() -> impl Strategy<Value = i64> {
    number().prop_map(|n| n as i64)
}

prop_compose! {
    fn sample()(
        location_ids in vec(number(), 0..40),
        values in vec(signed(), 0..5),
        labels in vec((signed(), signed(), signed(), signed()), 0..3),
    ) -> RawSample {
        let label = |(key, str, num, num_unit)| Label { key, str, num, num_unit };
        RawSample { location_ids, values, labels: labels.into_iter().map(label).collect() }
    }
}

prop_compose! {
    fn profile()(
        sample_types in vec((signed(), signed()), 0..4),
        samples in vec(sample(), 0..8),
        mappings in vec((number(), number(), signed(), any::<bool>()), 0..3),
        locations in vec((number(), number(), vec((number(), signed()), 0..3), any::<bool>()), 0..6),
        functions in vec((number(), signed(), signed()), 0..6),
        strings in vec(vec(any::<u8>(), 0..200), 0..6),
        numbers in [signed(), signed(), signed(), signed()],
        period_type in prop::option::of((signed(), signed())),
        comments in vec(signed(), 0..4),
    ) -> RawProfile {
        let value_type = |(ty, unit)| ValueType { ty, unit };
        let mapping = |(id, memory_start, filename, has_functions)| Mapping {
            id, memory_start, memory_limit: id, file_offset: id, filename, build_id: filename, has_functions,
            has_filenames: !has_functions, has_line_numbers: true, has_inline_frames: has_functions,
        };
        let line = |(function_id, line)| Line { function_id, line };
        let location = |(id, address, lines, is_folded): (u64, u64, Vec<(u64, i64)>, bool)| RawLocation {
            id, mapping_id: id, address, lines: lines.into_iter().map(line).collect(), is_folded,
        };
        let function = |(id, name, start_line)| Function { id, name, system_name: name, filename: start_line, start_line };
        RawProfile {
            sample_types: sample_types.into_iter().map(value_type).collect(),
            samples,
            mappings: mappings.into_iter().map(mapping).collect(),
            locations: locations.into_iter().map(location).collect(),
            functions: functions.into_iter().map(function).collect(),
            strings,
            time_ns: numbers[0],
            duration_ns: numbers[1],
            period: numbers[2],
            default_sample_type: numbers[3],
            period_type: period_type.map(value_type),
            comments,
            ..RawProfile::default()
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        profile in profile(),
        packed in any::<bool>(),
        strings_first in any::<bool>(),
        unknown_fields in any::<bool>(),
    ) {
        let bytes = profile.encode_as(Encoding { packed, strings_first, unknown_fields });
        prop_assert_eq!(parse(&bytes), Ok(profile));
    }

    #[test]
    fn damaged_profiles_read_as_the_slow_reader_reads_them(
        profile in profile(),
        packed in any::<bool>(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = profile.encode_as(Encoding { packed, ..Encoding::default() });
        if !bytes.is_empty() {
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        }
        prop_assert_eq!(parse(&bytes).ok(), slow::read(&bytes));
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(parse(&bytes).ok(), slow::read(&bytes));
    }
}
