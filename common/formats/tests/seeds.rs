//! The seeds of the fuzz targets as plain tests: whole, cut at every byte, with every bit flipped. Nothing may panic, and
//! nothing may take much more memory than the input has bytes.

use std::fs;
use std::path::Path;

use hearth_formats::gunzip::inflate_capped;
use hearth_formats::jfr::Recording;
use hearth_formats::jfr::snapshot::LabelsSnapshot;
use hearth_formats::otlp::{Otlp, json};
use hearth_formats::pprof::Pprof;
use hearth_formats::record::{Record, decode};
use hearth_formats::speedscope::Document;
use hearth_formats::stacks::{StackLimits, StackTree};
use hearth_formats::{app_name, attime, folded, tree, trie};

/// Calls `read` with each seed of a target and with what damage makes of it.
fn each_variant(target: &str, mut read: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let bytes = fs::read(entry.expect("readable").path()).expect("readable");
        seeds += 1;
        read(&bytes);
        for at in 0..bytes.len() {
            read(&bytes[..at]);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                read(&flipped);
            }
        }
    }
    assert!(seeds > 0, "{} has no seeds", folder.display());
}

#[test]
fn pprof() {
    each_variant("pprof", |bytes| {
        let mut pprof = Pprof::default();
        let _ = pprof.parse(bytes);
        // A vector doubles; it holds no more entries than there are bytes.
        assert!(pprof.location_ids.capacity() <= 2 * bytes.len() + 8);
        assert!(pprof.values.capacity() <= 2 * bytes.len() + 8);
        assert!(pprof.strings.capacity() <= 2 * bytes.len() + 8);
    });
}

#[test]
fn otlp() {
    each_variant("otlp", |bytes| {
        if let Ok(otlp) = Otlp::parse(bytes) {
            assert!(otlp.values.capacity() + otlp.samples.capacity() <= 4 * bytes.len() + 16);
            assert!(otlp.stack_locations.capacity() + otlp.strings.capacity() <= 4 * bytes.len() + 16);
        }
        if let Ok((protobuf, layout)) = json::to_protobuf(bytes) {
            assert!(protobuf.len() <= 8 * bytes.len());
            let _ = json::parse(&protobuf, layout);
        }
    });
}

#[test]
fn record() {
    each_variant("record", |bytes| {
        let mut bytes = bytes.to_vec();
        for checksum_is_right in [false, true] {
            if checksum_is_right && bytes.len() >= 16 {
                let (length, crc) = (bytes.len() as u32, crc32c::crc32c(&bytes[16..]));
                bytes[8..12].copy_from_slice(&length.to_le_bytes());
                bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            }
            let mut record = Record::default();
            let _ = decode(&bytes, &mut record);
            assert!(record.strings.capacity() + record.values.capacity() <= 70 * bytes.len() + 64);
        }
    });
}

#[test]
fn gunzip() {
    const LIMIT_BYTES: usize = 64 << 10;
    let mut out = Vec::new();
    each_variant("gunzip", |bytes| {
        let result = inflate_capped(bytes, LIMIT_BYTES, &mut out);
        assert!(result.is_err() || out.len() <= LIMIT_BYTES);
        assert!(out.capacity() <= 2 * LIMIT_BYTES + 64, "{} bytes", out.capacity());
    });
}

const LIMITS: StackLimits = StackLimits { size_bytes_max: 1 << 16, name_bytes_max: 4096, children_max: 4096 };

/// What was read of `bytes` has no more frames, and no longer names, than they can say.
fn bounded(bytes: &[u8], stacks: &StackTree) {
    assert!(stacks.frame_count() <= bytes.len() + 1, "{} of {bytes:?}", stacks.frame_count());
    assert!(stacks.text().len() <= bytes.len(), "{} of {bytes:?}", stacks.text());
}

#[test]
fn groups() {
    each_variant("groups", |bytes| {
        folded::parse_groups(bytes, LIMITS).into_iter().for_each(|stacks| bounded(bytes, &stacks));
    });
}

#[test]
fn lines() {
    each_variant("lines", |bytes| {
        folded::parse_lines(bytes, LIMITS).into_iter().for_each(|stacks| bounded(bytes, &stacks));
    });
}

#[test]
fn tree_nodes() {
    each_variant("tree", |bytes| {
        tree::parse(bytes, LIMITS).into_iter().for_each(|stacks| bounded(bytes, &stacks));
    });
}

#[test]
fn trie_nodes() {
    each_variant("trie", |bytes| {
        // Keys share their beginnings: names in all can be longer than the bytes.
        if let Ok(stacks) = trie::parse(bytes, LIMITS) {
            assert!(stacks.frame_count() <= 2 * bytes.len() && stacks.text().len() <= LIMITS.size_bytes_max);
        }
    });
}

