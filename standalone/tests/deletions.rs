//! Deleted rows are in no answer from the moment that the deletion returns, and only they: any pushes, cuts, deletions, merges,
//! kills and cancellations, against a model, with roots that the ingester remembers while others change them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_catalog::{BlockRef, Edit};
use hearth_common::{TimeRange, TimestampNs};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use hearth_querier::deletions::{DeletionAsk, DeletionError, State};
use support::{DAY_NS, Random, Row, World, tenant};

/// Steps of one run.
const STEPS: u64 = 24;

const SELECTORS: [&str; 7] = [
    "{}",
    r#"{service_name="service-1"}"#,
    r#"{service_name=~"service-[02]", pod!="pod-1"}"#,
    r#"{pod="pod-2"}"#,
    r#"{__profile_type__=~".*count.*"}"#,
    r#"{__service_name__="service-0", __type__="cpu"}"#,
    r#"{pod="none"}"#,
];

fn types() -> [ProfileType; 2] {
    [ProfileType::new("cpu", "cpu", "ns", "", ""), ProfileType::new("cpu", "samples", "count", "", "")]
}

fn ranges(random: &mut Random) -> TimeRange {
    let day = |days: u64| DAY_NS + days as i64 * 86_400_000_000_000;
    match random.below(3) {
        0 => TimeRange::ALL,
        1 => TimeRange { start: TimestampNs(day(1)), end: TimestampNs(day(2) - 1) },
        _ => TimeRange { start: TimestampNs(i64::MIN), end: TimestampNs(day(0) + 3_000_000_000) },
    }
}

fn selector(random: &mut Random) -> Selector {
    Selector::parse(SELECTORS[random.below(SELECTORS.len() as u64) as usize]).expect("valid")
}

/// What is in the answers, and whether the answers of a whole set of questions agree with it.
#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    /// By row and type: the deletions under which it falls.
    deleted: BTreeMap<(u64, usize), BTreeSet<u128>>,
}

impl Model {
    fn is_there(&self, row: &Row, ty: usize) -> bool {
        self.deleted.get(&(row.number, ty)).is_none_or(BTreeSet::is_empty)
    }

