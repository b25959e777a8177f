//! A querier over a store in memory with real blocks, an ingester that says what a test wants, and a port to ask at.
#![allow(dead_code, unreachable_pub, reason = "shared by several test files, each of which uses a part")]

mod unit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hearth_block::input::{BlockSpec, SourceRange};
use hearth_block::{WriteOptions, write_block};
use hearth_catalog::{Catalog, CatalogOptions, Commit};
use hearth_common::{Clock, JournalId, Position, TenantId, TenantLimits, TimestampNs, Workers};
use hearth_model::question::Stats;
use hearth_model::{Answer, Labels, NameTree, ProfileType, Question};
use hearth_objstore::{Store, StoreOptions};
use hearth_querier::{
    DiskCache, LocalHeads, Querier, QuerierDeps, QuerierOptions, SharingDeps, SymbolOptions,
};
use hearth_query::{FetchAnswer, FetchError, FetchRequest, HeadSource, JournalAnswer};
use hearth_rpc::{RequestMetrics, ServerOptions, Tenancy, bind};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::Value;
pub use unit::Profile;

/// The base instant of all tests, milliseconds.
pub const BASE_MS: i64 = 1_700_000_000_000;
pub const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// A clock that stands ten minutes behind the base.
#[derive(Debug, Default)]
pub struct Still(AtomicU64);

impl Clock for Still {
    fn now(&self) -> TimestampNs {
        TimestampNs::from_ms(BASE_MS + 600_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

pub fn journal() -> JournalId {
    JournalId::parse(&format!("home/1/home/{:032x}/1", 7)).expect("valid")
}

pub fn tenant() -> TenantId {
    TenantId::parse("t1").expect("valid")
}

type Script = Box<dyn Fn(&Head, &FetchRequest) -> Option<Result<FetchAnswer, FetchError>> + Send + Sync>;

/// An ingester whose rows stand at positions 1, 2, 3 …
pub struct Head {
    pub rows: Mutex<Vec<Profile>>,
    /// What it says instead.
    pub script: Mutex<Option<Script>>,
    pub asked: AtomicU64,
    pub delay: Mutex<Duration>,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Head")
    }
}

#[async_trait]
impl HeadSource for Head {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let delay = *self.delay.lock();
        tokio::time::sleep(delay).await;
        if let Some(answer) = self.script.lock().as_ref().and_then(|script| script(self, &request)) {
            return answer;
        }
        Ok(self.answer(&request, None))
    }
}

impl Head {
    pub fn answer(&self, request: &FetchRequest, inexact: Option<String>) -> FetchAnswer {
        let after = request.covered(&journal());
        let rows = self.rows.lock();
        let beyond: Vec<&Profile> = rows.iter().skip(after.0 as usize).collect();
        let visible_end = Position((rows.len() as u64).max(after.0));
        FetchAnswer::Answered {
            journals: vec![JournalAnswer { journal: journal(), after, visible_end, rows_end: visible_end }],
            partial: naive(&beyond, &request.question),
            inexact,
        }
    }
}

/// The questions that these tests ask of heads.
fn naive(rows: &[&Profile], question: &Question) -> Answer {
    let in_range = |p: &&&Profile| question.range().is_none_or(|range| range.contains(p.time()));
    let ty = ProfileType::parse(CPU).expect("valid");
    let rows: Vec<&&Profile> = rows.iter().filter(in_range).collect();
    match question {
        Question::Tree(query) => {
            let mut tree = NameTree::new();
            for row in rows {
                if query.profile_type == ty && query.selector.matches(&row.labels().with_type(&ty)) {
                    row.stacks.iter().for_each(|(stack, value)| {
                        tree.add_stack(&stack.split(';').collect::<Vec<_>>(), *value);
                    });
                }
            }
            Answer::Tree(tree)
        }
        Question::Stats => {
            let times = || rows.iter().map(|row| row.time());
            Answer::Stats(Stats { oldest_newest: times().min().zip(times().max()) })
        }
        Question::ProfileTypes { .. } => Answer::ProfileTypes(rows.iter().map(|_| ty.clone()).collect()),
        question => Answer::empty(question),
    }
}

pub struct World {
    pub querier: Querier,
    pub store: Store,
    pub catalog: Arc<Catalog>,
    pub head: Arc<Head>,
    registry: Mutex<Registry>,
    nonce: AtomicU64,
    /// What a block's work takes at least.
    pub work_takes_ms: Arc<AtomicU64>,
}

impl World {
    pub fn new() -> Self {
        Self::with(QuerierOptions::default(), TenantLimits::default())
    }