#[test]
fn speedscope() {
    each_variant("speedscope", |bytes| {
        let Ok(document) = Document::parse(bytes) else { return };
        for group in document.groups() {
            bounded(bytes, &document.stacks(group, 1e7, LIMITS).expect("as small as the text"));
        }
    });
}

#[test]
fn name_and_time() {
    each_variant("name", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let _ = app_name::parse(text);
    });
    each_variant("time", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        for now in [0, i64::MAX, i64::MIN] {
            let _ = attime::parse(text, hearth_common::TimestampNs(now));
        }
    });
}

#[test]
fn jfr() {
    each_variant("jfr", |bytes| {
        if let Ok(recording) = Recording::parse(bytes) {
            // A row, a location and a function each take some bytes of their own.
            assert!(recording.rows.capacity() <= 2 * bytes.len() + 8);
            assert!(recording.locations.capacity() + recording.functions.capacity() <= 2 * bytes.len() + 16);
            assert!(recording.rows.iter().all(|row| !recording.stack(row.stack).is_empty()));
        }
        let _ = LabelsSnapshot::parse(bytes);
    });
}

/// Writes the seeds that the builders can write: `cargo test -p hearth-formats --test seeds -- --ignored`.
#[test]
#[ignore = "writes files of the project"]
fn write_seeds() {
    use hearth_testkit::raw::Encoding;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
        fs::write(path, bytes).expect("writable");
    };
    let builder = hearth_testkit::PprofBuilder::cpu()
        .stack("main;work", &[1, 10_000_000])
        .labelled("main;work;leaf", &[2, 20_000_000], &[("thread", "a")])
        .number_label("size", 300, "bytes");
    let plain = builder.encode();
    write("pprof/cpu", &plain);
    let other = Encoding { packed: false, strings_first: true, unknown_fields: true };
    write("pprof/unpacked-unknown-fields", &builder.clone().raw().encode_as(other));
    let mut pprof = Pprof::default();
    pprof.parse(&plain).expect("valid");
    let record =
        hearth_testkit::records::from_pprof(&pprof, &[("__name__", "process_cpu"), ("service_name", "a")]);
    let mut bytes = Vec::new();
    hearth_formats::record::encode(&hearth_testkit::records::header("team-a"), &record, &mut bytes)
        .expect("fits");
    write("record/cpu", &bytes);
    for (name, compressed) in [("jfr/compressed", true), ("jfr/plain", false)] {
        use hearth_testkit::jfr::{Belongs, Recorder};
        let belongs = Belongs { context: 3, span: 4, span_name: 1, trace: (5, 6) };
        let recorder = Recorder::new(compressed)
            .setting("event", "wall")
            .event("jdk.ExecutionSample", "a/B.run:3;a/B.work:4", "STATE_DEFAULT", 0, belongs)
            .event("jdk.ThreadPark", "a/B.run:3", "", 99, Belongs::default());
        write(name, &recorder.encode());
    }
    let snapshot = b"\x0a\x0a\x08\x03\x12\x06\x0a\x04\x08\x01\x10\x02\x12\x08\x08\x01\x12\x04path\x12\x08\x08\x02\x12\x04slow";
    write("jfr/snapshot", snapshot);
    write_otlp(&write);
    write("gunzip/cpu", &hearth_testkit::gzip(&plain));
    write("gunzip/zeros", &hearth_testkit::gzip(&vec![0; 1 << 20])[..]);
    write("gunzip/two-members", &[hearth_testkit::gzip(b"one"), hearth_testkit::gzip(b"two")].concat());
    write(
        "selector/types",
        b"{__profile_type__=\"process_cpu:cpu:nanoseconds:cpu:nanoseconds\",a=~\"b.*|c\",d!=\"\"}",
    );
}

/// An export in each layout, and one in JSON.
fn write_otlp(write: &dyn Fn(&str, &[u8])) {
    use hearth_testkit::otlp::{Export, Profile, Release, Sample};
    let profile = Profile { time_ns: 1_700_000_000_000_000_000, ..Profile::cpu() }
        .sample(Sample::new("main;0x5000", &[3]).with(&[("thread", "a")]).linked(&[1; 16], &[2; 8]))
        .sample(Sample::new("main", &[1, 2]).at(&[5, 6]));
    let export = Export::of(&[("service.name", "a")], vec![profile]);
    for release in Release::ALL {
        write(&format!("otlp/{release:?}").to_lowercase(), &export.encode(release));
    }
    let json = br#"{"resourceProfiles":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},"scopeProfiles":[{"profiles":[{"sampleType":{"typeStrindex":1},"samples":[{"stackIndex":0,"values":["3"],"linkIndex":1}]}]}]}],"dictionary":{"stringTable":["","samples"],"linkTable":[{},{"spanId":"0202020202020202"}]}}"#;
    write("otlp/json", json);
}
