//! Line tables of programs: from memory, else from the store, else made of the uploaded file, else of what debuginfod has.
//!
//! Each program is looked for once however many queries ask, in a task of its own that outlives them. What nobody has is not
//! looked for again for a while.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_common::limits::symbolizer::Symbolizer as Limits;
use hearth_common::work::away;
use hearth_common::{Clock, TenantId, Workers};
use hearth_debuginfo::{Programs as StoredPrograms, Source, TableTag};
use hearth_symbols::{BuildId, BuildLimits, LineTable};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::Semaphore;

use super::debuginfod::{Debuginfod, Fetched};
use super::flights::Flights;
use super::metrics::Metrics;

/// Tables that the cache expects to hold.
const TABLES_EXPECTED: usize = 256;
/// Programs that nobody has, which are remembered.
const MISSING_MAX: usize = 10_000;
/// A program that nobody has is looked for again after this long: somebody may have uploaded it.
const MISSING_FOR: Duration = Duration::from_secs(15);
/// One whose look failed is looked for again after this long.
const FAILED_FOR: Duration = Duration::from_secs(5);
/// A table in memory is used for so long before it is asked whether the store still has it: an upload may have been deleted, and
/// another one finished.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);

/// A tenant's program.
type Key = (TenantId, BuildId);

/// What is known of a program.
#[derive(Debug, Clone)]
pub(crate) enum Got {
    /// Its line table.
    Program(Arc<Program>),
    /// Nobody has symbols of it.
    Nothing,
    /// Symbols cannot be read at the moment.
    Failed,
}

/// A line table in memory.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) table: LineTable,
    /// Which one of the store it is; `None`: it is not known that the store has it.
    tag: Option<TableTag>,
}

/// A table with the monotonic time at which the store had it, or was told of it.
#[derive(Debug, Clone)]
struct Kept {
    program: Arc<Program>,
    confirmed: Duration,
}

#[derive(Debug, Clone, Copy)]
struct ByBytes;

impl Weighter<Key, Kept> for ByBytes {
    fn weight(&self, _key: &Key, kept: &Kept) -> u64 {
        kept.program.table.size_bytes() as u64 + 256
    }
}

pub(super) struct ProgramsDeps {
    pub(super) stored: StoredPrograms,
    pub(super) debuginfod: Option<Debuginfod>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) workers: Workers,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cache_bytes: u64,
    pub(super) builds: usize,
}

/// Finds line tables.
pub(super) struct Programs {
    deps: ProgramsDeps,
    kept: Cache<Key, Kept, ByBytes>,
    /// What was not found, and until when that is believed.
    missing: Cache<Key, (Got, Duration)>,
    flights: Flights<Key, Got>,
    /// One permit a file that is in memory as a whole.
    builds: Semaphore,
}

/// Why a look came to nothing.
enum Miss {
    /// Nobody has it, or what there is is of no use.
    Nothing,
    /// Not at the moment.
    Failed,
}

impl Programs {
    pub(super) fn new(deps: ProgramsDeps) -> Self {
        // One shard: a table may take most of the memory.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(TABLES_EXPECTED)
            .weight_capacity(deps.cache_bytes.max(1))
            .build()
            .expect("all required options are given");
        let kept =
            Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let builds = Semaphore::new(deps.builds.max(1));
        Self { deps, kept, missing: Cache::new(MISSING_MAX), flights: Flights::default(), builds }
    }

    /// What is known of a program; looks for it if nothing is.
    pub(super) async fn get(self: &Arc<Self>, tenant: &TenantId, build_id: &BuildId, limits: &Limits) -> Got {
        let key: Key = (tenant.clone(), build_id.clone());
        let now = self.deps.clock.monotonic();
        let kept = self.kept.get(&key);
        if let Some(kept) = &kept
            && now.saturating_sub(kept.confirmed) < CONFIRMED_FOR
        {
            self.deps.metrics.memory(true);
            return Got::Program(Arc::clone(&kept.program));
        }
        if kept.is_none()
            && let Some((got, until)) = self.missing.get(&key)
            && now < until
        {
            return got;
        }
        let (me, limits, own) = (Arc::clone(self), *limits, key.clone());
        let got = self.flights.join(&key, || async move { me.look(kept, &own, &limits).await }).await;
        got.unwrap_or_else(|| {
            self.deps.metrics.error("busy");
            Got::Failed
        })
    }

