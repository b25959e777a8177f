//! Uploads in memory and in a folder: one after the other, at once, interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearth_common::{Classify, Clock, ErrorKind, TenantId, TimestampNs};
use hearth_debuginfo::{Begun, Error, FileInfo, FileKind, Programs, Source, Uploads};
use hearth_objstore::{Store, StoreOptions};
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

    async fn finish(&self) -> Result<(), Error> {
        self.uploads.finish(&self.tenant, &self.id).await.map(drop)
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
    world.finish().await.expect("finishes");
    assert_eq!(world.stored().await.expect("is there"), file);
    assert!(!world.begins().await, "it is there");
    assert!(matches!(world.finish().await, Err(Error::NotPending(_))));
    assert!(matches!(world.send(&file).await, Err(Error::NotPending(_))), "what is finished does not change");
    let [entry] = &world.uploads.list(&world.tenant).await.expect("lists")[..] else { panic!("not one") };
    assert_eq!((entry.size_bytes, entry.file.clone()), (1234, world.file()));
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
    assert_eq!(finished.into_iter().filter(Result::is_ok).count(), 1);
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
    let get = || async { programs.table(tenant, id, 100).await.expect("asks") };
    let put =
        async |source: &Source| programs.put_table(tenant, id, source, table.clone()).await.expect("puts");
    assert!(get().await.is_none());
    assert!(put(&Source::Elsewhere).await);
    assert_eq!(get().await, Some(table.clone()));
    // An upload takes the place of what came from elsewhere.
    assert!(world.begins().await);
    assert!(put(&Source::Elsewhere).await, "it is not finished");
    world.send(&elf(1, 50)).await.expect("received");
    world.finish().await.expect("finishes");
    assert!(!programs.has_table(tenant, id).await.expect("asks"));
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