    pub fn with(options: QuerierOptions, limits: TenantLimits) -> Self {
        Self::made(options, limits, None)
    }

    /// A querier that asks others for blocks.
    pub fn with_peers(options: QuerierOptions, peers: SharingDeps) -> Self {
        Self::made(options, TenantLimits::default(), Some(peers))
    }

    /// Another querier before the same store.
    pub fn another(&self, options: QuerierOptions) -> Querier {
        self.another_with_disk(options, None)
    }

    /// One that keeps parts of blocks on a disk.
    pub fn another_with_disk(&self, options: QuerierOptions, disk_cache: Option<DiskCache>) -> Querier {
        Querier::new(QuerierDeps {
            catalog: Arc::clone(&self.catalog),
            store: self.store.clone(),
            heads: Arc::new(LocalHeads::new(vec![Arc::clone(&self.head) as Arc<dyn HeadSource>])),
            limits: Arc::new(Arc::new(TenantLimits::default())),
            clock: Arc::new(Still::default()),
            workers: hearth_node::workers(),
            turns: hearth_common::Turns::new(2),
            disk_cache,
            symbols: SymbolOptions::default(),
            options,
        })
    }

    /// A querier that finds names for native frames, on a clock of the test.
    pub fn with_symbols(symbols: SymbolOptions, limits: TenantLimits, clock: Arc<dyn Clock>) -> Self {
        Self::made_with((QuerierOptions::default(), symbols), limits, None, clock)
    }

    fn made(options: QuerierOptions, limits: TenantLimits, peers: Option<SharingDeps>) -> Self {
        Self::made_with((options, SymbolOptions::default()), limits, peers, Arc::new(Still::default()))
    }

    fn made_with(
        (options, symbols): (QuerierOptions, SymbolOptions),
        limits: TenantLimits,
        peers: Option<SharingDeps>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let store =
            Store::open("memory:", StoreOptions { clock: Arc::clone(&clock), ..StoreOptions::default() })
                .expect("opens");
        let random = AtomicU64::new(1);
        let rng = Arc::new(move || u128::from(random.fetch_add(1, Ordering::Relaxed)));
        let catalog_options = CatalogOptions { only_publisher: true, ..CatalogOptions::default() };
        let catalog = Arc::new(Catalog::new(store.clone(), rng, Arc::clone(&clock), catalog_options));
        let head = Arc::new(Head {
            rows: Mutex::default(),
            script: Mutex::default(),
            asked: AtomicU64::new(0),
            delay: Mutex::default(),
        });
        let heads = Arc::new(LocalHeads::new(vec![Arc::clone(&head) as Arc<dyn HeadSource>]));
        let limits = Arc::new(Arc::new(limits));
        let work_takes_ms: Arc<AtomicU64> = Arc::default();
        let takes_ms = Arc::clone(&work_takes_ms);
        let workers: Workers = Arc::new(move |job| {
            let takes = Duration::from_millis(takes_ms.load(Ordering::Relaxed));
            drop(tokio::task::spawn_blocking(move || {
                std::thread::sleep(takes);
                job();
            }));
        });
        let deps = QuerierDeps {
            workers,
            turns: hearth_common::Turns::new(2),
            catalog: Arc::clone(&catalog),
            store: store.clone(),
            heads,
            limits,
            clock,
            disk_cache: None,
            symbols,
            options,
        };
        let querier = match peers {
            Some(peers) => Querier::with_peers(deps, peers),
            None => Querier::new(deps),
        };
        let mut registry = Registry::default();
        querier.register_metrics(&mut registry);
        let (registry, nonce) = (Mutex::new(registry), AtomicU64::new(0));
        Self { querier, store, catalog, head, registry, nonce, work_takes_ms }
    }

