//! OTLP exports: the same content from the layout of every release, layouts that are refused, JSON, and damage.

use hearth_formats::otlp::{ABSENT, Attribute, Layout, Otlp, OtlpError, Sample, Tables, Text, Value, json};
use hearth_formats::pprof::PprofError;
use hearth_testkit::otlp::{AttributeValue, Export, Profile, Release, Resource, Sample as Sent, attributes};
use hearth_testkit::wire;

const TIME: u64 = 1_700_000_000_000_000_000;

/// Something of everything.
fn export() -> Export {
    let mut labelled = Sent::new("main;work;0x5000", &[3]).with(&[("thread", "a")]);
    labelled.attributes.push(("cpu".to_owned(), 7.into()));
    labelled.attributes.push(("idle".to_owned(), AttributeValue::Bool(false)));
    let cpu = Profile { time_ns: TIME, duration_ns: 10, ..Profile::cpu() }
        .sample(labelled.linked(&[1; 16], &[2; 8]))
        .sample(Sent::new("main;work", &[-4, 5]).at(&[TIME, TIME + 1]));
    let off = Profile { time_ns: TIME, ..Profile::new(("off_cpu", "nanoseconds"), None, 0) }
        .sample(Sent::new("main", &[9]).with(&[("thread", "a")]));
    let mut first = Resource { attributes: attributes(&[("service.name", "a")]), ..Resource::default() };
    first.attributes.push(("list".to_owned(), AttributeValue::List(vec!["only".into()])));
    first.attributes.push(("lists".to_owned(), AttributeValue::List(vec!["one".into(), "two".into()])));
    first.attributes.push(("weight".to_owned(), AttributeValue::Double(1.5)));
    first.scope_attributes = attributes(&[("scope", "s")]);
    first.profiles = vec![cpu];
    let second = Resource {
        attributes: attributes(&[("service.name", "b")]),
        profiles: vec![off],
        ..Resource::default()
    };
    Export { resources: vec![first, second], ..Export::default() }
}

/// The content of an export in words, whatever its tables look like.
fn words(otlp: &Otlp<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for profile in &otlp.profiles {
        let tables = &otlp.tables[profile.tables as usize];
        let at = |index: i32, first: u32| first as usize + index as usize;
        let string =
            |index: i32| String::from_utf8_lossy(otlp.strings[at(index, tables.strings.first)]).into_owned();
        let own = |attribute: &Attribute<'_>| {
            format!("{}={}", plain(otlp, tables, attribute.key), value(otlp, tables, attribute))
        };
        let scope = &otlp.scopes[profile.scope as usize];
        let of = |range: std::ops::Range<usize>| {
            otlp.attributes[range].iter().map(own).collect::<Vec<_>>().join(",")
        };
        let types: Vec<_> = otlp.sample_types[profile.sample_types.range()]
            .iter()
            .map(|ty| format!("{}:{}", string(ty.ty), string(ty.unit)))
            .collect();
        out.push(format!(
            "resource {} {{{}}} scope {{{}}} {} per {:?} {} at {} for {}",
            scope.resource,
            of(scope.resource_attributes.range()),
            of(scope.attributes.range()),
            types.join(","),
            profile.period_type.map(|ty| string(ty.ty)),
            profile.period,
            profile.time_unix_ns,
            profile.duration_ns
        ));
        for sample in &otlp.samples[profile.samples.range()] {
            let frames: Vec<_> = stack(otlp, tables, profile.location_indices.first, sample)
                .into_iter()
                .map(|index| {
                    let location = &otlp.locations[at(index, tables.locations.first)];
                    let mapping = &otlp.mappings[at(location.mapping, tables.mappings.first)];
                    let lines = &otlp.lines[location.lines.range()];
                    let name = lines.first().map(|line| {
                        let function = &otlp.functions[at(line.function, tables.functions.first)];
                        format!("{}:{}", string(function.name), line.line)
                    });
                    let build = &otlp.attribute_indices[mapping.attributes.range()];
                    let build = &otlp.table_attributes[at(build[0], tables.attributes.first)];
                    let name = name.unwrap_or_else(|| format!("{:#x}", location.address));
                    format!("{name}@{}/{}", string(mapping.filename), value(otlp, tables, build))
                })
                .collect();
            let labels: Vec<_> = otlp.attribute_indices[sample.attributes.range()]
                .iter()
                .map(|index| own(&otlp.table_attributes[at(*index, tables.attributes.first)]))
                .collect();
            let none = if otlp.layout.has_stacks() { 0 } else { ABSENT };
            let link = (sample.link != none).then(|| otlp.links[at(sample.link, tables.links.first)]);
            let values = &otlp.values[sample.values.range()];
            out.push(format!(
                "{} {{{}}} {link:?} {values:?} {} times",
                frames.join("<"),
                labels.join(","),
                sample.timestamps
            ));
        }
    }
    out
}

