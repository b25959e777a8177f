//! What links and answers cost: run with `cargo test --release -p hearth-internode --test cost -- --ignored --nocapture`.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_internode::{Hello, Link, LinkOptions, Metrics, packed};
use hearth_model::{Answer, NameTree, answer_bytes};
use support::{Nothing, Port, append, hello, inbox, member};
use tokio_util::sync::CancellationToken;

/// CPU time of this process: user and system, from the system's own count in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 =
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
async fn entries_of_64_kib_over_a_link() {
    const FRAMES: u64 = 32_768;
    const RECORD_BYTES: usize = 64 << 10;
    let (sink_b, mut at_b) = inbox(false);
    let port = Port::open(hello("b"), Arc::new(Nothing), sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let local: Hello = hello("a");
    let options = LinkOptions {
        address: port.address.clone(),
        local,
        peer: member("b"),
        sink: sink_a,
        tls: None,
        random: Arc::new(|| 7),
        metrics: Metrics::default(),
    };
    let (link, task) = Link::new(options);
    let stop = CancellationToken::new();
    tokio::spawn(task.run(stop.clone()));
    at_a.event(|event| event.state == hearth_internode::LinkState::Up).await;
    let record = Bytes::from((0..RECORD_BYTES).map(|at| (at * 31) as u8).collect::<Vec<u8>>());
    let (began, before) = (Instant::now(), cpu());
    tokio::spawn(async move {
        for number in 0..FRAMES {
            link.send(append(number, record.clone())).await.expect("the stream is up");
        }
    });
    for _ in 0..FRAMES {
        at_b.frame().await;
    }
    let megabytes = (FRAMES as usize * RECORD_BYTES) as f64 / 1e6;
    let (took, cpu) = (began.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    println!(
        "{megabytes:.0} MB in {took:.2} s: {:.0} MB/s, CPU of both sides {:.0} us/MB",
        megabytes / took,
        cpu * 1e6 / megabytes
    );
    port.close().await;
}

/// 36,000 nodes under 6,000 names, as an hour of a Go service has them.
fn tree() -> NameTree {
    let mut tree = NameTree::new();
    let mut random = 88_172_645_463_325_252u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    while tree.len() < 36_000 {
        let mut node = NameTree::ROOT;
        for depth in 0..4 + next(30) {
            // Names near the root are few.
            let name = if depth < 4 { next(8) } else { next(6_000) };
            let package =
                ["net/http", "runtime", "encoding/json", "github.com/company/service/internal/store"];
            let name = format!("{}.(*Type{}).Method{name}", package[(name % 4) as usize], name % 400);
            let name = tree.intern(&name);
            node = tree.child(node, name);
        }
        tree.add_self(node, 10_000_000 * (1 + next(50) as i64));
    }
    tree
}

#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn a_large_tree() {
    const TIMES: u32 = 20;
    let answer = Answer::Tree(tree());
    let raw = answer_bytes::encode(&answer).expect("small");
    let bytes = packed::pack(&raw).expect("small");
    let began = Instant::now();
    for _ in 0..TIMES {
        packed::pack(&answer_bytes::encode(&answer).expect("small")).expect("small");
    }
    let encoding = began.elapsed() / TIMES;
    let began = Instant::now();
    for _ in 0..TIMES {
        answer_bytes::decode(&packed::unpack(&bytes).expect("valid")).expect("valid");
    }
    let decoding = began.elapsed() / TIMES;
    println!("{} B, packed {} B, encoded in {encoding:?}, decoded in {decoding:?}", raw.len(), bytes.len());
}
