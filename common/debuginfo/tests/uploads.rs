//! Uploads in memory and in a folder: one after the other, at once, interrupted.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_common::{Classify, Clock, ErrorKind, TenantId, TimestampNs};
use hearth_debuginfo::{Begun, Entry, Error, FileInfo, FileKind, Programs, Source, Uploads};
use hearth_objstore::{Fault, Faults, Operation, Store, StoreOptions};
use hearth_symbols::BuildId;

/// A clock that a test moves.
#[derive(Debug)]
struct ManualClock(AtomicI64);

impl ManualClock {
    fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst) as u64)
    }
}

const STALE_AFTER: Duration = Duration::from_secs(420);

struct World {
    uploads: Uploads,
    programs: Programs,
    store: Store,
    clock: Arc<ManualClock>,
    tenant: TenantId,
    id: BuildId,
    _folder: Option<tempfile::TempDir>,
}

fn world(in_folder: bool) -> World {
    let folder = in_folder.then(|| tempfile::tempdir().expect("a folder"));
    let url = folder.as_ref().map_or("memory:".to_owned(), |dir| format!("file://{}", dir.path().display()));
    let store = Store::open(&url, StoreOptions::default()).expect("opens");
    let clock = Arc::new(ManualClock(AtomicI64::new(1_700_000_000_000_000_000)));
    let counter = AtomicU64::new(1);
    let rng = Arc::new(move || u128::from(counter.fetch_add(1, Ordering::Relaxed)));
    World {
        uploads: Uploads::new(store.clone(), rng, Arc::<ManualClock>::clone(&clock), STALE_AFTER),
        programs: Programs::new(store.clone()),
        store,
        clock,
        tenant: TenantId::parse("a").expect("valid"),
        id: BuildId::parse("0badcafe").expect("valid"),
        _folder: folder,
    }
}

fn elf(fill: u8, bytes: usize) -> Bytes {
    let mut file = b"\x7fELF".to_vec();
    file.resize(bytes, fill);
    Bytes::from(file)
}

impl World {
    fn file(&self) -> FileInfo {
        FileInfo {
            build_id: self.id.clone(),
            go_build_id: String::new(),
            otel_file_id: String::new(),
            name: "shop".to_owned(),
            kind: FileKind::ExecutableFull,
        }
    }

    async fn begins(&self) -> bool {
        matches!(self.uploads.begin(&self.tenant, &self.file()).await.expect("asks"), Begun::Yes(_))
    }

    /// Sends a file in pieces of 100 bytes.
    async fn send(&self, file: &Bytes) -> Result<u64, Error> {
        let mut receiving = self.uploads.receive(&self.tenant, &self.id).await?;
        for piece in file.chunks(100) {
            receiving.write(Bytes::copy_from_slice(piece)).await?;
        }
        receiving.finish().await
    }

    async fn finish(&self) -> Result<Entry, Error> {
        self.uploads.finish(&self.tenant, &self.id).await
    }

    /// Of another process, whose calls fail as `faults` says.
    fn with_faults(&self, faults: Arc<dyn Faults>) -> Uploads {
        let counter = AtomicU64::new(1 << 32);
        let rng = Arc::new(move || u128::from(counter.fetch_add(1, Ordering::Relaxed)));
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        Uploads::new(self.store.with_faults(faults), rng, clock, STALE_AFTER)
    }

    async fn stored(&self) -> Option<Bytes> {
        let uploaded = self.programs.uploaded(&self.tenant, &self.id).await.expect("asks")?;
        let read = self.programs.read(&uploaded, 1 << 20).await.expect("reads");
        assert_eq!(read.len() as u64, uploaded.bytes);
        Some(read)
    }

    async fn files(&self) -> usize {
        self.store.list("debug-info/a/0badcafe/exe").await.expect("lists").len()
    }
}

