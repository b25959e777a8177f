//! A bucket of a real S3 server, and the same behind a proxy that fails: what is read is right or an error, what is written
//! is there once.

#![cfg(feature = "cloud")]
#![allow(clippy::disallowed_methods, clippy::single_range_in_vec_init, reason = "a test; one range is meant")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hearth_common::Classify;
use hearth_objstore::{
    Class, Encryption, PutOutcome, RemoteOptions, Store, StoreError, StoreErrorKind, StoreOptions,
    conformance,
};
use hearth_testkit::fault_proxy::{Asked, Fault, FaultProxy};
use hearth_testkit::s3::{BUCKET, S3Server};
use prometheus_client::registry::Registry;

/// Server, proxy and a way to open stores; `None`, with a note, where there is no server.
fn bucket() -> Option<Bucket> {
    match S3Server::start() {
        Ok(server) => Some(Bucket { proxy: FaultProxy::start(server.port()), server }),
        Err(why) => {
            hearth_testkit::report::skipped(&format!("object store tests: {why}"));
            None
        }
    }
}

struct Bucket {
    server: S3Server,
    proxy: FaultProxy,
}

impl Bucket {
    /// Through the proxy; quick to give up.
    fn store(&self, change: impl FnOnce(&mut RemoteOptions)) -> Store {
        self.store_at(self.proxy.port(), change)
    }

    /// The server itself.
    fn plain(&self) -> Store {
        self.store_at(self.server.port(), |_| {})
    }

    fn store_at(&self, port: u16, change: impl FnOnce(&mut RemoteOptions)) -> Store {
        let environment = S3Server::environment(port);
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut remote = RemoteOptions {
            environment: Some(environment),
            request_timeout: Duration::from_secs(20),
            ..RemoteOptions::default()
        };
        change(&mut remote);
        let options = StoreOptions { remote, ..StoreOptions::default() };
        Store::open(&format!("s3://{BUCKET}/below/here"), options).expect("opens")
    }
}

fn metric(store: &Store, name: &str) -> u64 {
    let mut registry = Registry::default();
    store.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// Random numbers of a seed, for many threads.
#[derive(Debug, Default)]
struct Random(AtomicU64);

impl Random {
    fn below(&self, end: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}

/// Every seventh read and every seventh other request fails, each time in another way.
fn now_and_then() -> impl Fn(&Asked<'_>) -> Fault + Send + Sync {
    const STALL: Fault = Fault::Stall(Duration::from_millis(200));
    const READS: [Fault; 6] =
        [Fault::Refuse, Fault::LoseAnswer, STALL, Fault::CutBody, Fault::ShortBody, Fault::RefuseAfter];
    const OTHERS: [Fault; 4] = [Fault::RefuseAfter, Fault::LoseAnswer, STALL, Fault::Refuse];
    let (reads, others) = (AtomicU64::new(0), AtomicU64::new(0));
    move |asked| {
        let (count, faults) = match asked.method {
            "GET" => (&reads, &READS[..]),
            _ => (&others, &OTHERS[..]),
        };
        let number = count.fetch_add(1, Ordering::Relaxed) as usize;
        if number % 7 == 6 { faults[number / 7 % faults.len()] } else { Fault::None }
    }
}

fn content(key: u64, bytes: usize) -> Bytes {
    let random = Random(AtomicU64::new(key));
    (0..bytes.div_ceil(8)).flat_map(|_| random.below(u64::MAX).to_le_bytes()).take(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_conforms() {
    let Some(bucket) = bucket() else { return };
    conformance::check(&bucket.plain(), 1).await.expect("conforms");
    conformance::check(&bucket.store(|_| {}), 2).await.expect("conforms through a proxy that does nothing");
    assert_eq!(bucket.proxy.counts().keys().copied().collect::<Vec<_>>(), ["none"]);
}

/// Many rivals for each key, while requests and answers are lost.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_rivals_creates_an_object() {
    let Some(bucket) = bucket() else { return };
    for (round, faulty) in [false, true].into_iter().enumerate() {
        if faulty {
            bucket.proxy.set(now_and_then());
        }
        let store = bucket.store(|_| {});
        for key in 0..12 {
            let key = format!("{round}/key-{key}");
            let rivals = (0..8).map(|rival| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move { store.put_if_absent(&key, content(rival, 100)).await })
            });
            let outcomes = futures::future::join_all(rivals).await;
            let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("no panic")).collect();
            let held = bucket.plain().get(&key, 1000).await.expect("somebody created it");
            let owner = (0..8).position(|rival| held == content(rival, 100)).expect("it is somebody's");
            for (rival, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(PutOutcome::Created) => assert_eq!(rival, owner, "who is told so is the owner"),
                    Ok(PutOutcome::AlreadyExists) => assert!(faulty || rival != owner),
                    Err(error) => assert!(faulty && error.outcome_unknown(), "{error}"),
                }
            }
        }
    }
}

