//! Serves every read API: plans, asks heads and blocks, merges, renders.
//!
//! Owns the rounds of a query, the cache of open blocks, which of them other queriers are asked for, tenants' settings of
//! the web page, and all conversions to the wire (in `api`, where wire types stop). Must not know: how ingesters and blocks find their answers.

mod api;
pub mod attime;
mod blocks;
mod cluster;
pub mod deletions;
mod engine;
mod error;
mod federation;
mod gather;
mod local;
mod metrics;
mod outstanding;
mod parts;
pub mod process;
mod reading;
mod recent;
mod serving;
mod share;
mod skipped;
mod symbolize;
mod tenant_settings;
pub mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hearth_catalog::Catalog;
use hearth_common::limits::symbolizer::Symbolizer as SymbolLimits;
use hearth_common::{Clock, LimitsSource, TenantId, Turns, Workers};
use hearth_internode::QuerierApi;
use hearth_model::{Answer, Question};
use hearth_objstore::Store;
use hearth_query::heads::Heads;
use hearth_rpc::Routes;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use blocks::Blocks;
pub use cluster::{ClusterHeads, ClusterHeadsDeps, ClusterHeadsOptions};
use engine::{Answered, Engine};
pub use engine::{Marks, Terms};
pub use error::{PlannedRead, QueryError};
pub use local::LocalHeads;
use metrics::Metrics;
use outstanding::Outstanding;
pub use parts::DiskCache;
use parts::Parts;
use reading::{FETCHES_OF_ROW, Reader};
use serving::Serving;
use share::Sharing;
pub use share::{BlockPeers, ClusterPeers, SharingDeps, SharingOptions};
pub use symbolize::SymbolOptions;
use symbolize::Symbolizer;
use tenant_settings::TenantSettings;

/// Tenants of one query that are asked at once.
const TENANTS_AT_ONCE: usize = 4;

/// What a querier is made of.
pub struct QuerierDeps {
    /// Which blocks exist. Shared with whoever publishes in this process.
    pub catalog: Arc<Catalog>,
    /// Where blocks and the settings of tenants lie.
    pub store: Store,
    /// Every ingester: [`LocalHeads`], or [`ClusterHeads`].
    pub heads: Arc<dyn Heads>,
    /// Limits of tenants.
    pub limits: Arc<dyn LimitsSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Computes answers of blocks.
    pub workers: Workers,
    /// Of blocks that are computed.
    pub turns: Turns,
    /// Where parts of blocks are kept beside memory.
    pub disk_cache: Option<DiskCache>,
    /// Where names of native frames come from.
    pub symbols: SymbolOptions,
    /// Sizes and times.
    pub options: QuerierOptions,
}

impl std::fmt::Debug for QuerierDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuerierDeps").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Sizes and times of a querier.
#[derive(Debug, Clone, Copy)]
pub struct QuerierOptions {
    /// Memory for open blocks and what was decoded of them.
    pub cache_bytes: u64,
    /// Bytes that one query may fetch from blocks.
    pub query_bytes_max: u64,
    /// A query that takes longer is given up; a client may ask for less.
    pub timeout: Duration,
    /// How old a root a query may be planned on: heads answer for what it does not cover. A deletion returns after so long,
    /// so that every querier must have the same.
    pub root_age: Duration,
    /// Every answer may lack what cannot be asked or is damaged, and says so; otherwise a client has to allow it.
    pub allow_partial: bool,
}

impl Default for QuerierOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            query_bytes_max: 4 << 30,
            timeout: Duration::from_secs(120),
            root_age: Duration::from_secs(5),
            allow_partial: false,
        }
    }
}

/// Answers queries. Clones share everything.
#[derive(Debug, Clone)]
pub struct Querier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    serving: Arc<Serving>,
    limits: Arc<dyn LimitsSource>,
    clock: Arc<dyn Clock>,
    outstanding: Outstanding,
    settings: TenantSettings,
    symbolizer: Symbolizer,
    timeout: Duration,
    warned: AtomicBool,
}

impl Querier {
    /// A querier that reads all blocks itself; nothing is read yet.
    pub fn new(deps: QuerierDeps) -> Self {
        Self::made(deps, None)
    }

    /// A querier that asks others for blocks of large questions.
    pub fn with_peers(deps: QuerierDeps, peers: SharingDeps) -> Self {
        Self::made(deps, Some(Sharing::new(peers)))
    }