async fn a_life(in_folder: bool) {
    let world = world(in_folder);
    let file = elf(1, 1234);
    assert!(matches!(world.send(&file).await, Err(Error::NotPending(_))), "nothing was begun");
    assert!(matches!(world.finish().await, Err(Error::NotFound(_))));
    assert!(world.begins().await);
    assert!(!world.begins().await, "one is pending");
    assert!(matches!(world.finish().await, Err(Error::NoFile(_))));
    assert_eq!(world.send(&file).await.expect("received"), 1234);
    assert!(world.stored().await.is_none(), "it is not finished");
    world.clock.advance(Duration::from_secs(3));
    let finished = world.finish().await.expect("finishes");
    assert_eq!(world.stored().await.expect("is there"), file);
    assert!(!world.begins().await, "it is there");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.finish().await.expect("it is finished"), finished, "an answer may have been lost");
    assert_eq!(world.stored().await.expect("is there"), file);
    assert!(matches!(world.send(&file).await, Err(Error::NotPending(_))), "what is finished does not change");
    let [entry] = &world.uploads.list(&world.tenant).await.expect("lists")[..] else { panic!("not one") };
    assert_eq!((entry.size_bytes, entry.file.clone()), (1234, world.file()));
    assert_eq!(*entry, finished);
    let took_ms = entry.finished.expect("finished").as_ms() - entry.started.as_ms();
    assert_eq!(took_ms, 3000);
    let other = TenantId::parse("b").expect("valid");
    assert!(world.uploads.list(&other).await.expect("lists").is_empty());
    for _ in 0..2 {
        world.uploads.delete(&world.tenant, &world.id).await.expect("deletes");
        assert!(world.stored().await.is_none());
        assert_eq!(
            (world.files().await, world.uploads.list(&world.tenant).await.expect("lists").len()),
            (0, 0)
        );
    }
    assert!(world.begins().await, "as if it had never been");
    assert_eq!(world.send(&file).await.expect("received"), 1234);
    world.finish().await.expect("finishes");
    assert_eq!(world.stored().await.expect("is there"), file);
}

#[tokio::test]
async fn an_upload_is_begun_received_finished_and_deleted() {
    a_life(false).await;
    a_life(true).await;
}

async fn at_once(in_folder: bool) {
    let world = world(in_folder);
    let begun = futures::future::join_all((0..8).map(|_| world.begins())).await;
    assert_eq!(begun.into_iter().filter(|yes| *yes).count(), 1, "one of them is to send");
    // Two send all the same, each another file: what is there in the end is one of them as a whole.
    let (one, two) = (elf(1, 5000), elf(2, 7000));
    let (first, second) = tokio::join!(world.send(&one), world.send(&two));
    assert!(first.is_ok() && second.is_ok());
    let finished = futures::future::join_all((0..4).map(|_| world.finish())).await;
    let finished: Vec<Entry> = finished.into_iter().map(|finished| finished.expect("finishes")).collect();
    assert!(finished.iter().all(|entry| *entry == finished[0]), "all are told the same: {finished:?}");
    let stored = world.stored().await.expect("is there");
    assert!(stored == one || stored == two);
    assert_eq!(world.files().await, 1, "the other one is gone");
}

#[tokio::test]
async fn of_those_who_upload_at_once_one_counts() {
    at_once(false).await;
    at_once(true).await;
}

#[tokio::test]
async fn who_comes_late_changes_nothing() {
    let world = world(true);
    assert!(world.begins().await);
    let mut late = world.uploads.receive(&world.tenant, &world.id).await.expect("pending");
    late.write(elf(9, 500)).await.expect("written");
    let file = elf(1, 600);
    world.send(&file).await.expect("received");
    world.finish().await.expect("finishes");
    assert!(matches!(late.finish().await, Err(Error::NotPending(_))));
    assert_eq!((world.stored().await.expect("is there"), world.files().await), (file, 1));
    // The same when the upload is deleted meanwhile.
    world.uploads.delete(&world.tenant, &world.id).await.expect("deletes");
    assert!(world.begins().await);
    let mut late = world.uploads.receive(&world.tenant, &world.id).await.expect("pending");
    late.write(elf(9, 500)).await.expect("written");
    world.uploads.delete(&world.tenant, &world.id).await.expect("deletes");
    assert!(matches!(late.finish().await, Err(Error::NotPending(_))));
    assert_eq!(world.files().await, 0);
    // It does not become the file of the next upload either: whoever ended its own may be about to take it away.
    assert!(world.begins().await);
    let mut late = world.uploads.receive(&world.tenant, &world.id).await.expect("pending");
    late.write(elf(9, 500)).await.expect("written");
    world.uploads.delete(&world.tenant, &world.id).await.expect("deletes");
    world.clock.advance(Duration::from_millis(1));
    assert!(world.begins().await);
    assert!(matches!(late.finish().await, Err(Error::NotPending(_))));
    assert!(matches!(world.finish().await, Err(Error::NoFile(_))));
    assert_eq!(world.files().await, 0);
}

