use hearth_formats::otlp::Otlp;
use hearth_formats::pprof::Pprof;
use hearth_testkit::otlp::{AttributeValue, Export, Profile, Release, Resource, Sample, attributes};
use hearth_testkit::wire;

use super::*;

/// Every part of an export in words: labels, types, then samples.
fn words(bytes: &[u8]) -> Vec<String> {
    let otlp = Otlp::parse(bytes).expect("valid");
    let texts = Texts::new(&otlp);
    let mut converter = Converter::new(&otlp, &texts, 1000, usize::MAX);
    let mut out = Vec::new();
    for siblings in siblings(&otlp) {
        if let Err(error) = part_words(&otlp, &texts, &mut converter, siblings, &mut out) {
            out.push(format!("error: {}", refused(&otlp, siblings, error)));
        }
    }
    out
}

fn part_words<'o>(
    otlp: &'o Otlp<'o>,
    texts: &'o Texts,
    converter: &mut Converter<'o>,
    siblings: Siblings,
    out: &mut Vec<String>,
) -> Result<(), String> {
    let profile = &otlp.profiles[siblings.first as usize];
    let labels = ScopeLabels::new(otlp, texts, profile)?;
    for part in parts(otlp, texts, profile, labels.is_named())? {
        let name = converter.name(siblings)?;
        let service = labels.service(part.service);
        let mut pprof = Pprof::default();
        let filled = converter.fill(siblings, &part, &mut pprof)?;
        let pairs: Vec<_> =
            labels.with(name, part.service, &service).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        out.push(pairs.join(" "));
        out.extend(pprof_words(&pprof));
        if filled.unusable > 0 {
            out.push(format!("unusable: {}", filled.unusable));
        }
    }
    Ok(())
}

fn pprof_words(pprof: &Pprof<'_>) -> Vec<String> {
    let text = |index: i64| String::from_utf8_lossy(pprof.strings[index as usize]).into_owned();
    let ty = |ty: &hearth_formats::pprof::ValueType| format!("{}:{}", text(ty.ty), text(ty.unit));
    let types: Vec<_> = pprof.sample_types.iter().map(ty).collect();
    let period = pprof.period_type.as_ref().map(ty).unwrap_or_default();
    let mut out = vec![format!("{} per {} {period}", types.join(","), pprof.period)];
    for sample in &pprof.samples {
        let ids = &pprof.location_ids[sample.first_location as usize..][..sample.location_count as usize];
        let frames: Vec<_> = ids
            .iter()
            .map(|id| {
                let location = pprof.locations.iter().find(|location| location.id == *id).expect("there");
                let line = (location.line_count > 0).then(|| pprof.lines[location.first_line as usize]);
                match line {
                    Some(line) => text(pprof.functions[line.function_id as usize - 1].name),
                    None => {
                        let mapping = &pprof.mappings[location.mapping_id as usize - 1];
                        let (file, build) = (text(mapping.filename), text(mapping.build_id));
                        format!("{:#x} in {file} {build}", location.address)
                    }
                }
            })
            .collect();
        let labels = &pprof.labels[sample.first_label as usize..][..sample.label_count as usize];
        let labels: Vec<_> =
            labels.iter().map(|label| format!("{}={}", text(label.key), text(label.str))).collect();
        let values = &pprof.values[sample.first_value as usize..][..sample.value_count as usize];
        out.push(format!("{} {{{}}} {values:?}", frames.join("<"), labels.join(",")));
    }
    out
}

const SERVICE_A: &[(&str, &str)] = &[("service.name", "a")];

fn check(export: &Export, want: &[&str]) {
    for release in Release::ALL {
        assert_eq!(words(&export.encode(release)), want, "{release:?}");
    }
}

const A: &str = "__name__=process_cpu __delta__=false __otel__=true service_name=a service.name=a";

