//! Names for native frames, where line tables come from, and what happens when they cannot be had.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearth_common::limits::symbolizer::Symbolizer;
use hearth_common::{Clock, TenantId, TenantLimits, TimestampNs};
use hearth_debuginfo::{FileInfo, FileKind, Uploads};
use hearth_model::name_tree::NodeId;
use hearth_model::native::NativeFrame;
use hearth_model::{Answer, NameTree, ProfileQuery, ProfileType, Question, Selector};
use hearth_querier::SymbolOptions;
use hearth_symbols::BuildId;
use hearth_testkit::HandClock;
use parking_lot::Mutex;
use support::{BASE_MS, CPU, Profile, World, tenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Questions until names must have come.
const TRIES_MAX: u32 = 600;
/// Beyond the time for which "nobody has it" is believed, and that for which a table is not asked for again.
const LATER: Duration = Duration::from_secs(61);

/// A program of one function, as a compiler makes it.
struct Program {
    elf: Bytes,
    build_id: BuildId,
    /// In the function `work`.
    work: u64,
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("it is there");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn compile(dir: &Path) -> Program {
    let (source, out) = (dir.join("p.c"), dir.join("p"));
    std::fs::write(&source, "int work(int n) { return n * 3; }\nint main(void) { return work(4); }\n")
        .expect("written");
    let out = out.to_str().expect("UTF-8");
    run("cc", &["-g", "-O0", "-Wl,--build-id=sha1", "-o", out, source.to_str().expect("UTF-8")]);
    let symbols = run("nm", &[out]);
    let line = symbols.lines().find(|line| line.ends_with(" T work")).expect("a function");
    let work = u64::from_str_radix(line.split(' ').next().expect("an address"), 16).expect("hex");
    let elf = Bytes::from(std::fs::read(out).expect("readable"));
    let build_id = hearth_symbols::build_id_of(&elf).expect("an ELF").expect("an id");
    Program { elf, build_id, work: work + 4 }
}

/// A stack of `main` and one address of the program.
fn push(world: &World, program: &Program, address: u64, value: i64) {
    push_as(world, program.build_id.as_str(), address, value);
}

fn push_as(world: &World, build_id: &str, address: u64, value: i64) {
    let frame = NativeFrame {
        build_id,
        file: "/bin/shop",
        start: 0x7000_0000,
        limit: 0x7010_0000,
        offset: 0,
        address: 0x7000_0000 + address,
    };
    let stack: &'static str = Box::leak(format!("main;{}", frame.encode()).into_boxed_str());
    world.push(Profile::new("s", BASE_MS, &[(stack, value)]));
}

fn enabled() -> TenantLimits {
    let symbolizer = Symbolizer { enabled: true, ..Symbolizer::default() };
    TenantLimits { symbolizer, ..TenantLimits::default() }
}

fn world(symbols: SymbolOptions, limits: TenantLimits) -> (World, Arc<HandClock>) {
    let clock = Arc::new(HandClock::at(TimestampNs::from_ms(BASE_MS + 600_000)));
    (World::with_symbols(symbols, limits, Arc::<HandClock>::clone(&clock) as Arc<dyn Clock>), clock)
}

fn question() -> Question {
    Question::Tree(ProfileQuery {
        profile_type: ProfileType::parse(CPU).expect("valid"),
        selector: Selector::parse("{}").expect("valid"),
        range: hearth_common::TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    })
}

/// Paths of names that have a value, sorted.
async fn paths(world: &World, tenant: &TenantId) -> Vec<String> {
    let asked = world.querier.ask(std::slice::from_ref(tenant), &question(), TIMEOUT).await;
    let (Answer::Tree(tree), _) = asked.expect("an answer") else { panic!("no tree") };
    let mut found = Vec::new();
    for (at, _) in tree.selfs().iter().enumerate().filter(|(_, value)| **value != 0) {
        let (mut node, mut path) = (NodeId(at as u32), Vec::new());
        while node != NameTree::ROOT {
            path.insert(0, tree.name(node).to_owned());
            node = tree.parent(node);
        }
        found.push(path.join(";"));
    }
    found.sort();
    found
}

type Answers = Arc<Mutex<Box<dyn FnMut(&str) -> (u16, Bytes, Duration) + Send>>>;

/// A debuginfod: status, file and delay by the path that is asked for. Counts requests.
async fn debuginfod(
    answer: impl FnMut(&str) -> (u16, Bytes, Duration) + Send + 'static,
) -> (String, Arc<AtomicU64>) {
    debuginfod_after(std::future::ready(()), answer).await
}

/// One that takes no call before it is `open`.
async fn debuginfod_after(
    open: impl Future<Output = ()> + Send + 'static,
    answer: impl FnMut(&str) -> (u16, Bytes, Duration) + Send + 'static,
) -> (String, Arc<AtomicU64>) {
    let answers: Answers = Arc::new(Mutex::new(Box::new(answer)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked: Arc<AtomicU64> = Arc::default();
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        open.await;
        while let Ok((mut socket, _)) = listener.accept().await {
            let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                count.fetch_add(1, Ordering::SeqCst);
                let (status, file, delay) = (answers.lock())(&path);
                tokio::time::sleep(delay).await;
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    file.len()
                );
                let _ = socket.write_all(&[head.as_bytes(), &file].concat()).await;
            });
        }
    });
    (url, asked)
}

