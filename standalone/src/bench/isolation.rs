//! What a tenant feels of another that pushes and asks as fast as it can: the times of its own pushes and questions, alone and
//! beside the flood.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hearth_common::{Clock, SystemClock};
use serde_json::{Value, json};

use super::figures::percentile_ms;
use super::load::{Load, PUSH};
use super::queries::CPU;
use super::{Span, cores, round};
use crate::client::Client;
use crate::term;

/// The quiet tenant pushes one profile and asks one question so often.
const PACE: Duration = Duration::from_millis(100);
/// Bodies that the flood sends in turn; beyond them its pushes repeat.
const FLOOD_BODIES: u32 = 500;
/// Rounds of bodies that are not part of the load: the quiet tenant's, and those of the flood.
const FIRST_ROUND: u32 = 1_000_000;

/// Two tenants of one server that have the load each.
#[derive(Debug)]
pub(super) struct Isolation<'a> {
    pub(super) quiet: &'a Client,
    pub(super) flooding: &'a Client,
    pub(super) load: &'a Load,
    pub(super) span: Span,
    /// Threads that push, and as many that ask.
    pub(super) flooders: u32,
    /// Each of the two phases takes so long.
    pub(super) phase: Duration,
}

/// Times of one phase.
#[derive(Debug, Default)]
struct Times {
    pushes: Vec<Duration>,
    questions: Vec<Duration>,
}

impl Isolation<'_> {
    /// Measures; the figures.
    pub(super) fn measure(&self, clock: &SystemClock) -> Result<Value> {
        let waiting = term::spinner("a quiet tenant, alone");
        let mut alone = self.paced(clock, 0)?;
        waiting.set_message("making the flood");
        let bodies = (0..FLOOD_BODIES).map(|at| self.body(2 * FIRST_ROUND + at));
        let bodies: Vec<Vec<u8>> = bodies.collect::<Result<_>>()?;
        waiting.set_message("a quiet tenant beside a flood");
        let (stop, pushed, asked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let fleet = self.question("{}");
        let beside = std::thread::scope(|scope| {
            for _ in 0..self.flooders {
                scope.spawn(|| {
                    cores::give_way();
                    while !stop.load(Ordering::Relaxed) {
                        let at = pushed.fetch_add(1, Ordering::Relaxed) as usize % bodies.len();
                        // Refusals are answers, too.
                        _ = self.flooding.post(PUSH, "application/proto", &bodies[at]);
                    }
                });
                scope.spawn(|| {
                    cores::give_way();
                    while !stop.load(Ordering::Relaxed) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        _ = self.flooding.ask("SelectMergeStacktraces", &fleet);
                    }
                });
            }
            let beside = self.paced(clock, FIRST_ROUND / 2);
            stop.store(true, Ordering::Relaxed);
            beside
        });
        waiting.finish_and_clear();
        let mut beside = beside?;
        let ratio = |of: fn(&mut Times) -> &mut Vec<Duration>, alone: &mut Times, beside: &mut Times| {
            let (before, after) = (percentile_ms(of(alone), 0.99), percentile_ms(of(beside), 0.99));
            json!({"alone_p50_ms": percentile_ms(of(alone), 0.5), "beside_p50_ms": percentile_ms(of(beside), 0.5),
                "alone_p99_ms": before, "beside_p99_ms": after, "p99_ratio": round(after / before)})
        };
        Ok(json!({
            "op": "isolation",
            "flooders": 2 * self.flooders,
            "flood_pushes": pushed.into_inner(),
            "flood_questions": asked.into_inner(),
            "push": ratio(|times| &mut times.pushes, &mut alone, &mut beside),
            "question": ratio(|times| &mut times.questions, &mut alone, &mut beside),
        }))
    }

    /// Pushes and asks at an even pace for a phase.
    fn paced(&self, clock: &SystemClock, first: u32) -> Result<Times> {
        let mut times = Times::default();
        let question = self.question("{service_name=\"svc-000\"}");
        let begun = clock.monotonic();
        for step in 0u32.. {
            let due = begun + PACE * step;
            if due >= begun + self.phase {
                break;
            }
            std::thread::sleep(due.saturating_sub(clock.monotonic()));
            let body = self.body(FIRST_ROUND + first + step)?;
            let at = clock.monotonic();
            self.quiet.post(PUSH, "application/proto", &body)?.ok().context("the quiet tenant's push")?;
            times.pushes.push(clock.monotonic() - at);
            let at = clock.monotonic();
            self.quiet.ask("SelectMergeStacktraces", &question).context("the quiet tenant's question")?;
            times.questions.push(clock.monotonic() - at);
        }
        Ok(times)
    }

    fn body(&self, round: u32) -> Result<Vec<u8>> {
        let at_ns = (self.span.end_ms - 1000) * 1_000_000 + i64::from(round);
        Ok(self.load.body(at_ns, round, round % 50, 0)?.1)
    }

    fn question(&self, selector: &str) -> Value {
        let Span { start_ms, end_ms } = self.span;
        json!({"profile_typeID": CPU, "label_selector": selector, "start": start_ms, "end": end_ms})
    }
}