fn stack(otlp: &Otlp<'_>, tables: &Tables, indices: u32, sample: &Sample) -> Vec<i32> {
    let range = match otlp.layout.has_stacks() {
        true => otlp.stacks[(tables.stacks.first as i32 + sample.stack) as usize].range(),
        false => {
            let first = indices as usize + sample.stack as usize;
            first..first + sample.length as usize
        }
    };
    otlp.stack_locations[range].to_vec()
}

fn plain(otlp: &Otlp<'_>, tables: &Tables, text: Text<'_>) -> String {
    let bytes = match text {
        Text::Bytes(bytes) => bytes,
        Text::Index(index) => otlp.strings[tables.strings.first as usize + index as usize],
    };
    String::from_utf8_lossy(bytes).into_owned()
}

fn value(otlp: &Otlp<'_>, tables: &Tables, attribute: &Attribute<'_>) -> String {
    match attribute.value {
        Value::Text(text) => plain(otlp, tables, text),
        Value::Int(number) => number.to_string(),
        Value::Other => "?".to_owned(),
    }
}

#[test]
fn every_release_says_the_same() {
    let want = [
        "resource 0 {service.name=a,list=only,lists=?,weight=?} scope {scope=s} samples:count per Some(\"cpu\") 10000000 at 1700000000000000000 for 10",
        "0x5000@/app/bin/abcd<work:7@/app/bin/abcd<main:7@/app/bin/abcd {thread=a,cpu=7,idle=?} Some(Link { trace_id: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], span_id: [2, 2, 2, 2, 2, 2, 2, 2] }) [3] 0 times",
        "work:7@/app/bin/abcd<main:7@/app/bin/abcd {} None [-4, 5] 2 times",
        "resource 1 {service.name=b} scope {} off_cpu:nanoseconds per None 0 at 1700000000000000000 for 0",
        "main:7@/app/bin/abcd {thread=a} None [9] 0 times",
    ];
    for release in Release::ALL {
        let bytes = export().encode(release);
        let otlp = Otlp::parse(&bytes).unwrap_or_else(|error| panic!("{release:?}: {error}"));
        assert_eq!(otlp.layout, layout(release), "{release:?}");
        assert_eq!(words(&otlp), want, "{release:?}");
    }
}

fn layout(release: Release) -> Layout {
    match release {
        Release::V1_5 => Layout::ProfileTables,
        Release::V1_7 => Layout::Ranges,
        Release::V1_8 | Release::V1_9 => Layout::StacksValuesSecond,
        Release::V1_10 => Layout::Stacks,
    }
}

/// One CPU profile with these samples.
fn with(samples: Vec<Sent>) -> Export {
    Export::of(&[("service.name", "a")], vec![Profile { time_ns: TIME, samples, ..Profile::cpu() }])
}