    /// Rows and types that are there, match and lie in the range.
    fn there<'a>(
        &'a self,
        range: TimeRange,
        selector: &'a Selector,
    ) -> impl Iterator<Item = (&'a Row, usize)> + 'a {
        let all = self.rows.iter().flat_map(|row| [(row, 0), (row, 1)]);
        all.filter(move |(row, ty)| {
            self.is_there(row, *ty)
                && range.contains(row.time())
                && selector.matches(&row.labels().with_type(&types()[*ty]))
        })
    }

    fn delete(&mut self, id: u128, range: TimeRange, selector: &Selector) -> u64 {
        let hits: Vec<(u64, usize)> = self.there(range, selector).map(|(row, ty)| (row.number, ty)).collect();
        // Under this deletion falls what others hide already, too.
        let all = self.rows.iter().flat_map(|row| [(row, 0), (row, 1)]);
        let falls = |(row, ty): &(&Row, usize)| {
            range.contains(row.time()) && selector.matches(&row.labels().with_type(&types()[*ty]))
        };
        let keys: Vec<(u64, usize)> = all.filter(falls).map(|(row, ty)| (row.number, ty)).collect();
        keys.into_iter().for_each(|key| _ = self.deleted.entry(key).or_default().insert(id));
        hits.len() as u64
    }

    fn cancel(&mut self, id: u128) {
        self.deleted.values_mut().for_each(|ids| _ = ids.remove(&id));
    }

    async fn check(&self, world: &World, random: &mut Random, what: &str) {
        for _ in 0..2 {
            let (range, selector, ty) = (ranges(random), selector(random), random.below(2) as usize);
            let rows: Vec<&Row> =
                self.there(range, &selector).filter(|(_, own)| *own == ty).map(|(row, _)| row).collect();
            let sum: i64 = rows.iter().map(|row| row.value(ty)).sum();
            let query = ProfileQuery {
                profile_type: types()[ty].clone(),
                selector: selector.clone(),
                range,
                call_site: Vec::new(),
                spans: None,
                profile_ids: Vec::new(),
                native: false,
            };
            let told = format!("{what}: {selector:?} {range:?} type {ty}");
            let Answer::Tree(tree) = world.ask(&Question::Tree(query.clone())).await else { panic!() };
            assert_eq!(tree.checked_total(), Ok(sum), "tree, {told}");
            let Answer::Pprof(merge) = world.ask(&Question::Pprof(query.clone())).await else { panic!() };
            assert_eq!(merge.checked_total(), Ok(sum), "pprof, {told}");
            let grid = StepGrid::new(DAY_NS / 1_000_000 - 1000, DAY_NS / 1_000_000 + 400_000_000, 7_000_000);
            let question = Question::Points { query: query.clone(), group_by: vec!["pod".to_owned()], grid };
            let Answer::Points(points) = world.ask(&question).await else { panic!() };
            let buckets =
                || points.groups.values().flat_map(|buckets| buckets.iter().map(|(_, bucket)| bucket));
            let got = (buckets().map(|b| b.sum).sum::<i128>(), buckets().map(|b| b.count).sum::<u64>());
            assert_eq!(got, (i128::from(sum), rows.len() as u64), "points, {told}");
            if let Some(row) = self.rows.get(random.below(self.rows.len() as u64 + 1) as usize) {
                let query = ProfileQuery { profile_ids: vec![row.rid().0], ..query };
                let Answer::Tree(tree) = world.ask(&Question::Tree(query)).await else { panic!() };
                let is_there = rows.iter().any(|own| own.number == row.number);
                assert_eq!(tree.checked_total(), Ok(if is_there { row.value(ty) } else { 0 }), "id, {told}");
            }
            self.check_names(world, range, &selector, &told).await;
        }
    }

    async fn check_names(&self, world: &World, range: TimeRange, selector: &Selector, told: &str) {
        let there: Vec<(&Row, usize)> = self.there(range, selector).collect();
        let matchers = vec![selector.clone()];
        let name = "pod".to_owned();
        let question = Question::LabelValues { name, range: Some(range), matchers: matchers.clone() };
        let Answer::Names(pods) = world.ask(&question).await else { panic!() };
        assert_eq!(pods, there.iter().map(|(row, _)| row.pod()).collect(), "label values, {told}");
        let label_names = vec!["pod".to_owned(), "service_name".to_owned(), "__type__".to_owned()];
        let question = Question::Series { range: Some(range), matchers, label_names: label_names.clone() };
        let Answer::Series(series) = world.ask(&question).await else { panic!() };
        let project = |(row, ty): &(&Row, usize)| row.labels().with_type(&types()[*ty]).project(&label_names);
        assert_eq!(series, there.iter().map(project).collect(), "series, {told}");
        let question = Question::Tally { range, selector: selector.clone() };
        let Answer::Tally(tally) = world.ask(&question).await else { panic!() };
        assert_eq!(tally.sum().profiles, there.len() as u64, "tally, {told}");
        let everything = Selector::default();
        let all: Vec<(&Row, usize)> = self.there(TimeRange::ALL, &everything).collect();
        let Answer::ProfileTypes(found) = world.ask(&Question::ProfileTypes { range: None }).await else {
            panic!()
        };
        assert_eq!(found, all.iter().map(|(_, ty)| types()[*ty].clone()).collect(), "types, {told}");
        let Answer::Stats(stats) = world.ask(&Question::Stats).await else { panic!() };
        let times = || all.iter().map(|(row, _)| row.time());
        assert_eq!(stats.oldest_newest, times().min().zip(times().max()), "stats, {told}");
    }
}