#[test]
fn samples_of_cpu_become_cpu_time() {
    let profile = Profile::cpu()
        .sample(Sample::new("main;work", &[3]))
        .sample(
            Sample::new("main", &[1])
                .with(&[("thread.name", "t")])
                .linked(&[0xab; 16], &[1, 2, 3, 4, 5, 6, 7, 8]),
        )
        .sample(Sample::new("", &[2]).linked(&[0; 16], &[0; 8]));
    check(
        &Export::of(SERVICE_A, vec![profile]),
        &[
            A,
            "cpu:nanoseconds per 10000000 cpu:nanoseconds",
            "work<main {} [30000000]",
            "main {thread.name=t,span_id=0102030405060708,trace_id=abababababababababababababababab} [10000000]",
            " {} [20000000]",
        ],
    );
}

#[test]
fn names_and_types() {
    let check = |sample_type, period_type, period, want: [&str; 2]| {
        let profile = Profile::new(sample_type, period_type, period).sample(Sample::new("main", &[3]));
        let got = words(&Export::of(SERVICE_A, vec![profile]).encode(Release::V1_10));
        assert_eq!(got[0], A.replace("process_cpu", want[0]));
        assert_eq!(got[1..].join(" "), want[1]);
    };
    let cpu = Some(("cpu", "nanoseconds"));
    check(
        ("wall", "nanoseconds"),
        Some(("wall", "nanoseconds")),
        1,
        ["wall", "wall:nanoseconds per 1 wall:nanoseconds main {} [3]"],
    );
    check(("off_cpu", "nanoseconds"), None, 0, ["off_cpu", "off_cpu:nanoseconds per 0  main {} [3]"]);
    check(
        ("cpu", "nanoseconds"),
        cpu,
        10,
        ["process_cpu", "cpu:nanoseconds per 10 cpu:nanoseconds main {} [3]"],
    );
    check(("samples", "count"), cpu, 0, ["process_cpu", "samples:count per 0 cpu:nanoseconds main {} [3]"]);
    check(
        ("inuse_space", "bytes"),
        Some(("space", "bytes")),
        512,
        ["space", "inuse_space:bytes per 512 space:bytes main {} [3]"],
    );
    let nameless = Profile::new(("events", "nanoseconds"), None, 0).sample(Sample::new("main", &[3]));
    let got = words(&Export::of(SERVICE_A, vec![nameless]).encode(Release::V1_10));
    assert!(
        got[0].starts_with(
            "error: profile 0 of the export (resource 0): its sample type is 'events:nanoseconds'"
        ),
        "{got:?}"
    );
}

#[test]
fn several_types_of_older_releases() {
    let mut profile = Profile::cpu().sample(Sample::new("main", &[3, 30])).sample(Sample::new("main", &[3]));
    profile.sample_types.push(("cpu".to_owned(), "nanoseconds".to_owned()));
    for release in [Release::V1_5, Release::V1_7] {
        let got = words(&Export::of(SERVICE_A, vec![profile.clone()]).encode(release));
        let types = "samples:count,cpu:nanoseconds per 10000000 cpu:nanoseconds";
        assert_eq!(got, [A, types, "main {} [3, 30]", "unusable: 1"], "{release:?}");
    }
}

const CPU_TYPES: &str = "samples:count,cpu:nanoseconds per 10000000 cpu:nanoseconds";

fn cpu_time() -> Profile {
    Profile::new(("cpu", "nanoseconds"), Some(("cpu", "nanoseconds")), 10_000_000)
}

/// Of the releases that give a profile one type.
fn check_stacks(export: &Export, want: &[&str]) {
    for release in [Release::V1_9, Release::V1_10] {
        assert_eq!(words(&export.encode(release)), want, "{release:?}");
    }
}

#[test]
fn types_of_one_profile_that_were_sent_apart_are_joined() {
    let with = |profile: Profile, values: [i64; 2]| {
        profile
            .sample(Sample::new("main;work", &[values[0]]).with(&[("k", "v")]))
            .sample(Sample::new("main", &[values[1]]).linked(&[1; 16], &[2; 8]))
    };
    let profiles = vec![with(Profile::cpu(), [3, 1]), with(cpu_time(), [31, 11])];
    let link = format!("span_id={},trace_id={}", "02".repeat(8), "01".repeat(16));
    let main = format!("main {{{link}}} [1, 11]");
    check_stacks(&Export::of(SERVICE_A, profiles), &[A, CPU_TYPES, "work<main {k=v} [3, 31]", &main]);
}

