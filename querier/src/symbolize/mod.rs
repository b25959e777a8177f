//! Names for native frames of an answer: which frames there are, whose line tables are needed, and putting the names in.
//!
//! An answer never fails for want of names: what is not known when time is over stays `binary!0x…`, is counted, and is looked
//! for all the same, for the next query. Where line tables come from is said in `programs`. Must not know how an answer came
//! about.

mod breaker;
mod debuginfod;
mod flights;
mod found;
mod metrics;
mod programs;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hearth_common::limits::symbolizer::Symbolizer as Limits;
use hearth_common::work::away;
use hearth_common::{Clock, TenantId, Workers};
use hearth_debuginfo::Programs as StoredPrograms;
use hearth_model::native::{self, NativeFrame};
use hearth_model::{Answer, NameTree, PprofMerge, Question};
use hearth_objstore::Store;
use hearth_symbols::BuildId;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::time::Instant;

use crate::QueryError;
use debuginfod::Debuginfod;
use found::{Address, Found, look_up};
use metrics::{Metrics, Outcome};
use programs::{Got, Programs, ProgramsDeps};

/// Programs that one query waits for, or looks into, at once: so many line tables it may hold beside the cache.
const PROGRAMS_AT_ONCE: usize = 4;
/// A query keeps this share of its time for the rest of its work: one part in so many.
const REST_SHARE: u32 = 10;

/// Where names come from, and what that may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolOptions {
    /// A debuginfod server; empty: none.
    pub debuginfod_url: String,
    /// How long a query waits for names.
    pub timeout: Duration,
    /// Memory for line tables.
    pub cache_bytes: u64,
    /// Files that are read at once.
    pub builds: usize,
}

impl Default for SymbolOptions {
    fn default() -> Self {
        Self {
            debuginfod_url: String::new(),
            timeout: Duration::from_secs(20),
            cache_bytes: 256 << 20,
            builds: 1,
        }
    }
}

/// Finds names.
pub(crate) struct Symbolizer {
    programs: Arc<Programs>,
    workers: Workers,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Symbolizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbolizer").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Whether frames are in the answer to a question.
pub(crate) fn is_about_stacks(question: &Question) -> bool {
    matches!(question, Question::Tree(_) | Question::Pprof(_))
}

/// The question that is asked of heads and blocks so that its answer can be named: with native frames, and, as a call site may
/// go through these, with all stacks.
pub(crate) fn widened(question: &Question) -> Question {
    let mut question = question.clone();
    match &mut question {
        Question::Tree(query) | Question::Pprof(query) => {
            query.native = true;
            query.call_site = Vec::new();
        }
        _ => {}
    }
    question
}

impl Symbolizer {
    /// Opens nothing yet.
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        workers: Workers,
        options: &SymbolOptions,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let debuginfod = Debuginfod::new(&options.debuginfod_url, Arc::clone(&clock), Arc::clone(&metrics));
        let programs = Arc::new(Programs::new(ProgramsDeps {
            stored: StoredPrograms::new(store),
            debuginfod,
            clock,
            workers: Arc::clone(&workers),
            metrics: Arc::clone(&metrics),
            cache_bytes: options.cache_bytes,
            builds: options.builds,
        }));
        Self { programs, workers, timeout: options.timeout, metrics }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Names the native frames of an answer to a widened question; `question` is what was asked in truth. `left` is what the
    /// query has of its time.
    pub(crate) async fn name(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        (question, answer): (&Question, Answer),
        left: Duration,
    ) -> Result<Answer, QueryError> {
        let started = Instant::now();
        let deadline = started + self.timeout.min(left - left / REST_SHARE);
        let call_site = question.profile_query().map_or_else(Vec::new, |query| query.call_site.clone());
        let named = match answer {
            Answer::Tree(tree) => {
                let found = self.find(tenant, limits, native::frames_of_tree(&tree), deadline).await;
                self.away(move || named_tree(&tree, &call_site, &found)).await.map(Answer::Tree)?
            }
            Answer::Pprof(merge) => {
                let found = self.find(tenant, limits, native::frames_of_pprof(&merge), deadline).await;
                Answer::Pprof(self.away(move || named_pprof(&merge, &call_site, &found)).await??)
            }
            other => return Ok(other),
        };
        self.metrics.named(started.elapsed());
        Ok(named)
    }

