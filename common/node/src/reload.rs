//! Limits of tenants that follow their file while the process runs.
//!
//! A file that cannot be used changes nothing: what was read last stays, and a metric says so. Must not know: what limits mean,
//! beyond what a process decided by them when it started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hearth_common::{Clock, LimitsSource, TenantId, TenantLimits};
use hearth_settings::{IgnoredKey, Settings, TenantOverrides};
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::NodeError;
use crate::limit_metrics::LimitMetrics;
use crate::open;

/// Tenants that a warning names.
const TENANTS_NAMED_MAX: usize = 5;

/// The limits as they are now.
#[derive(Debug)]
pub struct Limits {
    current: RwLock<Arc<TenantOverrides>>,
    /// How old a profile may be, as the cluster was told at the start; `None`: nobody was told.
    window: Option<Duration>,
    /// Keys that a warning has said to be ignored.
    told: Mutex<BTreeSet<String>>,
    successful: Gauge,
    loaded_at: Gauge<f64, AtomicU64>,
    failures: Counter,
    figures: LimitMetrics,
}

impl LimitsSource for Limits {
    fn limits(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        self.current.read().limits(tenant)
    }
}

impl Limits {
    /// The limits at the start; `told`: a cluster relies on how old a profile may be.
    pub(crate) fn new(
        overrides: TenantOverrides,
        told: bool,
        clock: &dyn Clock,
        registry: &mut Registry,
    ) -> Self {
        let limits = Self {
            window: told.then(|| open::ingestion_window(&overrides)),
            current: RwLock::new(Arc::new(overrides)),
            told: Mutex::default(),
            successful: Gauge::default(),
            loaded_at: Gauge::default(),
            failures: Counter::default(),
            figures: LimitMetrics::default(),
        };
        limits.loaded(clock);
        limits.figures.register(registry);
        let registry = registry.sub_registry_with_prefix("pyroscope_runtime_config");
        let help = "Whether the overrides file was in use when it was looked at last";
        registry.register("last_reload_successful", help, limits.successful.clone());
        let help = "When the overrides in use were read, seconds since 1970";
        registry.register("last_reload_success_timestamp_seconds", help, limits.loaded_at.clone());
        registry.register(
            "reload_failures",
            "Times the overrides file could not be used",
            limits.failures.clone(),
        );
        limits
    }

    /// The overrides that are in use.
    pub fn overrides(&self) -> Arc<TenantOverrides> {
        Arc::clone(&self.current.read())
    }

    fn loaded(&self, clock: &dyn Clock) {
        self.tell_ignored();
        self.figures.set(&self.current.read());
        self.successful.set(1);
        self.loaded_at.set(clock.now().as_ms() as f64 / 1000.0);
    }

    /// One warning a key, not one a tenant, and none again at later loads: the file may be written every minute.
    fn tell_ignored(&self) {
        let overrides = self.overrides();
        let mut by_key: BTreeMap<&str, Vec<&IgnoredKey>> = BTreeMap::new();
        for ignored in overrides.ignored() {
            by_key.entry(&ignored.key).or_default().push(ignored);
        }
        let mut told = self.told.lock();
        for (key, entries) in by_key {
            if told.insert(key.to_owned()) {
                let tenants = names(&entries);
                tracing::warn!(key, tenants, "a key of the overrides file {}", entries[0].message());
            }
        }
    }

    /// Takes what the file says now.
    fn reload(&self, settings: &Settings, clock: &dyn Clock) -> Result<(), NodeError> {
        let read = open::limits(settings)?;
        let window = open::ingestion_window(&read);
        if let Some(old) = self.window.filter(|old| window > *old) {
            return Err(NodeError::WindowGrew { old, new: window });
        }
        *self.current.write() = Arc::new(read);
        self.loaded(clock);
        Ok(())
    }