fn from(url: &str) -> SymbolOptions {
    SymbolOptions { debuginfod_url: url.to_owned(), ..SymbolOptions::default() }
}

/// `main;shop!0x…` of an address.
fn unnamed(address: u64) -> String {
    format!("main;shop!{:#x}", 0x7000_0000 + address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debuginfod_is_asked_once_and_its_table_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let (elf, wanted) = (program.elf.clone(), format!("/buildid/{}/debuginfo", program.build_id));
    let (url, asked) = debuginfod(move |path| match path == wanted {
        true => (200, elf.clone(), Duration::from_millis(50)),
        false => (404, Bytes::new(), Duration::ZERO),
    })
    .await;
    let (world, _) = world(from(&url), enabled());
    push(&world, &program, program.work, 5);
    push(&world, &program, 0xf_0000, 7);
    let want = ["main;work".to_owned(), unnamed(0xf_0000)];
    let tenant = tenant();
    let both = tokio::join!(paths(&world, &tenant), paths(&world, &tenant));
    assert_eq!((&both.0[..], &both.1[..]), (sorted(&want).as_slice(), sorted(&want).as_slice()));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let key = format!("symbolizer/{tenant}/{}", program.build_id);
    assert!(world.store.exists(&key).await.expect("asks"));
    let metrics = world.metrics();
    for line in [
        "hearth_querier_symbol_frames_total{outcome=\"named\"} 2\n",
        "hearth_querier_symbol_frames_total{outcome=\"no_function\"} 2\n",
        "pyroscope_symbolizer_debuginfod_request_duration_seconds_count{status=\"found\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

fn sorted(paths: &[String]) -> Vec<String> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    sorted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_does_not_wait_for_a_slow_server_and_the_next_one_has_the_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let elf = program.elf.clone();
    let (open, opened) = tokio::sync::oneshot::channel::<()>();
    let opened = async move { opened.await.expect("the test opens it") };
    let (url, asked) = debuginfod_after(opened, move |_| (200, elf.clone(), Duration::ZERO)).await;
    let symbols = SymbolOptions { timeout: Duration::from_millis(100), ..from(&url) };
    let (world, _) = world(symbols, enabled());
    push(&world, &program, program.work, 5);
    assert_eq!(paths(&world, &tenant()).await, [unnamed(program.work)]);
    assert!(world.metrics().contains("hearth_querier_symbol_frames_total{outcome=\"late\"} 1\n"));
    open.send(()).expect("the server waits for it");
    for tries in 0.. {
        if paths(&world, &tenant()).await == ["main;work"] {
            break;
        }
        assert!(tries < TRIES_MAX);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_never_fails_for_want_of_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let (url, asked) = debuginfod(|_| (500, Bytes::new(), Duration::ZERO)).await;
    let (world, clock) = world(from(&url), enabled());
    push(&world, &program, program.work, 5);
    for _ in 0..3 {
        assert_eq!(paths(&world, &tenant()).await, [unnamed(program.work)]);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3, "three tries, and then a pause");
    // Somebody uploads it.
    upload(&world, &program.build_id, &program.elf).await;
    assert_eq!(paths(&world, &tenant()).await, [unnamed(program.work)], "it is believed for some seconds");
    clock.pass(LATER);
    assert_eq!(paths(&world, &tenant()).await, ["main;work"]);
    assert_eq!(asked.load(Ordering::SeqCst), 3, "who has an upload asks nobody else");
}

async fn upload(world: &World, build_id: &BuildId, elf: &Bytes) -> Uploads {
    let counter = AtomicU64::new(0x100);
    let rng = Arc::new(move || u128::from(counter.fetch_add(1, Ordering::Relaxed)));
    let clock = Arc::new(hearth_common::SystemClock::default());
    let uploads = Uploads::new(world.store.clone(), rng, clock, Duration::from_secs(420));
    let file = FileInfo {
        build_id: build_id.clone(),
        go_build_id: String::new(),
        otel_file_id: String::new(),
        name: "p".to_owned(),
        kind: FileKind::ExecutableFull,
    };
    uploads.begin(&tenant(), &file).await.expect("begins");
    let mut receiving = uploads.receive(&tenant(), build_id).await.expect("pending");
    receiving.write(elf.clone()).await.expect("written");
    receiving.finish().await.expect("received");
    uploads.finish(&tenant(), build_id).await.expect("finished");
    uploads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_used_until_it_is_deleted() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let (world, clock) = world(SymbolOptions::default(), enabled());
    let uploads = upload(&world, &program.build_id, &program.elf).await;
    push(&world, &program, program.work, 5);
    assert_eq!(paths(&world, &tenant()).await, ["main;work"]);
    // The file is not needed any more: the table is.
    let key = format!("symbolizer/{}/{}", tenant(), program.build_id);
    assert!(world.store.exists(&key).await.expect("asks"));
    uploads.delete(&tenant(), &program.build_id).await.expect("deletes");
    clock.pass(LATER);
    assert_eq!(paths(&world, &tenant()).await, [unnamed(program.work)]);
    // A table that is damaged is made anew.
    let uploads = upload(&world, &program.build_id, &program.elf).await;
    world.store.put(&key, Bytes::from_static(b"no table at all")).await.expect("puts");
    clock.pass(LATER);
    assert_eq!(paths(&world, &tenant()).await, ["main;work"]);
    let made = world.store.get(&key, 1 << 20).await.expect("reads");
    assert!(hearth_symbols::LineTable::open(made).is_ok());
    drop(uploads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_say_where_the_source_lies_hide_no_program() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let (world, _) = world(SymbolOptions::default(), enabled());
    upload(&world, &program.build_id, &program.elf).await;
    let labelled = format!(r#"{{"repository":"github.com/a/b","build_id":"{}"}}"#, program.build_id);
    push_as(&world, &labelled, program.work, 5);
    push_as(&world, r#"{"repository":"github.com/a/b"}"#, program.work, 7);
    let want = ["main;work".to_owned(), unnamed(program.work)];
    assert_eq!(paths(&world, &tenant()).await, sorted(&want));
    let line = "hearth_querier_symbol_frames_total{outcome=\"no_build_id\"} 1\n";
    assert!(world.metrics().contains(line), "{}", world.metrics());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_use_gives_no_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let limited = |max_symbol_size_bytes| {
        let mut limits = enabled();
        limits.symbolizer.max_symbol_size_bytes = max_symbol_size_bytes;
        limits
    };
    // Uploaded under the id of another program, cut off, or too large.
    let other = BuildId::parse("0badcafe").expect("valid");
    let cut = program.elf.slice(..200);
    let size = program.elf.len() as u64;
    for (id, elf, limits, error) in [
        (&other, &program.elf, enabled(), "unreadable"),
        (&program.build_id, &cut, enabled(), "unreadable"),
        (&program.build_id, &program.elf, limited(size - 1), "too_large"),
    ] {
        let (world, _) = world(SymbolOptions::default(), limits);
        let seen = Program { build_id: id.clone(), elf: program.elf.clone(), ..program };
        upload(&world, id, elf).await;
        push(&world, &seen, program.work, 5);
        assert_eq!(paths(&world, &tenant()).await, [unnamed(program.work)]);
        let counted = format!("pyroscope_debug_symbol_resolution_errors_total{{error_type=\"{error}\"}} 1\n");
        assert!(world.metrics().contains(&counted), "{counted} in {}", world.metrics());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_a_query_have_a_bound() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = compile(dir.path());
    let mut limits = enabled();
    limits.symbolizer.max_unresolved_locations = 1;
    let (world, _) = world(SymbolOptions::default(), limits);
    upload(&world, &program.build_id, &program.elf).await;
    push(&world, &program, program.work, 5);
    push(&world, &program, program.work + 1, 5);
    assert_eq!(paths(&world, &tenant()).await, sorted(&["main;work".to_owned(), unnamed(program.work + 1)]));
    assert!(world.metrics().contains("hearth_querier_symbol_frames_total{outcome=\"too_many\"} 1\n"));
}

/// Heads and blocks are asked for native frames only when the tenant has names.
#[tokio::test]
async fn without_the_limit_nobody_is_asked_for_native_frames() {
    for (limits, want) in [(TenantLimits::default(), false), (enabled(), true)] {
        let (world, _) = world(SymbolOptions::default(), limits);
        let native: Arc<Mutex<Vec<bool>>> = Arc::default();
        let seen = Arc::clone(&native);
        *world.head.script.lock() = Some(Box::new(move |_, request| {
            seen.lock().push(request.question.profile_query().is_some_and(|query| query.native));
            None
        }));
        world.push(Profile::new("s", BASE_MS, &[("main;work", 3)]));
        assert_eq!(paths(&world, &tenant()).await, ["main;work"]);
        assert_eq!(*native.lock(), [want]);
    }
}