/// Cannot remove received files, as long as it is set.
#[derive(Debug)]
struct KeepsFiles(AtomicBool);

impl Faults for KeepsFiles {
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault> {
        let keeps = operation == Operation::Delete && key.contains("/exe/") && self.0.load(Ordering::SeqCst);
        Box::pin(std::future::ready(if keeps { Fault::FailBefore } else { Fault::None }))
    }
}

#[tokio::test]
async fn an_old_table_goes_first_and_who_finishes_again_ends_what_was_left() {
    let world = world(false);
    let World { programs, store, tenant, id, .. } = &world;
    let faults = Arc::new(KeepsFiles(AtomicBool::new(true)));
    let uploads = world.with_faults(Arc::<KeepsFiles>::clone(&faults));
    let table = Bytes::from_static(b"table");
    programs.put_table(tenant, id, &Source::Elsewhere, table).await.expect("puts").expect("nothing else");
    assert!(world.begins().await);
    let left = format!("debug-info/a/0badcafe/exe/{:032x}", 7);
    store.put(&left, elf(1, 40)).await.expect("puts");
    world.send(&elf(2, 50)).await.expect("received");
    uploads.finish(tenant, id).await.expect_err("a file cannot be removed");
    assert_eq!(programs.table_tag(tenant, id).await.expect("asks"), None, "its names would be wrong");
    assert_eq!(world.files().await, 2);
    faults.0.store(false, Ordering::SeqCst);
    let finished = uploads.finish(tenant, id).await.expect("finishes");
    assert_eq!(vec![finished], uploads.list(tenant).await.expect("lists"));
    assert_eq!((world.files().await, store.exists(&left).await.expect("asks")), (1, false));
    assert_eq!(world.stored().await.expect("is there"), elf(2, 50));
}