    /// Looks for a program, and remembers what came of it.
    async fn look(&self, kept: Option<Kept>, key: &Key, limits: &Limits) -> Got {
        let clock = &self.deps.clock;
        if let Some(kept) = kept {
            match self.deps.stored.table_tag(&key.0, &key.1).await {
                Ok(tag) if tag.is_none() || tag != kept.program.tag => _ = self.kept.remove(key),
                // While the store is away, what is known is used.
                Ok(_) | Err(_) => {
                    self.keep(key, &kept.program);
                    self.deps.metrics.memory(true);
                    return Got::Program(kept.program);
                }
            }
        }
        self.deps.metrics.memory(false);
        let (got, pause) = match self.find(key, limits).await {
            Ok(program) => {
                self.keep(key, &program);
                return Got::Program(program);
            }
            Err(Miss::Nothing) => (Got::Nothing, MISSING_FOR),
            Err(Miss::Failed) => (Got::Failed, FAILED_FOR),
        };
        self.missing.insert(key.clone(), (got.clone(), clock.monotonic() + pause));
        got
    }

    fn keep(&self, key: &Key, program: &Arc<Program>) {
        let kept = Kept { program: Arc::clone(program), confirmed: self.deps.clock.monotonic() };
        self.kept.insert(key.clone(), kept);
        self.deps.metrics.table_bytes(self.kept.weight());
    }

    async fn find(&self, key: &Key, limits: &Limits) -> Result<Arc<Program>, Miss> {
        let (tenant, build_id) = key;
        let (stored, bytes_max) = (&self.deps.stored, limits.max_symbol_size_bytes);
        match stored.table(tenant, build_id, bytes_max).await {
            Ok(Some((tag, table))) => match self.open(table, Some(tag)).await {
                Ok(program) => {
                    self.deps.metrics.store("hit");
                    return Ok(program);
                }
                // Damaged, or of another version: made anew.
                Err(error) => {
                    self.deps.metrics.store("error");
                    tracing::warn!(%tenant, %build_id, error, "a line table in the store is not usable; making it anew");
                }
            },
            Ok(None) => self.deps.metrics.store("miss"),
            Err(error) => return Err(self.store_failed(key, &error)),
        }
        match stored.uploaded(tenant, build_id).await {
            Ok(Some(uploaded)) => {
                if uploaded.bytes > bytes_max {
                    let (bytes, limit) = (uploaded.bytes, bytes_max);
                    tracing::warn!(%tenant, %build_id, bytes, limit, "an uploaded program is larger than symbolizer.max_symbol_size_bytes");
                    self.deps.metrics.error("too_large");
                    return Err(Miss::Nothing);
                }
                let Ok(_permit) = self.builds.acquire().await else { return Err(Miss::Failed) };
                let elf = stored.read(&uploaded, bytes_max).await;
                let elf = elf.map_err(|error| self.store_failed(key, &error))?;
                self.make(key, elf, limits, &Source::Upload(uploaded)).await
            }
            Ok(None) => self.fetch(key, limits).await,
            Err(error) => Err(self.store_failed(key, &error)),
        }
    }

    /// Asks debuginfod, if there is one.
    async fn fetch(&self, key: &Key, limits: &Limits) -> Result<Arc<Program>, Miss> {
        let Some(debuginfod) = &self.deps.debuginfod else { return Err(Miss::Nothing) };
        match debuginfod.fetch(&key.1, limits.max_symbol_size_bytes, &self.builds).await {
            Fetched::File(elf, _permit) => self.make(key, elf, limits, &Source::Elsewhere).await,
            Fetched::Absent => Err(Miss::Nothing),
            Fetched::TooLarge => {
                self.deps.metrics.error("too_large");
                Err(Miss::Nothing)
            }
            Fetched::Failed => {
                self.deps.metrics.error("debuginfod");
                Err(Miss::Failed)
            }
        }
    }

