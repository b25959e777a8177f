//! Names for addresses: a program is compiled, profiles of its addresses are pushed, and its symbols uploaded afterwards. What is
//! to be found is said by addr2line, which shares nothing with Hearth.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::CPU;
use hearth_integration_tests::process::{OPEN_LIMITS, Options, binary};
use hearth_integration_tests::{Api, Hearth};
use hearth_testkit::PprofBuilder;
use hearth_testkit::otlp::{Binary, Export, Profile, Release, Sample};
use hearth_testkit::raw::{RawLocation, RawSample};
use serde_json::{Value, json};

/// Where the program lay in memory.
const BASE: u64 = 0x5555_5555_0000;
const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "/debuginfo.v1alpha1.DebuginfoService";

const SOURCE: &str = r#"
#include <stdint.h>
volatile uint64_t sink;

static inline __attribute__((always_inline)) uint64_t mixed_in(uint64_t x) {
    sink ^= x * 2654435761u;
    return sink % 7919 + 3;
}

__attribute__((noinline)) uint64_t busy_work(uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += mixed_in(sum + i) / (i + 1);
    }
    return sum;
}

__attribute__((noinline)) int outermost(int n) {
    return (int)busy_work((uint64_t)n) + 1;
}

int main(void) {
    return outermost(1000) == 42;
}
"#;

fn run(program: &str, args: &[&str]) -> String {
    let output: Output =
        Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {out}{err}");
    out.into_owned()
}

/// The program, with addresses as the file has them.
struct Program {
    path: PathBuf,
    build_id: String,
    /// In `outermost`, of the call of `busy_work`.
    outer: u64,
    /// In `busy_work`, where `mixed_in` is inlined.
    inlined: u64,
}

fn compile(dir: &Path) -> Program {
    let (source, path) = (dir.join("shop.c"), dir.join("shop"));
    std::fs::write(&source, SOURCE).unwrap();
    let paths = [path.to_str().unwrap(), source.to_str().unwrap()];
    run("cc", &["-g", "-O1", "-Wl,--build-id=sha1", "-o", paths[0], paths[1]]);
    let notes = run("readelf", &["-n", paths[0]]);
    let build_id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap().to_owned();
    let range = |function: &str| {
        let symbols = run("nm", &["-S", paths[0]]);
        let line = symbols.lines().find(|line| line.ends_with(&format!(" {function}"))).unwrap();
        let hex = |part: &str| u64::from_str_radix(part, 16).unwrap();
        let mut parts = line.split(' ');
        let start = hex(parts.next().unwrap());
        start..start + hex(parts.next().unwrap())
    };
    let inlined = range("busy_work").find(|at| names(&path, *at) == ["mixed_in", "busy_work"]);
    let outer = range("outermost").nth(5).unwrap();
    assert_eq!(names(&path, outer), ["outermost"]);
    Program { build_id, outer, inlined: inlined.expect("mixed_in is inlined"), path }
}

/// Functions at an address and their lines, innermost first, as addr2line says.
fn addr2line(program: &Path, address: u64) -> Vec<(String, String)> {
    let text = run("addr2line", &["-f", "-i", "-e", program.to_str().unwrap(), &format!("{address:#x}")]);
    let lines: Vec<&str> = text.lines().collect();
    let place = |text: &str| text.rsplit('/').next().unwrap().split(' ').next().unwrap().to_owned();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), place(pair[1]))).collect()
}