#[test]
fn counts_beside_cpu_time_stay_counts() {
    let profiles = vec![
        Profile::cpu().sample(Sample::new("main", &[3])),
        cpu_time().sample(Sample::new("main;work", &[31])),
    ];
    let count = "samples:count per 10000000 cpu:nanoseconds";
    let time = "cpu:nanoseconds per 10000000 cpu:nanoseconds";
    check_stacks(&Export::of(SERVICE_A, profiles), &[A, count, "main {} [3]", A, time, "work<main {} [31]"]);
}

#[test]
fn profiles_of_one_type_are_not_joined() {
    let profile = |value| Profile::cpu().sample(Sample::new("main", &[value]));
    let types = "cpu:nanoseconds per 10000000 cpu:nanoseconds";
    let want = [A, types, "main {} [10000000]", A, types, "main {} [20000000]"];
    check_stacks(&Export::of(SERVICE_A, vec![profile(1), profile(2)]), &want);
    let later = Profile { time_ns: 5, ..cpu_time() }.sample(Sample::new("main", &[7]));
    let want = [A, types, "main {} [10000000]", A, types, "main {} [7]"];
    check_stacks(&Export::of(SERVICE_A, vec![profile(1), later]), &want);
}

#[test]
fn a_value_that_one_sibling_lacks_is_none() {
    let with = |profile: Profile, values: [&[i64]; 3]| {
        values.into_iter().fold(profile, |profile, values| profile.sample(Sample::new("main", values)))
    };
    let profiles = vec![with(Profile::cpu(), [&[3], &[], &[]]), with(cpu_time(), [&[31], &[11], &[]])];
    let want = [A, CPU_TYPES, "main {} [3, 31]", "main {} [0, 11]", "unusable: 3"];
    check_stacks(&Export::of(SERVICE_A, profiles), &want);
}

#[test]
fn timestamps_and_several_values() {
    let profile = Profile::cpu()
        .sample(Sample::new("a", &[]).at(&[1, 2, 3]).with(&[("k", "v")]))
        .sample(Sample::new("b", &[2, 5]).at(&[1, 2]))
        .sample(Sample::new("c", &[1]).at(&[1, 2, 3, 4]))
        .sample(Sample::new("d", &[]));
    check(
        &Export::of(SERVICE_A, vec![profile]),
        &[
            A,
            "cpu:nanoseconds per 10000000 cpu:nanoseconds",
            "a {k=v} [30000000]",
            "b {} [70000000]",
            "c {} [40000000]",
            "unusable: 1",
        ],
    );
}

#[test]
fn frames_that_nobody_has_symbolised_keep_their_place() {
    let profile = Profile::cpu().sample(Sample::new("main;0x5000", &[1]));
    let bytes = Export::of(SERVICE_A, vec![profile]).encode(Release::V1_10);
    assert_eq!(words(&bytes)[2], "0x5000 in /app/bin abcd<main {} [10000000]");
    let otlp = Otlp::parse(&bytes).expect("valid");
    let texts = Texts::new(&otlp);
    let part = Part { service: Service::Resource, samples: None };
    let mut pprof = Pprof::default();
    Converter::new(&otlp, &texts, 0, usize::MAX).fill(siblings(&otlp)[0], &part, &mut pprof).expect("valid");
    let mapping = pprof.mappings[0];
    assert_eq!((mapping.memory_start, mapping.memory_limit, mapping.has_functions), (0x1000, 0x9000, false));
}

