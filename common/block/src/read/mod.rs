//! The reader: opens a block's index, fetches what a question needs, answers.
//!
//! Two steps, so that work for the CPU can leave the async runtime: [`BlockReader::prepare`] prunes and reads,
//! [`Prepared::run`] inflates, decodes and sums.

mod cache;
mod estimate;
pub(crate) mod fetch;
mod hidden;
pub(crate) mod meta;
mod names;
mod plan;
mod points;
pub(crate) mod rolled;
pub(crate) mod rows;
mod stacks;
pub(crate) mod symbols;
mod tally;
mod tree;

use std::sync::Arc;

use hashbrown::HashMap;
use hearth_common::RangeRead;
use hearth_model::{Answer, ProfileQuery, Question};

use crate::deletion::Hidden;
use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::frame::Frame;
use crate::meta::origin::Origin;
use crate::{INDEX, PROFILES, ROLLUP_OBJECTS, SAMPLES, SPANS};
use cache::SymbolCache;
use fetch::{Fetched, Wanted};
use hidden::HiddenRows;
pub(crate) use meta::Meta;
use plan::ProfilePlan;
pub(crate) use rows::decoder;
pub(crate) use symbols::{SharedSymbols, UnitSymbols};
use tree::{Context, Task};

/// From this many sample rows on an answer is computed by two threads.
const PARALLEL_ROWS: u64 = 500_000;

/// An open block. Cheap to share (`Arc`); keeps decoded symbols and series, counted by [`BlockReader::cached_bytes`].
#[derive(Debug)]
pub struct BlockReader {
    inner: Arc<Inner>,
    objects: HashMap<&'static str, Arc<dyn RangeRead>>,
}

#[derive(Debug)]
struct Inner {
    entry: Arc<BlockEntry>,
    meta: Meta,
    cache: SymbolCache,
}

/// A question with all the bytes that its answer needs. Does not borrow from the reader.
#[derive(Debug)]
pub struct Prepared {
    inner: Arc<Inner>,
    question: Question,
    plan: ProfilePlan,
    hidden: HiddenRows,
    fetched: Fetched,
    shared: Option<Arc<SharedSymbols>>,
    /// Symbols that were cached, parallel to the plan's datasets.
    units: Vec<Option<Arc<UnitSymbols>>>,
    reads_stacks: bool,
}

impl BlockReader {
    /// Reads the tail of the index (all of it when ≤ 1 MiB). `objects` gives access to an object by its name in the block.
    pub async fn open(
        entry: Arc<BlockEntry>,
        objects: impl Fn(&str) -> Arc<dyn RangeRead>,
    ) -> Result<Self, BlockError> {
        let index = objects(INDEX);
        let meta = Meta::read(&entry, &index).await?;
        let mut known: HashMap<&'static str, Arc<dyn RangeRead>> = HashMap::new();
        known.insert(INDEX, index);
        for name in [PROFILES, SAMPLES, SPANS].into_iter().chain(ROLLUP_OBJECTS) {
            if entry.object(name).is_some() {
                known.insert(name, objects(name));
            }
        }
        Ok(Self { inner: Arc::new(Inner { entry, meta, cache: SymbolCache::default() }), objects: known })
    }

    /// The block's entry.
    pub fn entry(&self) -> &Arc<BlockEntry> {
        &self.inner.entry
    }

    /// What the block says of its making; `None` if its writer did not know to say.
    pub fn origin(&self) -> Option<&Origin> {
        self.inner.meta.origin.as_ref()
    }

    /// The decoded tail of the index.
    pub(crate) fn meta(&self) -> &Meta {
        &self.inner.meta
    }