    /// Looks at the file now and then, for as long as anybody uses the limits. `seen` is what was in it before it was read.
    pub(crate) fn follow(self: &Arc<Self>, seen: Seen, settings: Arc<Settings>, clock: Arc<dyn Clock>) {
        let every = settings.overrides_reload.0;
        if settings.overrides_file.as_os_str().is_empty() || every.is_zero() {
            return;
        }
        let limits = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut seen = seen;
            loop {
                tokio::time::sleep(every).await;
                let Some(limits) = limits.upgrade() else { return };
                let looked = Arc::clone(&settings);
                let Ok(found) = tokio::task::spawn_blocking(move || Seen::now(&looked)).await else { return };
                if found == seen {
                    continue;
                }
                seen = found;
                let file = settings.overrides_file.display();
                match limits.reload(&settings, &*clock) {
                    Ok(()) => tracing::info!(%file, "limits of tenants were read again"),
                    Err(error) => {
                        limits.failures.inc();
                        limits.successful.set(0);
                        let error = hearth_common::error::chain(&error);
                        tracing::error!(%file, error, "the overrides file cannot be used: the former limits stay");
                    }
                }
            }
        });
    }
}

/// The first tenants by name, and how many more there are.
fn names(entries: &[&IgnoredKey]) -> String {
    let named: Vec<&str> =
        entries.iter().take(TENANTS_NAMED_MAX).filter_map(|entry| entry.tenant.as_deref()).collect();
    match entries.len().saturating_sub(TENANTS_NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What the file says; why it cannot be read is said when it is to be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen(Option<Vec<u8>>);

impl Seen {
    pub(crate) fn now(settings: &Settings) -> Self {
        Self(std::fs::read(&settings.overrides_file).ok())
    }
}

#[cfg(test)]
mod tests {
    use hearth_common::SystemClock;
    use hearth_common::units::GoDuration;

    use super::*;

    fn write(settings: &Settings, text: &str) {
        std::fs::write(&settings.overrides_file, text).expect("written");
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..2000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not in time: {what}");
    }

    #[test]
    fn what_is_ignored_is_told_once_a_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let overrides_file = dir.path().join("overrides.yaml");
        let settings = Settings { overrides_file, ..Settings::default() };
        let entries: String = (0..7).map(|n| format!("  t{n}: {{write_path: ingester}}\n")).collect();
        write(&settings, &format!("overrides:\n{entries}"));
        let overrides = open::limits(&settings).expect("taken");
        let all: Vec<&IgnoredKey> = overrides.ignored().iter().collect();
        assert_eq!(names(&all), "t0, t1, t2, t3, t4 and 2 more");
        assert_eq!(names(&all[..2]), "t0, t1");
        let limits = Limits::new(overrides, false, &SystemClock::default(), &mut Registry::default());
        assert_eq!(limits.told.lock().iter().collect::<Vec<_>>(), ["write_path"]);
    }

    #[tokio::test]
    async fn a_good_file_counts_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            overrides_file: dir.path().join("overrides.yaml"),
            overrides_reload: GoDuration(Duration::from_millis(10)),
            ..Settings::default()
        };
        write(&settings, "overrides: {a: {ingestion_rate_mb: 1}}\n");
        let settings = Arc::new(settings);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let (seen, first) = (Seen::now(&settings), open::limits(&settings).expect("valid"));
        let limits = Arc::new(Limits::new(first, true, &*clock, &mut Registry::default()));
        limits.follow(seen, Arc::clone(&settings), Arc::clone(&clock));
        let tenant = TenantId::parse("a").expect("valid");
        let rate = || limits.limits(&tenant).ingestion_rate_mb;
        assert_eq!(rate(), 1.0);
        write(&settings, "overrides: {a: {ingestion_rate_mb: 2}}\n");
        until("the new rate", || rate() == 2.0).await;
        for (failures, bad) in [
            "overrides: {a: {ingestion_rat_mb: 3}}\n",
            "overrides: [\n",
            // Its rule would be refused at the next push only.
            "overrides: {a: {ingestion_rate_mb: 3, ingestion_relabeling_rules: [{regex: '(', target_label: x}]}}\n",
            // The cluster has been told how old a profile may be.
            "overrides: {a: {ingestion_rate_mb: 3, reject_older_than: 240h}}\n",
        ]
        .into_iter()
        .enumerate()
        {
            write(&settings, bad);
            until(bad, || limits.failures.get() == failures as u64 + 1).await;
            assert_eq!((rate(), limits.successful.get()), (2.0, 0), "{bad}");
        }
        std::fs::remove_file(&settings.overrides_file).expect("removed");
        until("the file is gone", || limits.failures.get() == 5).await;
        assert_eq!(rate(), 2.0);
        write(&settings, "overrides: {a: {reject_older_than: 10m}}\n");
        until("what is not named is as for all", || rate() == settings.limits.ingestion_rate_mb).await;
        assert_eq!(limits.successful.get(), 1);
    }
}