#[test]
fn attributes_become_labels() {
    let mut resource = Resource {
        attributes: attributes(&[("host.name", "h"), ("empty", ""), ("__name__", "x")]),
        ..Resource::default()
    };
    resource.attributes.push(("pid".to_owned(), 7.into()));
    resource.attributes.push(("one".to_owned(), AttributeValue::List(vec![5.into()])));
    resource.attributes.push(("two".to_owned(), AttributeValue::List(vec![5.into(), 6.into()])));
    resource.attributes.push(("yes".to_owned(), AttributeValue::Bool(true)));
    resource.attributes.push(("half".to_owned(), AttributeValue::Double(0.5)));
    resource.scope_attributes = attributes(&[("host.name", "second"), ("scope", "s")]);
    resource.profiles = vec![Profile::cpu().sample(Sample::new("main", &[1]))];
    let want = "__name__=process_cpu __delta__=false __otel__=true service_name=unknown_service host.name=h pid=7 one=5 scope=s";
    check(
        &Export { resources: vec![resource], ..Export::default() },
        &[want, "cpu:nanoseconds per 10000000 cpu:nanoseconds", "main {} [10000000]"],
    );
}

#[test]
fn services_of_samples_split_a_profile() {
    let sample = |stack, pairs: &[(&str, &str)]| Sample::new(stack, &[1]).with(pairs);
    let profile = Profile::cpu()
        .sample(sample("x", &[("service.name", "b"), ("k", "v")]))
        .sample(sample("y", &[]))
        .sample(sample("z", &[("service.name", "b")]));
    let types = "cpu:nanoseconds per 10000000 cpu:nanoseconds";
    let want =
        [&A.replace("=a", "=b"), types, "x {k=v} [10000000]", "z {} [10000000]", A, types, "y {} [10000000]"];
    check(&Export::of(SERVICE_A, vec![profile]), &want);
}

#[test]
fn executables_stand_in_for_services() {
    let service = |resource: &[(&str, &str)], sample: &[(&str, &str)]| {
        let profile = Profile::cpu().sample(Sample::new("x", &[1]).with(sample));
        let got = words(&Export::of(resource, vec![profile]).encode(Release::V1_10));
        got[0].split(' ').find_map(|label| label.strip_prefix("service_name=")).expect("has one").to_owned()
    };
    let executable = "process.executable.name";
    assert_eq!(service(&[], &[]), "unknown_service");
    assert_eq!(service(&[(executable, "nginx")], &[]), "unknown_service:nginx");
    assert_eq!(service(&[], &[(executable, "sshd")]), "unknown_service:sshd");
    assert_eq!(service(&[(executable, "nginx")], &[(executable, "sshd")]), "unknown_service:nginx");
    assert_eq!(service(SERVICE_A, &[(executable, "sshd")]), "a");
    assert_eq!(service(&[], &[(executable, "sshd"), ("service.name", "s")]), "s");
    assert_eq!(service(&[("service_name", "odd"), ("service.name", "a")], &[]), "a");
}