/// Does something else between the end of an upload and what comes behind it.
struct Between {
    ended: AtomicBool,
    other: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl Faults for Between {
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault> {
        Box::pin(async move {
            if operation == Operation::Create {
                self.ended.store(true, Ordering::SeqCst);
            }
            let is_behind = key.ends_with("/exe") || operation == Operation::Delete;
            let now = is_behind && self.ended.load(Ordering::SeqCst);
            let other = now.then(|| self.other.lock().expect("not poisoned").take()).flatten();
            if let Some(other) = other {
                other.await;
            }
            Fault::None
        })
    }
}

#[tokio::test]
async fn the_end_of_an_upload_takes_no_file_of_the_next_one() {
    for deletes in [false, true] {
        let world = world(false);
        assert!(world.begins().await);
        world.send(&elf(1, 50)).await.expect("received");
        let (uploads, clock) = (world.uploads.clone(), Arc::clone(&world.clock));
        let (tenant, file) = (world.tenant.clone(), world.file());
        let other = async move {
            uploads.delete(&tenant, &file.build_id).await.expect("deletes");
            clock.advance(Duration::from_millis(1));
            let begun = uploads.begin(&tenant, &file).await.expect("begins");
            assert!(matches!(begun, Begun::Yes(_)), "{begun:?}");
            let mut receiving = uploads.receive(&tenant, &file.build_id).await.expect("pending");
            receiving.write(elf(2, 60)).await.expect("written");
            receiving.finish().await.expect("received");
        };
        let other: Mutex<Option<BoxFuture<'static, ()>>> = Mutex::new(Some(Box::pin(other)));
        let between = Arc::new(Between { ended: AtomicBool::new(false), other });
        let uploads = world.with_faults(Arc::<Between>::clone(&between));
        match deletes {
            true => uploads.delete(&world.tenant, &world.id).await.expect("deletes"),
            false => _ = uploads.finish(&world.tenant, &world.id).await.expect("finishes"),
        }
        assert!(between.other.lock().expect("not poisoned").is_none(), "it came between");
        world.finish().await.expect("the file is there");
        assert_eq!(world.stored().await.expect("is there"), elf(2, 60));
        assert_eq!(world.files().await, 1);
    }
}

#[tokio::test]
async fn an_upload_that_was_left_is_taken_over() {
    let world = world(false);
    assert!(world.begins().await);
    world.clock.advance(STALE_AFTER);
    assert!(!world.begins().await);
    world.clock.advance(Duration::from_millis(1));
    assert!(world.begins().await);
    assert!(!world.begins().await, "it is pending anew");
}

#[tokio::test]
async fn only_programs_are_received() {
    let world = world(true);
    assert!(world.begins().await);
    for wrong in [&b"\x1f\x8b gzip"[..], b"\x7fEL", b"", b"MZ"] {
        let error = world.send(&Bytes::copy_from_slice(wrong)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{wrong:?}: {error}");
    }
    // The first bytes may come one by one.
    let mut receiving = world.uploads.receive(&world.tenant, &world.id).await.expect("pending");
    for byte in elf(3, 10) {
        receiving.write(Bytes::from(vec![byte])).await.expect("written");
    }
    assert_eq!(receiving.finish().await.expect("received"), 10);
    let mut given_up = world.uploads.receive(&world.tenant, &world.id).await.expect("pending");
    given_up.write(elf(4, 99)).await.expect("written");
    given_up.abort().await;
    world.finish().await.expect("finishes");
    assert_eq!((world.stored().await.expect("is there").len(), world.files().await), (10, 1));
}

#[tokio::test]
async fn tables_go_with_what_they_were_made_of() {
    let world = world(false);
    let World { uploads, programs, tenant, id, .. } = &world;
    let table = Bytes::from_static(b"table");
    let get = || async { programs.table(tenant, id, 100).await.expect("asks").map(|(_, table)| table) };
    let put = async |source: &Source| {
        programs.put_table(tenant, id, source, table.clone()).await.expect("puts").is_some()
    };
    assert!(get().await.is_none());
    assert!(put(&Source::Elsewhere).await);
    assert_eq!(get().await, Some(table.clone()));
    // An upload takes the place of what came from elsewhere.
    assert!(world.begins().await);
    assert!(put(&Source::Elsewhere).await, "it is not finished");
    world.send(&elf(1, 50)).await.expect("received");
    world.finish().await.expect("finishes");
    assert!(programs.table_tag(tenant, id).await.expect("asks").is_none());
    assert!(!put(&Source::Elsewhere).await);
    assert!(get().await.is_none());
    let uploaded = Source::Upload(programs.uploaded(tenant, id).await.expect("asks").expect("is there"));
    assert!(put(&uploaded).await);
    assert_eq!(get().await, Some(table.clone()));
    // Deleted with the upload, and not put back by who was late.
    uploads.delete(tenant, id).await.expect("deletes");
    assert!(get().await.is_none());
    assert!(!put(&uploaded).await);
    assert!(get().await.is_none());
    // Nor when it was uploaded anew.
    assert!(world.begins().await);
    world.send(&elf(2, 60)).await.expect("received");
    world.finish().await.expect("finishes");
    assert!(!put(&uploaded).await);
}

#[tokio::test]
async fn a_table_in_the_place_of_another_has_another_tag() {
    for in_folder in [false, true] {
        let world = world(in_folder);
        let World { programs, tenant, id, .. } = &world;
        let put = async |table: &'static [u8]| {
            let table = Bytes::from_static(table);
            let put = programs.put_table(tenant, id, &Source::Elsewhere, table).await;
            put.expect("puts").expect("nothing else was put")
        };
        let tag = async || programs.table_tag(tenant, id).await.expect("asks").expect("is there");
        let first = put(&b"one"[..]).await;
        assert_eq!((tag().await, tag().await), (first.clone(), first.clone()));
        let read = programs.table(tenant, id, 100).await.expect("asks");
        assert_eq!(read, Some((first.clone(), Bytes::from_static(b"one"))));
        let second = put(&b"two"[..]).await;
        assert_eq!(tag().await, second);
        assert_ne!(first, second);
    }
}