/// Merges some blocks of a day as a compactor does: with the deletions of the root, and only if no other came meanwhile.
async fn merge(world: &World, random: &mut Random) {
    let Some(view) = world.newest().await else { return };
    let days: BTreeSet<i32> = view.blocks.iter().map(|block| block.day).collect();
    let Some(day) = days.iter().nth(random.below(days.len().max(1) as u64) as usize) else { return };
    let inputs: Vec<_> = view.blocks.iter().filter(|block| block.day == *day).cloned().collect();
    let skip = random.below(inputs.len() as u64) as usize;
    let inputs: Vec<_> = inputs.into_iter().skip(skip).take(1 + random.below(3) as usize).collect();
    let deletions = view.deletions(&tenant()).expect("parse");
    let outputs = world.merge(&inputs, &deletions).await;
    let remove: Vec<BlockRef> = inputs.iter().map(|block| BlockRef::of(block)).collect();
    let of = tenant();
    let edited = world.others.edit(&of, |newest| {
        let unbury = newest.spent_deletions();
        assert_eq!(newest.deletions(&tenant()).expect("parse"), deletions, "nobody else edits in this test");
        let applied = newest.root.tombstones.iter().map(|tombstone| tombstone.id).collect();
        Ok(Edit { remove: remove.clone(), add: outputs.clone(), unbury, applied, ..Edit::default() })
    });
    edited.await.expect("committed");
}

async fn run(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new().await;
    let (mut model, mut next) = (Model::default(), 0);
    let mut ids: Vec<u128> = Vec::new();
    for step in 0..STEPS {
        let told = format!("seed {seed}, step {step}");
        match random.below(12) {
            0..=3 => {
                let count = 1 + random.below(9);
                let rows: Vec<Row> = (next..next + count).map(|number| Row { number }).collect();
                next += count;
                world.push(&rows).await;
                model.rows.extend(rows);
            }
            4 | 5 => world.ingester.flush().await.expect("published"),
            6..=8 => {
                let text = SELECTORS[random.below(SELECTORS.len() as u64) as usize];
                let ask =
                    DeletionAsk { selector: text.to_owned(), range: ranges(&mut random), everything: true };
                let terms = Duration::from_secs(30);
                let shown = world.querier.preview_deletion(&tenant(), &ask, terms).await.expect("counted");
                let (info, takes) = world.querier.delete(&tenant(), &ask, terms).await.expect("deleted");
                let selector = Selector::parse(text).expect("valid");
                let went = model.delete(info.record.id, ask.range, &selector);
                assert_eq!(shown, takes, "a dry run says what goes, {told}");
                assert_eq!(takes.tally.sum().profiles, went, "{told}");
                ids.push(info.record.id);
            }
            9 => merge(&world, &mut random).await,
            10 => world = world.killed().await,
            _ => {
                let Some(id) = ids.get(random.below(ids.len().max(1) as u64) as usize).copied() else {
                    continue;
                };
                match world.querier.cancel_deletion(&tenant(), id, false).await {
                    Ok(()) => {
                        model.cancel(id);
                        world.settle().await;
                    }
                    Err(DeletionError::Catalog(_)) => {}
                    Err(error) => panic!("{error}, {told}"),
                }
            }
        }
        model.check(&world, &mut random, &told).await;
    }
    world.ingester.flush().await.expect("published");
    // Everything is carried out: nothing waits, and nothing changes.
    for _ in 0..3 {
        let Some(view) = world.newest().await else { break };
        for block in view.blocks.clone() {
            let deletions = view.deletions(&tenant()).expect("parse");
            let outputs = world.merge(std::slice::from_ref(&block), &deletions).await;
            let edit = |newest: &hearth_catalog::RootView| {
                let remove = vec![BlockRef::of(&block)];
                let applied = newest.root.tombstones.iter().map(|tombstone| tombstone.id).collect();
                let unbury = newest.spent_deletions();
                Ok(Edit { remove, add: outputs.clone(), unbury, applied, ..Edit::default() })
            };
            world.others.edit(&tenant(), edit).await.expect("committed");
        }
    }
    let left = world.querier.deletions(&tenant()).await.expect("listed");
    let pending: Vec<_> = left.iter().filter(|info| matches!(info.state, State::Pending(_))).collect();
    assert!(pending.is_empty(), "seed {seed}: {pending:?}");
    model.check(&world, &mut random, &format!("seed {seed}, at the end")).await;
    assert_eq!(world.other_total().await, world.other_pushed(), "seed {seed}: another tenant's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_in_no_answer_and_all_else_is() {
    let runs = std::env::var("HEARTH_DELETION_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let first = std::env::var("HEARTH_DELETION_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for seed in first..first + runs {
        run(seed).await;
    }
}