/// Field 2 is all that these samples have beside a stack and timestamps: values in v1.9, attributes in v1.10.
#[test]
fn samples_whose_fields_do_not_tell() {
    let check = |samples: Vec<Sent>, release| {
        let bytes = with(samples.clone()).encode(release);
        let otlp = Otlp::parse(&bytes).unwrap_or_else(|error| panic!("{release:?} {samples:?}: {error}"));
        assert_eq!(otlp.layout, layout(release), "{samples:?}");
        let got = words(&otlp);
        assert_eq!(got, words(&Otlp::parse_as(&bytes, layout(release)).expect("valid")), "{samples:?}");
        got
    };
    let plain = |values: &[i64], times: &[u64]| Sent::new("main;work", values).at(times);
    for release in [Release::V1_9, Release::V1_10] {
        let got = check(vec![plain(&[5], &[])], release);
        assert!(got[1].ends_with("[5] 0 times"), "{got:?}");
        check(vec![plain(&[5, 1], &[1, 2])], release);
        check(vec![plain(&[1], &[1]), plain(&[1, 1], &[4, 9])], release);
        check(vec![plain(&[1, 2], &[7, 8]).with(&[("thread", "a")])], release);
        let got = check(vec![plain(&[], &[1, 2, 3]).with(&[("thread", "a")])], release);
        assert!(got[1].contains("{thread=a}") && got[1].ends_with("[] 3 times"), "{got:?}");
        check(vec![plain(&[], &[1]).with(&[("thread", "a")])], release);
        // Nothing but timestamps means the same in both.
        let bytes = with(vec![plain(&[], &[1, 2])]).encode(release);
        let got = words(&Otlp::parse(&bytes).expect("valid"));
        assert!(got[1].ends_with("{} None [] 2 times"), "{got:?}");
    }
    // Values that are no attributes beside another number of timestamps.
    let bytes = with(vec![plain(&[500, 600], &[1, 2, 3])]).encode(Release::V1_9);
    assert_eq!(Otlp::parse(&bytes).expect_err("neither fits"), OtlpError::Ambiguous);
}

/// An export of one profile with these bytes, and of this dictionary if there is one.
fn around(profile: &[u8], dictionary: Option<&[u8]>) -> Vec<u8> {
    let (mut scope, mut resource, mut out) = (Vec::new(), Vec::new(), Vec::new());
    wire::bytes(&mut scope, 2, profile);
    wire::bytes(&mut resource, 2, &scope);
    wire::bytes(&mut out, 1, &resource);
    if let Some(dictionary) = dictionary {
        wire::bytes(&mut out, 2, dictionary);
    }
    out
}

#[test]
fn what_is_no_known_layout_is_refused_with_the_reason() {
    let refused = |bytes: &[u8]| Otlp::parse(bytes).expect_err("refused").to_string();
    // v1.3: a container with times of its own around a profile.
    let mut container = Vec::new();
    wire::bytes(&mut container, 1, &[7; 16]);
    for field in [2, 3] {
        wire::key(&mut container, field, 1);
        container.extend_from_slice(&TIME.to_le_bytes());
    }
    wire::bytes(&mut container, 8, b"");
    assert!(refused(&around(&container, None)).contains("v1.3"), "{}", refused(&around(&container, None)));
    // v1.6: profiles as in v1.7, and nothing that they could point into.
    let mut bytes = with(vec![Sent::new("main", &[1])]).encode(Release::V1_7);
    bytes.truncate(2 + usize::from(bytes[1]));
    assert!(refused(&bytes).contains("v1.6"), "{}", refused(&bytes));
    // The newest without its dictionary.
    let mut profile = Vec::new();
    wire::key(&mut profile, 3, 1);
    profile.extend_from_slice(&TIME.to_le_bytes());
    assert_eq!(refused(&around(&profile, None)), OtlpError::NoDictionary.to_string());
    assert_eq!(refused(b""), OtlpError::NoDictionary.to_string());
    // Fields of v1.7 and of v1.10 in one profile.
    wire::number(&mut profile, 7, 5);
    let message = refused(&around(&profile, Some(b"")));
    assert!(
        message.contains("field 7 of a profile at byte") && message.contains("fits no layout"),
        "{message}"
    );
    // Two profiles that were written by different releases.
    let both = [
        with(vec![Sent::new("a", &[1]).with(&[("k", "v")])]).encode(Release::V1_10),
        with(vec![Sent::new("b", &[2]).with(&[("k", "v")])]).encode(Release::V1_9),
    ]
    .concat();
    assert!(Otlp::parse(&both).is_err());
    assert!(refused(b"\x0a\x05ab").contains("cut off"));
    assert_eq!(
        Otlp::parse(&[0x08, 1, 0x12, 0]).expect_err("not a message"),
        OtlpError::Wire(PprofError::WireType { field: 1, wire: 0, at: 1 })
    );
}