    /// The compressed bytes of a frame: from the index that is kept, else as fetched.
    pub(crate) fn stored_frame<'f>(
        &'f self,
        frame: &Frame,
        fetched: &'f Fetched,
    ) -> Result<&'f [u8], BlockError> {
        match &self.inner.meta.whole {
            Some(whole) => Ok(&whole[frame.range().start as usize..frame.range().end as usize]),
            None => fetched.get(INDEX, frame.range()),
        }
    }

    /// Reads what was wanted.
    pub(crate) async fn fetch(&self, wanted: Wanted) -> Result<Fetched, BlockError> {
        wanted.fetch(&self.objects).await
    }

    /// Bytes of memory that the open block and its cached symbols take. Grows with use, up to a bound.
    pub fn cached_bytes(&self) -> usize {
        self.inner.meta.bytes + self.inner.cache.bytes()
    }

    /// Prunes, and fetches what is left, in few large ranges. Does no heavy work on the calling thread.
    pub async fn prepare(&self, question: &Question) -> Result<Prepared, BlockError> {
        self.prepare_without(question, &[]).await
    }

    /// As [`BlockReader::prepare`], as if the hidden rows were not there.
    pub async fn prepare_without(
        &self,
        question: &Question,
        hidden: &[Arc<Hidden>],
    ) -> Result<Prepared, BlockError> {
        let (mut prepared, wanted) = Prepared::plan(&self.inner, question, HiddenRows::new(hidden));
        prepared.fetched = wanted.fetch(&self.objects).await?;
        Ok(prepared)
    }

    /// Bytes that [`BlockReader::prepare_without`] would fetch now. Reads nothing.
    pub fn fetch_bytes(&self, question: &Question, hidden: &[Arc<Hidden>]) -> u64 {
        Prepared::plan(&self.inner, question, HiddenRows::new(hidden)).1.bytes()
    }
}

impl Prepared {
    /// What is pruned to, and what has to be read for it.
    fn plan(inner: &Arc<Inner>, question: &Question, hidden: HiddenRows) -> (Self, Wanted) {
        let meta = &inner.meta;
        let mut wanted = Wanted::default();
        let mut prepared = Self {
            inner: Arc::clone(inner),
            question: question.clone(),
            plan: ProfilePlan::default(),
            hidden,
            fetched: Fetched::default(),
            shared: None,
            units: Vec::new(),
            reads_stacks: false,
        };
        match question.profile_query() {
            None => match question {
                Question::Estimate { .. } => {}
                Question::Stats => names::want(meta, None, &prepared.hidden, &mut wanted),
                Question::Tally { range, selector } => {
                    tally::want(meta, *range, selector, &prepared.hidden, &mut wanted);
                }
                question => names::want(meta, question.range(), &prepared.hidden, &mut wanted),
            },
            Some(query) => {
                let by_row = matches!(question, Question::Points { .. });
                prepared.plan = ProfilePlan::new(meta, query, &prepared.hidden);
                rolled::roll(meta, question, &mut prepared.plan);
                prepared.reads_stacks = !by_row || query.spans.is_some() || !query.call_site.is_empty();
                if prepared.reads_stacks {
                    prepared.plan.want_samples(meta, query, by_row, &mut wanted);
                    prepared.want_symbols(&mut wanted);
                } else {
                    prepared.plan.want_profiles(meta, query, &mut wanted);
                }
            }
        }
        (prepared, wanted)
    }

    /// Bytes that were fetched for this question.
    pub fn fetched_bytes(&self) -> u64 {
        self.fetched.bytes
    }

    /// Rows of `samples` (or of `profiles`, when only those are read, or of sums that stand for them) that [`Prepared::run`] decodes: a measure of its cost.
    pub fn rows(&self) -> u64 {
        if self.reads_stacks { self.plan.samples() } else { self.plan.profiles() }
    }

    /// How many runs are answered by sums that were made when the block was written.
    pub fn rolled_runs(&self) -> u64 {
        let runs = self.plan.datasets.iter().flat_map(|dataset| &dataset.runs);
        runs.filter(|run| run.rolled.is_some()).count() as u64
    }

    /// Takes symbols from the cache, or adds their frames.
    fn want_symbols(&mut self, wanted: &mut Wanted) {
        let (meta, cache) = (&self.inner.meta, &self.inner.cache);
        let want = |frames: &[Frame], wanted: &mut Wanted| {
            if meta.whole.is_none() {
                frames.iter().for_each(|frame| wanted.add(INDEX, frame.range()));
            }
        };
        if self.plan.datasets.is_empty() {
            return;
        }
        self.shared = cache.shared();
        if self.shared.is_none() {
            want(&meta.frames[meta.shared.clone()], wanted);
        }
        for dataset in &self.plan.datasets {
            let unit = cache.unit(dataset.unit);
            if unit.is_none() {
                want(&meta.frames[meta.places[dataset.unit as usize].frames.clone()], wanted);
            }
            self.units.push(unit);
        }
    }

    /// Answers: CPU only, never waits. Uses up to 2 threads when there are many rows.
    pub fn run(self) -> Result<Answer, BlockError> {
        let onto = Answer::empty(&self.question);
        self.run_onto(onto)
    }