    pub fn push(&self, profile: Profile) {
        self.head.rows.lock().push(profile);
    }

    /// Publishes all rows up to now that are not published yet.
    pub async fn publish(&self) {
        let upto = Position(self.head.rows.lock().len() as u64);
        publish(&self.catalog, &self.store, &self.head, upto, self.nonce.fetch_add(1, Ordering::Relaxed))
            .await;
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock()).expect("encodes");
        text
    }

    /// Serves on a free port.
    pub async fn serve(&self) -> Port {
        let options = ServerOptions {
            listen: "127.0.0.1:0".parse().expect("valid"),
            tenancy: Tenancy::Multi,
            max_message_bytes: 1 << 20,
            metrics: RequestMetrics::new(&mut Registry::default()),
            clock: Arc::new(Still::default()),
            aside: Default::default(),
        };
        let server = bind(options, self.querier.routes()).await.expect("binds");
        let url = format!("http://{}", server.local_addr().expect("bound"));
        tokio::spawn(server.run(std::future::pending()));
        Port { url }
    }
}

/// Writes a block of the head's rows behind the coverage and commits it.
pub async fn publish(catalog: &Catalog, store: &Store, head: &Head, upto: Position, attempt: u64) {
    let covered = match catalog.newest(&tenant(), Duration::ZERO).await.expect("reads") {
        Some(view) => view.coverage(&journal()),
        None => Position(0),
    };
    let source = SourceRange { journal: journal(), after: covered, upto };
    let rows: Vec<Profile> = head.rows.lock()[covered.0 as usize..upto.0 as usize].to_vec();
    let spec = BlockSpec {
        tenant: tenant(),
        day: TimestampNs::from_ms(BASE_MS).day(),
        level: 0,
        sources: vec![source.clone()],
    };
    let units = unit::units(&rows);
    let units: Vec<&dyn hearth_block::input::UnitSource> = units.iter().map(|u| u as _).collect();
    let options = WriteOptions { attempt: format!("{attempt:x}") };
    let block = write_block(&spec, &units, &options).expect("writes");
    let folder = block.entry.folder(&tenant());
    for (name, bytes) in block.objects {
        store.put(&format!("{folder}/{name}"), bytes).await.expect("puts");
    }
    let commit = Commit { ranges: vec![source], add: vec![block.entry], ..Commit::default() };
    assert!(catalog.publish(&tenant(), &commit).await.expect("commits").is_covered());
}

pub struct Port {
    url: String,
}

pub struct Got {
    pub status: u16,
    pub inexact: Option<String>,
    pub json: Value,
}

impl Port {
    pub async fn rpc(&self, method: &str, body: Value) -> Got {
        self.rpc_with(&format!("/querier.v1.QuerierService/{method}"), body, &[]).await
    }

    pub async fn rpc_with(&self, path: &str, body: Value, headers: &[(&'static str, &'static str)]) -> Got {
        let mut request =
            agent().post(format!("{}{path}", self.url)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("x-scope-orgid", "t1");
        let body = body.to_string();
        finish(move || request.send(body)).await
    }

    pub async fn get(&self, path_and_query: &str) -> Got {
        let request = agent().get(format!("{}{path_and_query}", self.url)).header("x-scope-orgid", "t1");
        finish(move || request.call()).await
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build())
}

async fn finish(
    send: impl FnOnce() -> Result<http::Response<ureq::Body>, ureq::Error> + Send + 'static,
) -> Got {
    tokio::task::spawn_blocking(move || {
        let mut response = send().expect("answers");
        let status = response.status().as_u16();
        let inexact =
            response.headers().get("x-hearth-inexact").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let text = response.body_mut().read_to_string().expect("reads");
        Got { status, inexact, json: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    })
    .await
    .expect("no panic")
}

/// The labels of a service.
pub fn labels(service: &str, more: &[(&str, &str)]) -> Labels {
    let own = [("__name__", "process_cpu"), ("service_name", service)];
    Labels::from_pairs(own.iter().chain(more).copied())
}