/// Whatever the bytes, no panic, and no more entries than bytes.
fn harmless(bytes: &[u8]) {
    let read = |otlp: &Otlp<'_>| {
        let entries = otlp.strings.len() + otlp.mappings.len() + otlp.locations.len() + otlp.lines.len();
        let entries = entries + otlp.functions.len() + otlp.links.len() + otlp.table_attributes.len();
        let entries = entries + otlp.attributes.len() + otlp.stacks.len() + otlp.stack_locations.len();
        let entries = entries + otlp.attribute_indices.len() + otlp.profiles.len() + otlp.samples.len();
        assert!(entries + otlp.values.len() + otlp.sample_types.len() <= 2 * bytes.len());
    };
    let _ = Otlp::parse(bytes).inspect(read);
    for layout in [Layout::ProfileTables, Layout::Ranges, Layout::StacksValuesSecond, Layout::Stacks] {
        let _ = Otlp::parse_as(bytes, layout).inspect(read);
    }
}

#[test]
fn damage_does_no_harm() {
    for release in Release::ALL {
        let bytes = export().encode(release);
        for at in 0..bytes.len() {
            harmless(&bytes[..at]);
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                harmless(&flipped);
            }
        }
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    for length in [u64::from(u32::MAX), u64::MAX, 1 << 40] {
        for field in [1, 2] {
            let mut bytes = Vec::new();
            wire::key(&mut bytes, field, 2);
            wire::varint(&mut bytes, length);
            assert!(matches!(Otlp::parse(&bytes), Err(OtlpError::Wire(PprofError::Truncated(_)))));
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        harmless(&bytes);
        let _ = json::to_protobuf(&bytes);
    }
}

const JSON: &str = r#"{"resourceProfiles":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}},
  {"key":"n","value":{"intValue":"-7"}},{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"only"}]}}},
  {"key":"deep","value":{"kvlistValue":{"values":[{"key":"x","value":{"boolValue":true}}]}}}]},
 "scopeProfiles":[{"scope":{"name":"s"},"profiles":[{"sampleType":{"typeStrindex":1,"unit_strindex":2},"timeUnixNano":"1700000000000000000",
 "duration_nano":1e3,"profileId":"AA==","period":null,"samples":[{"stackIndex":1,"values":["3",4],"linkIndex":1,"timestampsUnixNano":["5",6]}]}]}]}],
 "dictionary":{"stringTable":["","samples","count","main"],"functionTable":[{},{"nameStrindex":3}],"mappingTable":[],
 "locationTable":[{},{"address":"18446744073709551615","lines":[{"functionIndex":1,"line":"7"}]}],
 "linkTable":[{},{"traceId":"AQEBAQEBAQEBAQEBAQEBAQ==","spanId":"0202020202020202"}],"stackTable":[{},{"locationIndices":[1]}],
 "attributeTable":[{}]}}"#;