fn names(program: &Path, address: u64) -> Vec<String> {
    addr2line(program, address).into_iter().map(|(name, _)| name).collect()
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// Three stacks of addresses below a function with a name: outer → inlined (10), outer (20), and a hole of the program (40).
fn pprof(program: &Program, build_id: &str) -> Vec<u8> {
    let mut builder = PprofBuilder::new(&[("cpu", "nanoseconds")])
        .period("cpu", "nanoseconds", 10_000_000)
        .time_ns(now_ns())
        .duration_ns(1_000_000_000)
        .stack("interpreter", &[1]);
    let (file, id) = (builder.string("/opt/shop/shop"), builder.string(build_id));
    let mut raw = builder.raw();
    raw.samples.clear();
    let mapping = &mut raw.mappings[0];
    (mapping.memory_start, mapping.memory_limit, mapping.file_offset) = (BASE, BASE + 0x10_0000, 0);
    (mapping.filename, mapping.build_id, mapping.has_functions) = (file, id, false);
    let named = raw.locations[0].id;
    for (id, address) in [(100, program.inlined), (101, program.outer), (102, 0xf_ff00)] {
        let location = RawLocation { id, mapping_id: 1, address: BASE + address, ..RawLocation::default() };
        raw.locations.push(location);
    }
    let sample = |ids: &[u64], value: i64| RawSample {
        location_ids: ids.to_vec(),
        values: vec![value],
        ..RawSample::default()
    };
    raw.samples.extend([
        sample(&[100, 101, named], 10),
        sample(&[101, named], 20),
        sample(&[102, named], 40),
    ]);
    raw.encode()
}

/// The same as OTLP, without the named function.
fn otlp(program: &Program) -> Vec<u8> {
    let at = |address: u64| format!("{:#x}", BASE + address);
    let profile = Profile { time_ns: now_ns() as u64, ..Profile::cpu() }
        .sample(Sample::new(&format!("{};{}", at(program.outer), at(program.inlined)), &[3]));
    let binary = Binary {
        file: "shop".to_owned(),
        build_id: program.build_id.clone(),
        start: BASE,
        limit: BASE + 0x10_0000,
        offset: 0,
    };
    let export = Export { binary, ..Export::of(&[("service.name", "native-otlp")], vec![profile]) };
    export.encode(Release::V1_10)
}

fn question(service: &str) -> Value {
    let now_ms = now_ns() / 1_000_000;
    json!({"profile_typeID": CPU, "label_selector": format!("{{service_name=\"{service}\"}}"),
        "start": now_ms - 600_000, "end": now_ms + 60_000})
}

/// Stacks of a flame graph (names joined by `;`) with their own values, sorted.
fn stacks(api: &Api, question: &Value) -> Vec<(String, i64)> {
    let answer = api.query("SelectMergeStacktraces", question);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let graph = answer.json()["flamegraph"].clone();
    let number =
        |value: &Value| value.as_str().map_or_else(|| value.as_i64().unwrap(), |t| t.parse().unwrap());
    let mut found = Vec::new();
    // (first tick, ticks, path) of the level above.
    let mut above: Vec<(i64, i64, String)> = Vec::new();
    for (depth, level) in graph["levels"].as_array().into_iter().flatten().enumerate() {
        let values: Vec<i64> = level["values"].as_array().unwrap().iter().map(number).collect();
        let (mut tick, mut row) = (0, Vec::new());
        for node in values.chunks(4) {
            tick += node[0];
            let name = graph["names"][node[3] as usize].as_str().unwrap();
            let parent = above.iter().find(|(start, ticks, _)| *start <= tick && tick < start + ticks);
            let path = match (depth, parent) {
                (0, _) => String::new(),
                (_, Some((_, _, path))) if path.is_empty() => name.to_owned(),
                (_, Some((_, _, path))) => format!("{path};{name}"),
                _ => panic!("a node without a parent: {graph}"),
            };
            if node[2] > 0 {
                found.push((path.clone(), node[2]));
            }
            row.push((tick, node[1], path));
            tick += node[1];
        }
        above = row;
    }
    found.sort();
    found
}

/// Asks until an answer is as it should be: what nobody had a moment ago is looked for again only after some seconds.
fn wait_for(api: &Api, question: &Value, want: &[(&str, i64)]) {
    let mut want: Vec<(String, i64)> =
        want.iter().map(|(path, value)| ((*path).to_owned(), *value)).collect();
    want.sort();
    let started = Instant::now();
    loop {
        let found = stacks(api, question);
        if found == want {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{found:?} in place of {want:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn hearth(args: &[&str], url: &str) -> String {
    run(binary().to_str().unwrap(), &[args, &["--url", url, "--tenant", "t"]].concat())
}

fn options(dir: &Path, enabled: bool) -> Options {
    let limits = format!("{OPEN_LIMITS}  symbolizer: {{ enabled: {enabled} }}\n");
    Options { config: limits, ..Options::new(&dir.join("data")) }
}

/// Functions with file and line of each location of a pprof, by the sample's value; innermost first.
fn lines_of(profile: &Value) -> Vec<(i64, Vec<(String, String)>)> {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse::<i64>().unwrap(),
        Value::Null => 0,
        other => other.as_i64().unwrap(),
    };
    let text = |index: &Value| profile["stringTable"][number(index) as usize].as_str().unwrap().to_owned();
    let by_id = |list: &str, id: &Value| {
        let all = profile[list].as_array().unwrap();
        all.iter().find(|one| one["id"] == *id).unwrap().clone()
    };
    let mut found = Vec::new();
    for sample in profile["sample"].as_array().unwrap() {
        let mut lines = Vec::new();
        for id in sample["locationId"].as_array().unwrap() {
            for line in by_id("location", id)["line"].as_array().unwrap() {
                let function = by_id("function", &line["functionId"]);
                let file = text(&function["filename"]);
                let file = file.rsplit('/').next().unwrap().to_owned();
                lines.push((text(&function["name"]), format!("{file}:{}", number(&line["line"]))));
            }
        }
        found.push((number(&sample["value"][0]), lines));
    }
    found.sort();
    found
}

#[test]
fn addresses_get_names_lines_and_inlined_functions() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path());
    let server = Hearth::start(&options(dir.path(), true));
    let api = server.api("t");
    let pushed = api.push(
        &[("__name__", "process_cpu"), ("service_name", "native")],
        &pprof(&program, &program.build_id),
    );
    assert_eq!(pushed.unwrap().status, 200);
    let sent = api.post("/v1development/profiles", "application/x-protobuf", &otlp(&program)).unwrap();
    assert_eq!(sent.status, 200, "{}", sent.text());

    // Nobody has the program: addresses, in the head and from blocks.
    let stand_in = |address: u64| format!("shop!{:#x}", BASE + address);
    let (outer, inlined, hole) = (stand_in(program.outer), stand_in(program.inlined), stand_in(0xf_ff00));
    let unnamed = [
        (format!("interpreter;{outer};{inlined}"), 10),
        (format!("interpreter;{outer}"), 20),
        (format!("interpreter;{hole}"), 40),
    ];
    let unnamed: Vec<(&str, i64)> = unnamed.iter().map(|(path, value)| (path.as_str(), *value)).collect();
    wait_for(&api, &question("native"), &unnamed);
    api.flush();
    wait_for(&api, &question("native"), &unnamed);

    // Uploaded by the command line.
    let path = program.path.to_str().unwrap();
    let said = hearth(&["symbols", "upload", path], &server.url);
    assert!(said.contains(&format!("uploaded as {}", program.build_id)), "{said}");
    let said = hearth(&["symbols", "upload", path], &server.url);
    assert!(said.contains("it has been uploaded before"), "{said}");
    let listed = hearth(&["symbols", "ls"], &server.url);
    assert!(listed.contains(&program.build_id) && listed.contains("shop"), "{listed}");
    let hole_path = format!("interpreter;{hole}");
    let named: Vec<(&str, i64)> = vec![
        ("interpreter;outermost;busy_work;mixed_in", 10),
        ("interpreter;outermost", 20),
        (&hole_path, 40),
    ];
    wait_for(&api, &question("native"), &named);
    let in_otlp: i64 = 3 * 10_000_000;
    wait_for(&api, &question("native-otlp"), &[("outermost;busy_work;mixed_in", in_otlp)]);

    // A call site may go through names that were found.
    let mut under = question("native");
    under["stack_trace_selector"] = json!({"call_site": [{"name": "interpreter"}, {"name": "outermost"}]});
    wait_for(&api, &under, &named[..2]);

    // pprof has lines, too: those that addr2line tells.
    let profile = api.query("SelectMergeProfile", &question("native")).json();
    let of = |address| addr2line(&program.path, address);
    let shown = lines_of(&profile);
    let without_root = |at: usize| shown[at].1[..shown[at].1.len() - 1].to_vec();
    assert_eq!((shown[0].0, without_root(0)), (10, [of(program.inlined), of(program.outer)].concat()));
    assert_eq!((shown[1].0, without_root(1)), (20, of(program.outer)));
    assert_eq!((shown[2].0, without_root(2)), (40, vec![(hole.clone(), ":0".to_owned())]));
    let mapping = &profile["mapping"][0];
    assert_eq!(mapping["hasFunctions"], true, "{mapping}");

    // The line table is in the store, and a process that was started anew needs nothing else.
    let table = dir.path().join("data/store/symbolizer/t").join(&program.build_id);
    assert!(table.is_file(), "{}", table.display());
    server.stop();
    let server = Hearth::start(&options(dir.path(), true));
    let api = server.api("t");
    wait_for(&api, &question("native"), &named);
    let metrics = api.get("/metrics").unwrap().text();
    let hits = "pyroscope_symbolizer_cache_operations_total{cache=\"store\",result=\"hit\"} 1";
    assert!(metrics.contains(hits), "{metrics}");

    // Another tenant sees nothing of it.
    let other = server.api("other");
    let pushed = other.push(
        &[("__name__", "process_cpu"), ("service_name", "native")],
        &pprof(&program, &program.build_id),
    );
    assert_eq!(pushed.unwrap().status, 200);
    wait_for(&other, &question("native"), &unnamed);

    // Removed, it is forgotten.
    hearth(&["symbols", "rm", &program.build_id], &server.url);
    assert!(!table.exists());
    assert!(hearth(&["symbols", "ls"], &server.url).contains("no symbols were uploaded"));
    server.stop();
    let server = Hearth::start(&options(dir.path(), true));
    wait_for(&server.api("t"), &question("native"), &unnamed);
    raw_upload(&server.api("t"), &program);
    wait_for(&server.api("t"), &question("native"), &named);
    server.stop();
    // They are no strays of the bucket.
    let data = dir.path().join("data");
    let checked =
        run(binary().to_str().unwrap(), &["admin", "bucket", "verify", "--data-dir", data.to_str().unwrap()]);
    assert!(!checked.contains("debug-info") && !checked.contains("symbolizer"), "{checked}");

    // Off, frames without names are left out, as ever.
    let server = Hearth::start(&options(dir.path(), false));
    wait_for(&server.api("t"), &question("native"), &[("interpreter", 70)]);
    server.stop();
}

/// By the API alone.
fn raw_upload(api: &Api, program: &Program) {
    let call = |method: &str, body: &Value| {
        let path = format!("{SERVICE}/{method}");
        let answer = api.post(&path, "application/json", body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        answer.json()
    };
    let id = program.build_id.to_uppercase();
    let file = json!({"file": {"gnuBuildId": id, "name": "shop", "type": "TYPE_EXECUTABLE_FULL"}});
    assert_eq!(call("ShouldInitiateUpload", &file)["shouldInitiateUpload"], true);
    let elf = std::fs::read(&program.path).unwrap();
    let sent = api.post(&format!("{SERVICE}/Upload/{id}"), "application/octet-stream", &elf).unwrap();
    assert_eq!((sent.status, sent.text().as_str()), (200, ""));
    call("UploadFinished", &json!({"gnuBuildId": id}));
}
