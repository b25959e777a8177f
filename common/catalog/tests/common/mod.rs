//! Journals, blocks and a clock for the tests of the catalog.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use hearth_block::BlockSpec;
use hearth_catalog::{BlockEntry, Catalog, CatalogOptions, Commit, ObjectEntry, SourceRange};
use hearth_common::{
    CellId, Clock, DiskId, Incarnation, InstanceId, JournalId, MemberId, Position, TenantId, TimestampNs,
};
use hearth_objstore::{Fault, Faults, Operation, Store, StoreOptions};

/// Follows tokio's clock, which tests stop and move.
#[derive(Debug)]
pub struct TokioClock(pub tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(1_700_000_000_000_000_000 + self.monotonic().as_nanos() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed() + Duration::from_secs(1)
    }
}

#[derive(Debug, Clone)]
pub struct Random(Arc<Mutex<u64>>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    pub fn next(&self) -> u64 {
        let mut x = self.0.lock().unwrap();
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub fn below(&self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Makes some calls fail and all wait a little; root creations sometimes for days.
#[derive(Debug)]
pub struct Chaos {
    pub random: Random,
    pub percent: u64,
}

impl Faults for Chaos {
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> futures::future::BoxFuture<'a, Fault> {
        Box::pin(async move {
            for _ in 0..self.random.below(6) {
                tokio::task::yield_now().await;
            }
            let write = matches!(operation, Operation::Create | Operation::Upload);
            if write && key.contains("/root/") && self.random.chance(2) {
                tokio::time::sleep(Duration::from_secs(self.random.below(200_000))).await;
            }
            if !self.random.chance(self.percent) {
                return Fault::None;
            }
            match self.random.below(4) {
                0 => Fault::FailAfter,
                1 if write => Fault::FailThenApply { turns: self.random.below(400) as u32 },
                2 if operation == Operation::Create => Fault::ReportExists,
                _ => Fault::FailBefore,
            }
        })
    }
}

pub fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub fn journal(n: u64, incarnation: u64) -> JournalId {
    let instance = InstanceId(format!("i{n}").into());
    let owner = MemberId { instance: instance.clone(), disk: DiskId(7) };
    JournalId { cell: CellId(instance), epoch: 1, owner, incarnation: Incarnation(incarnation) }
}

pub fn range(journal: &JournalId, after: u64, upto: u64) -> SourceRange {
    SourceRange { journal: journal.clone(), after: Position(after), upto: Position(upto) }
}

/// A block of some sources; `attempt` keeps two tries apart.
pub fn block(level: u8, day: i32, sources: Vec<SourceRange>, attempt: u64) -> BlockEntry {
    part(level, day, sources, attempt, 0)
}

/// A part of a merge that was cut into several blocks.
pub fn part(level: u8, day: i32, sources: Vec<SourceRange>, attempt: u64, number: u32) -> BlockEntry {
    let spec = BlockSpec { tenant: tenant(), day, level, sources: sources.clone() };
    let time = TimestampNs(i64::from(day) * 86_400_000_000_000 + 5);
    BlockEntry {
        id: spec.id_of_part(number),
        attempt: format!("a{attempt}"),
        format: 1,
        day,
        level,
        min_time: time,
        max_time: time,
        first_service: "s".to_owned(),
        last_service: "s".to_owned(),
        types: vec![],
        objects: vec![ObjectEntry { name: "index".to_owned(), bytes: 4, crc32c: 0 }],
        index_directory_offset: 0,
        profiles: 1,
        samples: 1,
        series: 1,
        units: 1,
        sources,
    }
}

/// Uploads a block's object.
pub async fn upload(store: &Store, block: &BlockEntry) {
    let key = format!("{}/index", block.folder(&tenant()));
    store.put(&key, Bytes::from_static(b"data")).await.unwrap();
}

pub fn catalog(store: Store, random: &Random, clock: &Arc<TokioClock>, options: CatalogOptions) -> Catalog {
    let random = random.clone();
    let clock: Arc<dyn Clock> = Arc::<TokioClock>::clone(clock);
    Catalog::new(
        store,
        Arc::new(move || u128::from(random.next()) << 64 | u128::from(random.next())),
        clock,
        options,
    )
}

/// A store, and what catalogs over it share.
pub struct Bed {
    pub store: Store,
    pub clock: Arc<TokioClock>,
    pub random: Random,
}

impl Bed {
    pub fn new() -> Self {
        let store = Store::open("memory:", StoreOptions::default()).unwrap();
        Self { store, clock: Arc::new(TokioClock(tokio::time::Instant::now())), random: Random::new(1) }
    }

    pub fn catalog(&self) -> Catalog {
        catalog(self.store.clone(), &self.random, &self.clock, CatalogOptions::default())
    }

    pub async fn commit(&self, journal_number: u64, after: u64, upto: u64) -> Commit {
        let source = range(&journal(journal_number, 1), after, upto);
        let add = vec![block(0, 20_000, vec![source.clone()], self.random.next())];
        upload(&self.store, &add[0]).await;
        Commit { ranges: vec![source], add, ..Commit::default() }
    }
}