/// Objects of all sizes, written and read through faults: what was said to be written is there, once, and every read gives
/// these bytes or an error.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_there_and_what_is_read_is_right() {
    let Some(bucket) = bucket() else { return };
    bucket.proxy.set(now_and_then());
    let store = bucket.store(|remote| remote.upload_retry_for = Duration::from_secs(30));
    let random = Arc::new(Random(AtomicU64::new(3)));
    let sizes = [0, 1, 5000, 100_000, 3 << 20, 17 << 20, 20 << 20];
    let write = async |n: u64| {
        let bytes = content(n, sizes[n as usize % sizes.len()]);
        let key = format!("objects/{n}");
        if n.is_multiple_of(2) {
            return (key.clone(), bytes.clone(), store.put(&key, bytes).await.is_ok());
        }
        let mut upload = store.of(Class::Compaction).upload(key.clone());
        for piece in bytes.chunks(3_000_001) {
            if upload.write(Bytes::copy_from_slice(piece)).await.is_err() {
                upload.abort().await;
                return (key, bytes, false);
            }
        }
        let finished = upload.finish().await.is_ok_and(|written| written == bytes.len() as u64);
        (key, bytes, finished)
    };
    let written = futures::future::join_all((0..14).map(write)).await;
    let (mut exact, mut failed) = (0, 0);
    for (key, bytes, ok) in &written {
        let held = bucket.plain().get(key, 1 << 30).await;
        match held {
            Ok(held) => assert!(held == bytes, "{key} holds other bytes"),
            Err(error) => assert!(!ok && error.is_not_found(), "{key}: {error}"),
        }
        for _ in 0..10 {
            let length = bytes.len() as u64;
            let mut ranges = Vec::new();
            for _ in 0..1 + random.below(4) {
                let start = random.below(length + 1);
                ranges.push(start..start + random.below(length - start + 1));
            }
            let Ok(got) = store.of(Class::Query).get_ranges(key, &ranges).await else {
                failed += 1;
                continue;
            };
            for (range, got) in ranges.iter().zip(got) {
                assert!(got == bytes[range.start as usize..range.end as usize], "{key} {range:?}");
            }
            exact += 1;
        }
    }
    let listed: BTreeSet<String> =
        bucket.plain().list("objects").await.expect("lists").into_iter().map(|o| o.key).collect();
    assert!(listed.iter().all(|key| written.iter().any(|(known, ..)| known == key)), "{listed:?}");
    let lost = written.iter().filter(|(_, _, ok)| !ok).count();
    let counts = bucket.proxy.counts();
    println!("{exact} reads exact, {failed} failed, {lost} of {} writes failed; {counts:?}", written.len());
    // With ten retries for each request next to nothing fails in the end, and everything was tried.
    assert!(lost <= 1 && failed <= exact / 20, "{lost} {failed} of {exact}");
    for fault in ["refuse", "refuse-after", "lose-answer", "stall", "cut-body", "short-body"] {
        assert!(counts.get(fault).is_some_and(|count| *count >= 1), "{fault} {counts:?}");
    }
    assert!(metric(&store, r#"hearth_objstore_retries_total{operation="get_range",class="query"}"#) >= 1);
    let failed = |class: &str| {
        let labels = format!(r#"{{operation="upload",class="{class}",ending="failed"}}"#);
        metric(&store, &format!("hearth_objstore_requests_total{labels}"))
    };
    assert!(failed("compaction") + failed("publish") >= 1 && failed("query") == 0);
}

/// A server whose every answer to a read is wrong in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_is_not_believed() {
    let Some(bucket) = bucket() else { return };
    let bytes = content(1, 100_000);
    bucket.plain().put("whole", bytes.clone()).await.expect("written");
    bucket.plain().put("empty", Bytes::new()).await.expect("written");
    let store = bucket.store(|remote| (remote.retries_max, remote.retry_for) = (2, Duration::from_secs(5)));
    for lie in [Fault::CutBody, Fault::ShortBody, Fault::WholeObject, Fault::OtherRange] {
        bucket.proxy.set(move |asked| if asked.method == "GET" { lie } else { Fault::None });
        let range = store.get_ranges("whole", &[10..20_000, 50_000..50_001]).await;
        assert!(range.is_err_and(|error| error.outcome_unknown()), "{lie:?}");
        let whole = store.get("whole", 1 << 20).await;
        assert!(whole.is_err_and(|error| error.outcome_unknown()), "{lie:?}");
        assert!(store.get("whole", 10).await.is_err());
    }
    // "No such object" is an answer only when it is whole.
    let first = AtomicU64::new(0);
    let cut_first = move |_: &Asked<'_>| match first.fetch_add(1, Ordering::Relaxed) {
        0 => Fault::CutBody,
        _ => Fault::None,
    };
    bucket.proxy.set(cut_first);
    assert!(store.get("none", 10).await.is_err_and(|error| error.is_not_found()));
    bucket.proxy.set(|_| Fault::None);
    let limited = store.get("whole", 99_999).await.expect_err("too large");
    assert_eq!(limited.kind, StoreErrorKind::TooLarge { bytes: 100_000, limit: 99_999 });
    assert_eq!(store.get("whole", 100_000).await.expect("fits"), bytes);
    assert_eq!(store.get("empty", 0).await.expect("an empty object"), Bytes::new());
    let behind = store.get_ranges("whole", &[99_999..100_001]).await.expect_err("behind the end");
    assert_eq!(behind.kind, StoreErrorKind::OutOfRange);
}