    fn made(deps: QuerierDeps, sharing: Option<Sharing>) -> Self {
        let QuerierDeps {
            catalog,
            store,
            heads,
            limits,
            clock,
            workers,
            turns,
            disk_cache,
            symbols,
            options,
        } = deps;
        let metrics = Metrics::new();
        let watched = |turns: Turns, kind| turns.watched(Arc::clone(&clock), metrics.turns.of(kind));
        let symbolizer = Symbolizer::new(store.clone(), Arc::clone(&clock), Arc::clone(&workers), &symbols);
        let reader = Arc::new(Reader {
            blocks: Blocks::new(store.clone(), options.cache_bytes, disk_cache.map(Parts::new)),
            fetching: watched(turns.beside(FETCHES_OF_ROW), "fetching"),
            threads: watched(turns, "computing"),
            workers,
            metrics: metrics.clone(),
        });
        let serving = Arc::new(Serving::new(Arc::clone(&reader), options.query_bytes_max));
        let QuerierOptions { query_bytes_max, root_age, allow_partial, .. } = options;
        let engine =
            Engine { catalog, heads, reader, sharing, query_bytes_max, root_age, allow_partial, metrics };
        Self(Arc::new(Inner {
            engine,
            serving,
            limits,
            clock,
            outstanding: Outstanding::default(),
            settings: TenantSettings::new(store),
            symbolizer,
            timeout: options.timeout,
            warned: AtomicBool::new(false),
        }))
    }

    /// Adds this querier's metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.0.engine.metrics.register(registry);
        self.0.outstanding.register_metrics(registry);
        self.0.serving.register_metrics(registry);
        self.0.symbolizer.register_metrics(registry);
        self.0.engine.reader.blocks.register_metrics(registry);
        if let Some(sharing) = &self.0.engine.sharing {
            sharing.register_metrics(registry);
        }
    }

    /// What it gives other queriers: answers of blocks that it reads itself.
    pub fn serving(&self) -> Arc<dyn QuerierApi> {
        Arc::<Serving>::clone(&self.0.serving)
    }

    /// Every method and path that a querier serves.
    pub fn routes(&self) -> Routes {
        api::routes(self)
    }

    /// Answers a question over all tenants named. The second value says what the answer may miss.
    pub async fn ask(
        &self,
        tenants: &[TenantId],
        question: &Question,
        terms: impl Into<Terms>,
    ) -> Result<(Answer, Marks), QueryError> {
        let (terms, several) = (terms.into(), tenants.len() > 1);
        // A loop: closures over references are not general enough for handlers.
        let mut parts = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            if let Some(asked) = federation::of_tenant(tenant, question) {
                parts.push(self.ask_tenant(tenant, asked, terms));
            }
        }
        let mut parts = std::pin::pin!(futures::stream::iter(parts).buffer_unordered(TENANTS_AT_ONCE));
        let (mut answer, mut marks) = (Answer::empty(question), Marks::default());
        while let Some((tenant, part, of_part)) = parts.try_next().await? {
            answer = answer.join(federation::labelled(tenant, several, question, part))?;
            marks.join(of_part);
        }
        Ok((answer, marks))
    }

    /// Asks for one tenant, by its own limits.
    async fn ask_tenant<'t>(
        &self,
        tenant: &'t TenantId,
        mut question: Question,
        terms: Terms,
    ) -> Result<(&'t TenantId, Answer, Marks), QueryError> {
        let _outstanding = self.0.outstanding.enter(tenant)?;
        let limits = self.0.limits.limits(tenant);
        if !limits.include_stripped_profiles {
            federation::without_totals(&mut question);
        }
        if limits.symbolizer.enabled && symbolize::is_about_stacks(&question) {
            let (answer, marks) = self.ask_for_names(tenant, &limits.symbolizer, &question, terms).await?;
            return Ok((tenant, answer, marks));
        }
        let part = self.ask_one(tenant, &question, terms).await?;
        Ok((tenant, part.blocks.join(part.heads)?, part.marks))
    }

    /// Asks for native frames, too, and puts names in their places once all parts of the answer are merged.
    async fn ask_for_names(
        &self,
        tenant: &TenantId,
        limits: &SymbolLimits,
        question: &Question,
        terms: Terms,
    ) -> Result<(Answer, Marks), QueryError> {
        let started = Instant::now();
        let part = self.ask_one(tenant, &symbolize::widened(question), terms).await?;
        let answer = part.blocks.join(part.heads)?;
        let left = terms.timeout.saturating_sub(started.elapsed());
        let named = self.0.symbolizer.name(tenant, limits, (question, answer), left).await?;
        Ok((named, part.marks))
    }

    /// Blocks and heads apart.
    async fn ask_one(
        &self,
        tenant: &TenantId,
        question: &Question,
        terms: Terms,
    ) -> Result<Answered, QueryError> {
        let asked = self.0.engine.ask(tenant, question, terms);
        let timeout = terms.timeout;
        let answered =
            tokio::time::timeout(timeout, asked).await.map_err(|_| QueryError::Deadline(timeout))??;
        if answered.marks.partial {
            self.0.engine.metrics.partial.inc();
        }
        if !answered.marks.inexact.is_empty() {
            self.0.engine.metrics.inexact.inc();
            if !self.0.warned.swap(true, Ordering::Relaxed) {
                let why = answered.marks.inexact.join("; ");
                tracing::warn!(%tenant, why, "an answer may miss data; later ones are only counted");
            }
        }
        Ok(answered)
    }
}