    /// Makes a line table of a program, and gives it to the store.
    async fn make(
        &self,
        key: &Key,
        elf: Bytes,
        limits: &Limits,
        source: &Source,
    ) -> Result<Arc<Program>, Miss> {
        let (tenant, build_id) = key;
        let started = self.deps.clock.monotonic();
        let (own, bytes_max) = (build_id.clone(), limits.max_symbol_size_bytes);
        let made = away(&self.deps.workers, move || make_table(&own, &elf, bytes_max)).await;
        let table = match made {
            Ok(Ok(table)) => table,
            Ok(Err(error)) => {
                self.deps.metrics.error("unreadable");
                tracing::warn!(%tenant, %build_id, error, "symbols of a program cannot be read");
                return Err(Miss::Nothing);
            }
            Err(lost) => {
                self.deps.metrics.error("unreadable");
                tracing::error!(%tenant, %build_id, error = %lost, "symbols of a program cannot be read");
                return Err(Miss::Nothing);
            }
        };
        self.deps.metrics.built(self.deps.clock.monotonic().saturating_sub(started));
        let tag = match self.deps.stored.put_table(tenant, build_id, source, table.clone()).await {
            Ok(Some(tag)) => Some(tag),
            // Deleted or replaced while it was made: the next look finds what there is.
            Ok(None) => return Err(Miss::Failed),
            Err(error) => {
                let error = hearth_common::error::chain(&error);
                tracing::warn!(%tenant, %build_id, error, "a line table was not stored; it will be made again");
                None
            }
        };
        self.open(table, tag).await.map_err(|error| {
            self.deps.metrics.error("unreadable");
            tracing::error!(%tenant, %build_id, error, "a line table cannot be read that was made just now");
            Miss::Nothing
        })
    }

    async fn open(&self, table: Bytes, tag: Option<TableTag>) -> Result<Arc<Program>, String> {
        let open = move || LineTable::open(table).map_err(|error| hearth_common::error::chain(&error));
        let table = away(&self.deps.workers, open).await.map_err(|lost| lost.to_string())??;
        Ok(Arc::new(Program { table, tag }))
    }

    fn store_failed(&self, (tenant, build_id): &Key, error: &hearth_debuginfo::Error) -> Miss {
        let error = hearth_common::error::chain(error);
        self.deps.metrics.error("store");
        tracing::warn!(%tenant, %build_id, error, "symbols of a program cannot be looked for in the store");
        Miss::Failed
    }
}

/// The line table of an ELF file, if it is that of the program.
fn make_table(build_id: &BuildId, elf: &[u8], bytes_max: u64) -> Result<Bytes, String> {
    let chain = |error: hearth_symbols::BuildError| hearth_common::error::chain(&error);
    if let Some(found) = hearth_symbols::build_id_of(elf).map_err(chain)?
        && found != *build_id
    {
        return Err(format!("the file is of another program: its build id is {found}"));
    }
    let limits = BuildLimits { max_file_bytes: bytes_max, ..BuildLimits::default() };
    Ok(Bytes::from(hearth_symbols::build(elf, &limits).map_err(chain)?))
}

#[cfg(test)]
mod tests {
    use hearth_common::TimestampNs;
    use hearth_objstore::{Store, StoreOptions};
    use hearth_testkit::HandClock;

    use super::*;

    const TABLE: &[u8] = include_bytes!("../../../common/symbols/tests/golden/table-v1.bin");

    #[tokio::test]
    async fn a_table_in_memory_is_used_until_another_takes_its_place() {
        let stored = StoredPrograms::new(Store::open("memory:", StoreOptions::default()).expect("opens"));
        let clock = Arc::new(HandClock::at(TimestampNs(0)));
        let programs = Arc::new(Programs::new(ProgramsDeps {
            stored: stored.clone(),
            debuginfod: None,
            clock: Arc::<HandClock>::clone(&clock),
            workers: Arc::new(|job| drop(tokio::task::spawn_blocking(job))),
            metrics: Arc::default(),
            cache_bytes: 1 << 20,
            builds: 1,
        }));
        let tenant = TenantId::parse("a").expect("valid");
        let build_id = BuildId::parse("0badcafe").expect("valid");
        let limits = Limits::default();
        let put = async || {
            let table = Bytes::from_static(TABLE);
            let put = stored.put_table(&tenant, &build_id, &Source::Elsewhere, table).await;
            put.expect("puts").expect("nothing was uploaded")
        };
        let get = async || match programs.get(&tenant, &build_id, &limits).await {
            Got::Program(program) => program,
            other => panic!("{other:?}"),
        };
        put().await;
        let first = get().await;
        clock.pass(CONFIRMED_FOR);
        assert!(Arc::ptr_eq(&first, &get().await), "it is there");
        put().await;
        assert!(Arc::ptr_eq(&first, &get().await), "nobody has asked");
        clock.pass(CONFIRMED_FOR);
        let second = get().await;
        assert!(!Arc::ptr_eq(&first, &second), "another one is there");
        assert!(Arc::ptr_eq(&second, &get().await));
        stored.delete_table(&tenant, &build_id).await.expect("deletes");
        clock.pass(CONFIRMED_FOR);
        assert!(matches!(programs.get(&tenant, &build_id, &limits).await, Got::Nothing));
    }
}