    /// As [`Prepared::run`], joined with an answer of other blocks to the same question. Trees grow in place, which costs
    /// less than merging two: most of a service's stacks are the same on every day.
    pub fn run_onto(self, onto: Answer) -> Result<Answer, BlockError> {
        match self.question.profile_query() {
            Some(_) if self.plan.datasets.is_empty() => Ok(onto),
            Some(query) => self.run_query(query, onto),
            None => Ok(self.run_names()?.join(onto)?),
        }
    }

    fn run_names(&self) -> Result<Answer, BlockError> {
        let (meta, entry) = (&self.inner.meta, &self.inner.entry);
        match &self.question {
            Question::Stats => names::stats(meta, entry, &self.hidden, &self.fetched),
            Question::Estimate { range, selector } => {
                Ok(Answer::Estimate(estimate::estimate(&self.inner, *range, selector, &self.hidden)))
            }
            Question::Tally { range, selector } => {
                tally::answer(meta, *range, selector, &self.hidden, &self.fetched)
            }
            question => names::answer(meta, question, &self.hidden, &self.fetched),
        }
    }

    fn run_query(&self, query: &ProfileQuery, onto: Answer) -> Result<Answer, BlockError> {
        let meta = &self.inner.meta;
        let nothing = SharedSymbols::default();
        let context = Context { meta, shared: &nothing, query, fetched: &self.fetched };
        if let (Question::Points { group_by, grid, .. }, false) = (&self.question, self.reads_stacks) {
            return Ok(points::totals(context, &self.plan, group_by, *grid)?.join(onto)?);
        }
        let shared = self.shared_symbols()?;
        let context = Context { shared: &shared, ..context };
        let (first, second) = self.halves();
        if second.is_empty() {
            return self.run_part(context, first, onto);
        }
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.run_part(context, second, Answer::empty(&self.question)));
            (self.run_part(context, first, onto), other.join())
        });
        let two =
            two.map_err(|_| BlockError::Input("a thread that answers a question panicked".to_owned()))?;
        Ok(one?.join(two?)?)
    }

    /// Two ranges of datasets with about equally many rows; the second is empty when there are few.
    fn halves(&self) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let all = self.plan.datasets.len();
        let rows = self.plan.samples();
        if rows < PARALLEL_ROWS || all < 2 {
            return (0..all, all..all);
        }
        let mut before = 0;
        let middle = self.plan.datasets.iter().position(|dataset| {
            before += dataset.samples();
            before * 2 >= rows
        });
        let middle = (middle.unwrap_or_default() + 1).min(all - 1);
        (0..middle, middle..all)
    }

    fn run_part(
        &self,
        context: Context<'_>,
        datasets: std::ops::Range<usize>,
        onto: Answer,
    ) -> Result<Answer, BlockError> {
        let task = |at: usize| -> Result<Task<'_>, BlockError> {
            Ok((&self.plan.datasets[at], self.unit_symbols(at, context.shared)?))
        };
        let tasks = datasets.map(task).collect::<Result<Vec<_>, _>>()?;
        match (&self.question, onto) {
            (_, Answer::Tree(onto)) => context.tree(&tasks, onto),
            (_, Answer::Pprof(onto)) => context.pprof(&tasks, onto),
            (Question::Points { group_by, grid, .. }, onto) => {
                Ok(points::of_stacks(context, &tasks, group_by, *grid)?.join(onto)?)
            }
            (_, onto) => Ok(onto),
        }
    }

    /// The compressed bytes of a frame: from the index that is kept, else as fetched.
    fn stored(&self, frame: &Frame) -> Result<&[u8], BlockError> {
        match &self.inner.meta.whole {
            Some(whole) => Ok(&whole[frame.range().start as usize..frame.range().end as usize]),
            None => self.fetched.get(INDEX, frame.range()),
        }
    }

    fn shared_symbols(&self) -> Result<Arc<SharedSymbols>, BlockError> {
        if let Some(shared) = &self.shared {
            return Ok(Arc::clone(shared));
        }
        let shared = Arc::new(SharedSymbols::decode(&self.inner.meta, |frame| self.stored(frame))?);
        self.inner.cache.put_shared(&shared);
        Ok(shared)
    }

    fn unit_symbols(&self, dataset: usize, shared: &SharedSymbols) -> Result<Arc<UnitSymbols>, BlockError> {
        if let Some(unit) = &self.units[dataset] {
            return Ok(Arc::clone(unit));
        }
        let at = self.plan.datasets[dataset].unit;
        let unit = Arc::new(UnitSymbols::decode(&self.inner.meta, at, shared, |frame| self.stored(frame))?);
        self.inner.cache.put_unit(at, &unit);
        Ok(unit)
    }
}