#[test]
fn texts_that_many_may_share_are_not_long() {
    let long = "s".repeat(70 << 10);
    let refused = |export: Export, why: &str| {
        for release in Release::ALL {
            let got = words(&export.encode(release));
            assert!(got[0].starts_with("error: ") && got[0].contains(why), "{release:?}: {:.300}", got[0]);
        }
    };
    let named = Sample::new("x", &[1]).with(&[("service.name", &long)]);
    refused(
        Export::of(&[], vec![Profile::cpu().sample(named)]),
        "service.name has 71680 bytes, more than 65536",
    );
    let resource = [("k", &*long)];
    let profile = || Profile::cpu().sample(Sample::new("x", &[1]));
    refused(Export::of(&resource, vec![profile()]), "attributes of the resource and scope have more than");
    let names: Vec<String> = (0..4096).map(|at| format!("k{at}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "")).collect();
    refused(Export::of(&many, vec![profile()]), "attributes of the resource and scope have more than");
    let profile = Profile::new((&long[..5000], "count"), Some(("cpu", "nanoseconds")), 1);
    let profile = profile.sample(Sample::new("x", &[1]));
    refused(Export::of(SERVICE_A, vec![profile]), "the sample type has 5000 bytes, more than 4096");
}

/// An export whose only sample is these bytes, with a dictionary of one entry each.
fn with_sample(sample: &[u8]) -> Vec<u8> {
    let mut profile = Vec::new();
    wire::bytes(&mut profile, 1, &[8, 1, 16, 2]);
    wire::bytes(&mut profile, 2, sample);
    wire::bytes(&mut profile, 5, &[8, 3, 16, 4]);
    wire::number(&mut profile, 6, 1);
    let (mut scope, mut resource, mut dictionary, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    wire::bytes(&mut scope, 2, &profile);
    wire::bytes(&mut resource, 2, &scope);
    for field in [1, 3, 4, 6] {
        wire::bytes(&mut dictionary, field, b"");
    }
    ["", "samples", "count", "cpu", "nanoseconds"]
        .iter()
        .for_each(|text| wire::bytes(&mut dictionary, 5, text.as_bytes()));
    // A location of function 9, and one of mapping 9.
    wire::bytes(&mut dictionary, 2, b"");
    wire::bytes(&mut dictionary, 2, &[0x1a, 2, 8, 9]);
    wire::bytes(&mut dictionary, 2, &[8, 9, 16, 5]);
    for stack in [&[][..], &[77], &[1], &[2]] {
        let mut entry = Vec::new();
        wire::numbers(&mut entry, 1, stack, true);
        wire::bytes(&mut dictionary, 7, &entry);
    }
    wire::bytes(&mut out, 1, &resource);
    wire::bytes(&mut out, 2, &dictionary);
    out
}

#[test]
fn indices_that_point_nowhere_are_named() {
    let check = |sample: &[u8], want: &str| {
        let got = words(&with_sample(sample)).join(" ");
        assert!(
            got.starts_with("error: profile 0 of the export (resource 0): ") && got.contains(want),
            "{got}"
        );
    };
    let value = &[0x22, 1, 5];
    check(
        &[&[8, 9], &value[..]].concat(),
        "sample 0: stack index 9 is outside of its table, which has 4 entries",
    );
    check(
        &[&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &value[..]].concat(),
        "sample 0: stack index -1 is outside",
    );
    check(
        &[&[8, 1], &value[..]].concat(),
        "sample 0: location index 77 is outside of its table, which has 3 entries",
    );
    check(&[&[8, 2], &value[..]].concat(), "sample 0: function index 9 is outside");
    check(&[&[8, 3], &value[..]].concat(), "mapping index 9 is outside");
    check(&[&[0x12, 1, 3], &value[..]].concat(), "sample 0: attribute index 3 is outside");
    check(&[&[0x18, 3], &value[..]].concat(), "sample 0: link index 3 is outside");
    assert_eq!(words(&with_sample(value))[2], " {} [5]");
}

#[test]
fn stacks_are_cut_and_profiles_given_up_at_their_limits() {
    let deep: Vec<String> = (0..50).map(|at| format!("f{at}")).collect();
    let profile = Profile::cpu().sample(Sample::new(&deep.join(";"), &[1])).sample(Sample::new("f0", &[1]));
    let bytes = Export::of(SERVICE_A, vec![profile]).encode(Release::V1_10);
    let otlp = Otlp::parse(&bytes).expect("valid");
    let texts = Texts::new(&otlp);
    let part = Part { service: Service::Resource, samples: None };
    let mut pprof = Pprof::default();
    Converter::new(&otlp, &texts, 3, usize::MAX).fill(siblings(&otlp)[0], &part, &mut pprof).expect("valid");
    assert_eq!(
        pprof_words(&pprof)[1..],
        ["f2<f1<f0 {} [10000000]", "f0 {} [10000000]"],
        "the root side stays"
    );
    let filled =
        Converter::new(&otlp, &texts, 1000, 20).fill(siblings(&otlp)[0], &part, &mut pprof).expect("valid");
    assert!(filled.bytes > 20 && pprof.samples.len() == 1, "{filled:?}");
}
