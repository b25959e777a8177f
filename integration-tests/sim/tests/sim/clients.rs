//! Who pushes and who asks: clients of distributors and queriers, which try again until somebody answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hearth_cluster::roster::LOOSE_AHEAD;
use hearth_cluster::{PushOutcome, PushTarget};
use hearth_common::{Clock, Rid, TenantId, TimeRange, TimestampNs};
use hearth_formats::record::{self, Function, Line, Location, Record, RecordHeader};
use hearth_model::name_tree::NodeId;
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector};
use hearth_querier::Terms;

use crate::Plant;
use crate::checker::Counts;
use crate::net::CLIENTS;
use crate::process::Front;
use crate::world::World;

/// How long a client waits for one call.
const CALL_MAX: Duration = Duration::from_secs(15);
/// How often a push is tried before the run fails.
const TRIES_MAX: u32 = 3_000;
const TENANTS: [&str; 2] = ["one", "two"];

/// A call of a client to a front, and the way back.
async fn call<T>(world: &World, at: usize, work: impl AsyncFnOnce(&Front) -> Option<T>) -> Option<T> {
    let called = async {
        if !world.travel(CLIENTS, at).await {
            return None;
        }
        let life = world.life(at)?;
        let front = life.front()?;
        let done = tokio::select! {
            biased;
            () = life.dead() => None,
            done = work(&front) => done,
        };
        if !world.travel(at, CLIENTS).await {
            return None;
        }
        done
    };
    tokio::time::timeout(CALL_MAX, called).await.ok().flatten()
}

/// A profile as a client has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) number: u64,
    pub(crate) time: TimestampNs,
}

impl Profile {
    fn record(self, try_number: u32) -> Bytes {
        let (service, name) = (format!("service-{}", self.number % 3), format!("r{}", self.number));
        let record = Record {
            labels: vec![("__name__", "cpu"), ("service_name", &service)],
            sample_types: vec![("cpu", "ns")],
            strings: vec!["", &name],
            functions: vec![Function { name: 1, ..Function::default() }],
            lines: vec![Line { function: 0, line: 1 }],
            locations: vec![Location { line_count: 1, ..Location::default() }],
            frames: vec![0],
            stack_ends: vec![1],
            values: vec![1],
            ..Record::default()
        };
        let header = RecordHeader {
            tenant: TENANTS[(self.number / 3 % 2) as usize],
            rid: Rid(u128::from(self.number) + 1 + (u128::from(try_number) << 64)),
            service_hash: (self.number % 3 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            series_hash: (self.number % 7 + 1).wrapping_mul(0xd134_2543_de82_ef95),
            time: self.time,
        };
        let mut bytes = Vec::new();
        record::encode(&header, &record, &mut bytes).expect("fits");
        bytes.into()
    }
}

/// Pushes profiles until each is acknowledged, or too old for the front that is asked; some of them once more, as a client
/// does that did not hear of it.
pub(crate) async fn push(world: Arc<World>, profiles: Vec<Profile>) -> Result<(), String> {
    push_once(&world, profiles.clone()).await?;
    let (percent, most_ms) = if world.rules.unheard { (80, 4_000) } else { (25, 12_000) };
    if world.dice.chance(percent) {
        tokio::time::sleep(Duration::from_millis(world.dice.below(most_ms))).await;
        push_once(&world, profiles).await?;
    }
    Ok(())
}

async fn push_once(world: &World, profiles: Vec<Profile>) -> Result<(), String> {
    let window_ns = world.rules.window().as_nanos() as i64;
    let left = &profiles;
    for try_number in 0..TRIES_MAX {
        let at = world.front_to_push();
        let rid_try = if world.plant == Plant::NewIdentity { try_number } else { 0 };
        // As a distributor does, by its own clock, when a push has come.
        let pushed = call(world, at, async |front| {
            let now = world.node(at).clock.now();
            // What is dated so far ahead of its clock it places by that, and a retry elsewhere may count twice until blocks are
            // merged: no fault to look for.
            let ages_ns = -(LOOSE_AHEAD.as_nanos() as i64)..window_ns;
            let young = left.iter().filter(|profile| ages_ns.contains(&(now.0 - profile.time.0)));
            let young: Vec<Profile> = young.copied().collect();
            let records: Vec<Bytes> = young.iter().map(|profile| profile.record(rid_try)).collect();
            if young.is_empty() {
                return Some((young, Vec::new()));
            }
            world.truth.lock().sent.extend(young.iter().map(|profile| profile.number));
            let outcomes = front.push.push(records).await.ok()?;
            Some((young, outcomes))
        });
        if let Some((young, outcomes)) = pushed.await {
            for (profile, outcome) in young.iter().zip(&outcomes) {
                if *outcome != PushOutcome::Acked {
                    return Err(format!("record {}: {outcome:?}", profile.number));
                }
                world.truth.lock().acked.insert(profile.number);
            }
            let numbers: Vec<u64> = young.iter().map(|profile| profile.number).collect();
            world.trace.note(&format!("f{at} took {numbers:?}"));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50 + world.dice.below(400))).await;
    }
    Err(format!("records {profiles:?} were not taken in {TRIES_MAX} tries"))
}

fn question() -> Question {
    Question::Tree(ProfileQuery {
        profile_type: ProfileType::new("cpu", "cpu", "ns", "", ""),
        selector: Selector::default(),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    })
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) records: usize,
    /// It says that it may miss something.
    pub(crate) inexact: Vec<String>,
}

/// Asks until somebody answers, and checks the answer.
pub(crate) async fn ask(world: &World, tries: u32) -> Result<Option<Heard>, String> {
    let tenants = TENANTS.map(|tenant| TenantId::parse(tenant).expect("valid"));
    let mut why = String::new();
    for _ in 0..tries {
        let acked_before = world.truth.lock().acked.clone();
        let at = world.front_to_ask();
        let terms = Terms::from(Duration::from_secs(12));
        let asked =
            call(world, at, async |front| Some(front.querier.ask(&tenants, &question(), terms).await)).await;
        match asked {
            Some(Ok((Answer::Tree(tree), marks))) => {
                let mut counts = Counts::new();
                for (node, value) in (0..).zip(tree.selfs()).filter(|(_, value)| **value != 0) {
                    let name = tree.name(NodeId(node));
                    let number = name.strip_prefix('r').and_then(|number| number.parse().ok());
                    *counts.entry(number.ok_or("a name that was never sent")?).or_default() += value;
                }
                world.trace.note(&format!("f{at} answers with {} records {:?}", counts.len(), marks.inexact));
                let known = if marks.inexact.is_empty() { acked_before } else { Default::default() };
                world.truth.lock().check(&known, &counts)?;
                world.answers.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(Heard { records: counts.len(), inexact: marks.inexact }));
            }
            Some(Ok(_)) => return Err("another answer than was asked for".to_owned()),
            Some(Err(error)) => why = hearth_common::error::chain(&error),
            None => "no front answers".clone_into(&mut why),
        }
        tokio::time::sleep(Duration::from_millis(50 + world.dice.below(300))).await;
    }
    world.trace.note(&format!("no answer: {why}"));
    Ok(None)
}