    async fn away<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        away(&self.workers, work).await.map_err(|_| QueryError::Worker)
    }

    /// What can be found out of frames until a time.
    async fn find<'f>(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        frames: impl Iterator<Item = NativeFrame<'f>>,
        deadline: Instant,
    ) -> Found {
        let mut by_program: HashMap<Arc<str>, Vec<Address>> = HashMap::new();
        let mut count = 0;
        for frame in frames {
            if count == limits.max_unresolved_locations {
                self.metrics.frames(Outcome::TooMany, 1);
                continue;
            }
            if frame.build_id.is_empty() {
                self.metrics.frames(Outcome::NoBuildId, 1);
                continue;
            }
            count += 1;
            match by_program.get_mut(frame.build_id) {
                Some(addresses) => addresses.push(Address::of(&frame)),
                None => _ = by_program.insert(frame.build_id.into(), vec![Address::of(&frame)]),
            }
        }
        let mut left: HashMap<Arc<str>, usize> =
            by_program.iter().map(|(text, addresses)| (Arc::clone(text), addresses.len())).collect();
        let looks = by_program.into_iter().map(|(text, addresses)| async move {
            let found = self.look(tenant, limits, &text, addresses).await;
            (text, found)
        });
        let mut looks = Box::pin(futures::stream::iter(looks).buffer_unordered(PROGRAMS_AT_ONCE));
        let mut found = Found::default();
        while let Ok(Some((text, names))) = tokio::time::timeout_at(deadline, looks.next()).await {
            left.remove(&text);
            if let Some(names) = names {
                found.add(text, names);
            }
        }
        self.metrics.frames(Outcome::Late, left.values().sum());
        found
    }

    /// Names of addresses in one program; `None`: there are none, and it is counted why.
    async fn look(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        build_id: &str,
        mut addresses: Vec<Address>,
    ) -> Option<found::Names> {
        addresses.sort_unstable();
        addresses.dedup();
        let count = addresses.len();
        let Ok(build_id) = BuildId::parse(&of_program(build_id)) else {
            self.metrics.frames(Outcome::NoBuildId, count);
            return None;
        };
        let program = match self.programs.get(tenant, &build_id, limits).await {
            Got::Program(program) => program,
            Got::Nothing => {
                self.metrics.frames(Outcome::NoSymbols, count);
                return None;
            }
            Got::Failed => {
                self.metrics.frames(Outcome::Failed, count);
                return None;
            }
        };
        let names = away(&self.workers, move || look_up(&program.table, &addresses)).await.ok()?;
        self.metrics.frames(Outcome::Named, names.len());
        self.metrics.frames(Outcome::NoFunction, count - names.len());
        Some(names)
    }
}

/// A build id that says where the source of the service lies, too (api-semantics §3.3, step 14).
#[derive(Debug, Deserialize)]
struct Version<'a> {
    #[serde(borrow, default)]
    build_id: Cow<'a, str>,
}

/// The build id that the program has, whatever labels of the service have made of it when it was pushed.
fn of_program(build_id: &str) -> Cow<'_, str> {
    if !build_id.starts_with('{') {
        return Cow::Borrowed(build_id);
    }
    match serde_json::from_str::<Version<'_>>(build_id) {
        Ok(version) => version.build_id,
        Err(_) => Cow::Borrowed(build_id),
    }
}

fn named_tree(tree: &NameTree, call_site: &[String], found: &Found) -> NameTree {
    let named = native::name_tree(tree, |frame| found.get(frame));
    if call_site.is_empty() { named } else { named.under(call_site) }
}

fn named_pprof(merge: &PprofMerge, call_site: &[String], found: &Found) -> Result<PprofMerge, QueryError> {
    Ok(native::name_pprof(merge, call_site, |frame| found.get(frame))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_are_found_in_what_labels_made_of_them() {
        for (text, want) in [
            ("abc0", "abc0"),
            ("", ""),
            (r#"{"repository":"github.com/a","git_ref":"v1","build_id":"abc0","root_path":"x"}"#, "abc0"),
            (r#"{"build_id":"abc0\u0031"}"#, "abc01"),
            (r#"{"repository":"github.com/a"}"#, ""),
            ("{no JSON", "{no JSON"),
            (r#"{"build_id":7}"#, r#"{"build_id":7}"#),
        ] {
            assert_eq!(of_program(text), want, "{text}");
        }
    }
}