#[test]
fn json_is_read_as_protobuf() {
    let (bytes, layout) = json::to_protobuf(JSON.as_bytes()).expect("valid");
    let otlp = json::parse(&bytes, layout).expect("valid");
    let profile = otlp.profiles[0];
    assert_eq!((profile.time_unix_ns, profile.duration_ns, profile.period), (TIME, 1000, 0));
    assert_eq!(otlp.locations[1].address, u64::MAX);
    assert_eq!((otlp.links[1].trace_id, otlp.links[1].span_id), (&[1; 16][..], &[2; 8][..]));
    assert_eq!((&otlp.values[..], otlp.samples[0].timestamps), (&[3, 4][..], 2));
    assert_eq!(otlp.strings, [&b""[..], b"samples", b"count", b"main"]);
    let values: Vec<_> = otlp.attributes.iter().map(|attribute| attribute.value).collect();
    let text = |text: &'static str| Value::Text(Text::Bytes(text.as_bytes()));
    assert_eq!(values, [text("a"), Value::Int(-7), text("only"), Value::Other]);
    // What JSON became is what protobuf would have been.
    assert_eq!(Otlp::parse(&bytes).expect("valid").layout, Layout::Stacks);
}

#[test]
fn json_of_older_layouts_is_known_by_its_names() {
    let old = JSON
        .replace(
            "\"samples\":[{\"stackIndex\":1,\"values\"",
            "\"locationIndices\":[1],\"sample\":[{\"locationsLength\":1,\"value\"",
        )
        .replace(
            "\"sampleType\":{\"typeStrindex\":1,\"unit_strindex\":2}",
            "\"sampleType\":[{\"typeStrindex\":1,\"unit_strindex\":2}]",
        )
        .replace("timeUnixNano", "timeNanos")
        .replace("duration_nano", "duration_nanos")
        .replace("\"lines\"", "\"line\"")
        .replace("\"stackTable\":[{},{\"locationIndices\":[1]}],", "");
    let (bytes, layout) =
        json::to_protobuf(old.replace("\"attributeTable\":[{}]", "\"attributeTable\":[]").as_bytes())
            .unwrap_or_else(|error| panic!("{error}: {old}"));
    assert_eq!(layout, Layout::Ranges);
    let otlp = json::parse(&bytes, layout).expect("valid");
    assert_eq!((otlp.samples[0].stack, otlp.samples[0].length, otlp.profiles[0].time_unix_ns), (0, 1, TIME));
    assert_eq!(Otlp::parse(&bytes).expect("valid").layout, Layout::Ranges);
}

#[test]
fn json_errors_say_what_and_where() {
    let check = |json: &str, parts: &[&str]| {
        let error = json::to_protobuf(json.as_bytes()).expect_err(json).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
    };
    check("\"nope\"", &["ExportProfilesServiceRequest as an object", "line 1"]);
    check(
        "{\"resourceProfiles\":[{\"scopes\":[]}]}",
        &["unknown field `scopes` of ResourceProfiles", "column"],
    );
    check(&JSON.replace("stackIndex", "stakIndex"), &["unknown field `stakIndex` of Sample", "line 5"]);
    check(&JSON.replace("\"values\":[\"3\",4]", "\"values\":[1.5]"), &["1.5 as `values` is no whole number"]);
    check(&JSON.replace("\"values\":[\"3\",4]", "\"values\":[null]"), &["null in the list `values`"]);
    check(
        &JSON.replace("\"stackIndex\":1", "\"stackIndex\":9999999999"),
        &["9999999999 as `stackIndex` is outside"],
    );
    check(
        &JSON.replace("\"stackIndex\":1", "\"stackIndex\":1,\"stack_index\":1"),
        &["`stackIndex` of Sample twice"],
    );
    check(&JSON.replace("0202020202020202", "x?"), &["`x?` as `spanId` is neither base64 nor hex"]);
    check(&JSON[..JSON.len() - 1], &["EOF"]);
    check(&format!("{JSON} x"), &["trailing"]);
    let deep = format!("{}{}", "{\"arrayValue\":{\"values\":[".repeat(1000), "]}}".repeat(1000));
    let deep = format!(
        "{{\"resourceProfiles\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"k\",\"value\":{deep}}}]}}}}]}}"
    );
    check(&deep, &["recursion limit"]);
    let (bytes, layout) = json::to_protobuf(b"{\"resourceProfiles\": []}").expect("valid");
    assert_eq!(json::parse(&bytes, layout).expect_err("nothing to point into"), OtlpError::NoDictionary);
}