/// A store that is away is not asked over and over: the budget ends, and comes back with the store.
#[tokio::test(flavor = "multi_thread")]
async fn retries_end_with_their_budget() {
    let Some(bucket) = bucket() else { return };
    bucket.plain().put("one", Bytes::from_static(b"1")).await.expect("written");
    bucket.proxy.set(|_| Fault::Refuse);
    let store = bucket.store(|remote| (remote.retry_budget, remote.retries_max) = (4, 2));
    let ask = async || store.of(Class::Query).get_ranges("one", &[0..1]).await;
    for _ in 0..5 {
        let error: StoreError = ask().await.expect_err("refused");
        assert_eq!(error.kind(), hearth_common::ErrorKind::Unavailable);
    }
    assert_eq!(bucket.proxy.counts()["refuse"], 5 + 4, "three of five without a retry");
    let refused = r#"hearth_objstore_retry_budget_refused_total{class="query"}"#;
    assert_eq!(metric(&store, refused), 3);
    assert_eq!(
        metric(&store, r#"hearth_objstore_retries_exhausted_total{operation="get_range",class="query"}"#),
        2
    );
    let error = ask().await.expect_err("refused");
    assert!(hearth_common::error::chain(&error).contains("the retry budget of class 'query' is used up"));
    // Other classes have their own.
    assert!(store.put("two", Bytes::new()).await.is_err());
    assert_eq!(metric(&store, r#"hearth_objstore_retries_total{operation="upload",class="publish"}"#), 2);
    // Ten that succeed pay for one retry.
    bucket.proxy.set(|_| Fault::None);
    for _ in 0..10 {
        ask().await.expect("well again");
    }
    let failed = AtomicU64::new(0);
    bucket
        .proxy
        .set(move |_| if failed.fetch_add(1, Ordering::Relaxed) == 0 { Fault::Refuse } else { Fault::None });
    ask().await.expect("tried again");
}

/// The first request of a read stands still; the second one answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_read_is_sent_twice() {
    let Some(bucket) = bucket() else { return };
    bucket.plain().put("one", content(1, 1000)).await.expect("written");
    let store = bucket.store(|remote| remote.hedge_after = Duration::from_millis(100));
    let slow = Duration::from_secs(15);
    let set =
        |proxy: &FaultProxy| {
            let first = AtomicU64::new(0);
            proxy.set(move |_| {
                if first.fetch_add(1, Ordering::Relaxed) == 0 { Fault::Stall(slow) } else { Fault::None }
            });
        };
    set(&bucket.proxy);
    let started = Instant::now();
    let got = store.of(Class::Query).get_ranges("one", &[5..10]).await.expect("read");
    assert_eq!(got[0], content(1, 1000).slice(5..10));
    assert!(started.elapsed() < slow / 2, "{:?}", started.elapsed());
    assert_eq!(metric(&store, r#"hearth_objstore_hedges_total{outcome="won"}"#), 1);
}

/// A store that is away for longer than requests are tried, while a merge writes.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_pieces_waits_for_the_store() {
    let Some(bucket) = bucket() else { return };
    let store = bucket.store(|remote| {
        (remote.retries_max, remote.upload_retry_for) = (0, Duration::from_secs(60));
    });
    let store = store.of(Class::Compaction);
    let (bytes, requests) = (content(5, 20 << 20), Arc::new(AtomicU64::new(0)));
    // Each step fails at first: beginning, the parts, and the answer that says it is complete is lost.
    let (seen, count) = (std::sync::Mutex::new(BTreeSet::new()), Arc::clone(&requests));
    bucket.proxy.set(move |asked| {
        count.fetch_add(1, Ordering::Relaxed);
        let step = format!("{} {}", asked.method, asked.target.split("&uploadId").next().unwrap_or_default());
        match seen.lock().expect("not poisoned").insert(step) {
            true if asked.method == "POST" && asked.target.contains("uploadId") => Fault::RefuseAfter,
            true if asked.method != "HEAD" => Fault::Refuse,
            _ => Fault::None,
        }
    });
    let mut upload = store.upload("merged");
    for piece in bytes.chunks(1 << 20) {
        upload.write(Bytes::copy_from_slice(piece)).await.expect("written");
    }
    assert_eq!(upload.finish().await.expect("complete"), bytes.len() as u64);
    assert_eq!(bucket.plain().get("merged", 1 << 30).await.expect("read"), bytes);
    // Small ones, too.
    let mut upload = store.upload("small");
    upload.write(Bytes::from_static(b"small")).await.expect("kept");
    assert_eq!(upload.finish().await.expect("complete"), 5);
    let retries = metric(&store, r#"hearth_objstore_upload_retries_total{class="compaction"}"#);
    assert_eq!(retries, 5, "a beginning, three parts and a put");
    assert_eq!(
        metric(
            &store,
            r#"objstore_bucket_operation_failures_total{operation="attributes",bucket="profiles"}"#
        ),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_encrypted_as_is_said() {
    let Some(bucket) = bucket() else { return };
    let store = bucket.store(|remote| {
        remote.encryption = Encryption::S3;
        remote.encryption_below = vec![
            ("t/a/".to_owned(), Encryption::Kms("key-of-a".to_owned())),
            ("t/b/".to_owned(), Encryption::Bucket),
        ];
    });
    store.put("t/a/small", content(1, 10)).await.expect("written");
    store.put("t/a/large", content(2, 17 << 20)).await.expect("written");
    store.put_if_absent("t/a/created", content(3, 10)).await.expect("written");
    let mut upload = store.upload("t/a/pieces");
    for _ in 0..2 {
        upload.write(content(4, 6 << 20)).await.expect("written");
    }
    upload.finish().await.expect("written");
    store.put("t/ab/small", content(5, 10)).await.expect("written");
    let header = |key: &str, name: &str| {
        let answer = bucket.server.ask("HEAD", &format!("/{BUCKET}/below/here/{key}")).expect("answered");
        let line = answer.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.unwrap_or_default()
    };
    for key in ["t/a/small", "t/a/large", "t/a/created", "t/a/pieces"] {
        assert_eq!(header(key, "x-amz-server-side-encryption"), "aws:kms", "{key}");
        assert_eq!(header(key, "x-amz-server-side-encryption-aws-kms-key-id"), "key-of-a", "{key}");
    }
    assert_eq!(header("t/ab/small", "x-amz-server-side-encryption"), "AES256");
    assert_eq!(store.get("t/a/large", 1 << 30).await.expect("read").len(), 17 << 20);
}
