//! `hearth canary`: pushes a profile of known stacks again and again, reads it back, now and hours later, and exports whether it
//! came back exactly, and how fast. Must not know the server but by its wire.

mod figures;
mod known;
mod past;
mod port;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_common::{Clock, SystemClock};
use serde_json::json;

use crate::cli::CanaryArgs;
use crate::client::Client;
use crate::pprof_wire;
use figures::{Figures, Pushed, Read};
use known::Known;
use past::{AGES, Past};

const PUSH: &str = "/push.v1.PusherService/Push";
const TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
const SERVICE: &str = "hearth-canary";
/// Pauses between two looks for a profile that is not there yet: from this …
const LOOK_MIN: Duration = Duration::from_millis(20);
/// … doubled, to this.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// One that pushes and reads.
struct Canary {
    client: Client,
    clock: SystemClock,
    figures: Figures,
    past: Past,
    /// Tells it from others that push to the same tenant.
    instance: String,
    /// A profile that is not there after so long is missing.
    patience: Duration,
    /// Older profiles are not read.
    oldest: Duration,
}

pub(crate) fn run(args: &CanaryArgs) -> Result<()> {
    let interval = args.interval.0;
    if interval.is_zero() {
        bail!("--interval 0: a pause between two rounds is needed, such as 15s");
    }
    let client = args.server.client()?;
    let figures = Figures::default();
    let port = port::serve(&args.listen, &figures, 4 * interval + args.patience.0)?;
    let mut canary = Canary {
        client,
        clock: SystemClock::default(),
        figures,
        past: Past::default(),
        instance: args.instance.clone().unwrap_or_else(hearth_node::host_name),
        patience: args.patience.0,
        oldest: args.oldest.0,
    };
    let (shown, interval_text) = (canary.client.shown(), args.interval);
    say(&format!("pushing to {shown} every {interval_text}; figures at http://{port}/metrics"));
    let mut due = canary.clock.monotonic();
    for round in 0u64.. {
        if args.rounds.is_some_and(|rounds| round >= rounds) {
            break;
        }
        std::thread::sleep(due.saturating_sub(canary.clock.monotonic()));
        // After a round that took long the next one is not late, but later.
        due = (due + interval).max(canary.clock.monotonic());
        canary.round();
    }
    match canary.figures.failures() {
        0 => Ok(()),
        failures => bail!("{failures} of {} steps did not end as they should", canary.figures.steps()),
    }
}

#[allow(clippy::print_stderr, reason = "the command line speaks to a person")]
fn say(text: &str) {
    eprintln!("{text}");
}

impl Canary {
    /// Pushes a profile and waits until it can be read; then reads one of each age again.
    fn round(&mut self) {
        let now_ns = self.clock.now().0;
        // Questions have milliseconds: one profile in each.
        let known = Known::of(now_ns - now_ns % 1_000_000);
        if self.push(&known) {
            self.fresh(&known);
            self.past.keep(known);
        }
        for (age, (_, old)) in AGES.iter().enumerate() {
            if *old > self.oldest {
                break;
            }
            let Some(known) = self.past.of_age(age, now_ns) else { continue };
            let read = self.read(&known);
            self.count(age + 1, &known, &read);
        }
        self.figures.round_ended(self.clock.now());
    }

    fn push(&self, known: &Known) -> bool {
        let labels = [("__name__", "process_cpu"), ("service_name", SERVICE), ("instance", &self.instance)];
        let body = pprof_wire::push_request(&labels, &known.pprof(), "");
        let begun = self.clock.monotonic();
        let (outcome, why) = match self.client.post(PUSH, "application/proto", &body) {
            Ok(answer) if answer.status == 200 => (Pushed::Acknowledged, None),
            Ok(answer) => (Pushed::Refused, answer.ok().err()),
            Err(error) => (Pushed::Failed, Some(error)),
        };
        self.figures.pushed(outcome, self.clock.monotonic() - begun);
        if let Some(why) = why {
            say(&format!("the push of {} did not succeed: {why:#}", known.time_ns));
        }
        outcome == Pushed::Acknowledged
    }

    /// Reads until the profile is there.
    fn fresh(&self, known: &Known) {
        let begun = self.clock.monotonic();
        let mut pause = LOOK_MIN;
        loop {
            let read = self.read(known);
            let took = self.clock.monotonic() - begun;
            let is_final = !matches!(read, Ok(Read::Missing)) || took >= self.patience;
            if is_final {
                if matches!(read, Ok(Read::Exact)) {
                    self.figures.fresh_after(took);
                }
                return self.count(0, known, &read);
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(LOOK_MAX);
        }
    }

    fn read(&self, known: &Known) -> Result<Read> {
        let at_ms = known.time_ns / 1_000_000;
        let selector = json!(SERVICE).to_string();
        let instance = json!(self.instance).to_string();
        let question = json!({
            "profile_typeID": TYPE, "start": at_ms, "end": at_ms, "maxNodes": 1024,
            "label_selector": format!("{{service_name={selector}, instance={instance}}}"),
        });
        let answer = self.client.ask("SelectMergeStacktraces", &question)?;
        known.compare(&answer).context("the flame graph is not one")
    }

    fn count(&self, age: usize, known: &Known, read: &Result<Read>) {
        let name = if age == 0 { "fresh" } else { AGES[age - 1].0 };
        self.figures.read(name, read.as_ref().ok().copied(), self.clock.now());
        match read {
            Ok(Read::Exact) => {}
            Ok(Read::Missing) => {
                say(&format!("the profile of {} ({name}) is not there: it was acknowledged", known.time_ns));
            }
            Ok(Read::Wrong) => {
                say(&format!(
                    "the profile of {} ({name}) does not have the totals it was pushed with",
                    known.time_ns
                ));
            }
            Err(error) => {
                say(&format!("the profile of {} ({name}) cannot be asked for: {error:#}", known.time_ns))
            }
        }
    }
}
