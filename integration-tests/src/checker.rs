//! Pushes profiles with known sums through a cluster, from several clients that retry, while something goes wrong; then, and
//! meanwhile, asks whether every acknowledged one is there exactly once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::api::Api;
use crate::profile;

/// Services that profiles are pushed for.
pub const SERVICES: u64 = 17;
/// How long a client tries one push.
const PUSH_PATIENCE: Duration = Duration::from_secs(60);

/// What was pushed, and what of it is acknowledged.
#[derive(Debug)]
pub struct Checker {
    base_ns: i64,
    /// When each profile was made.
    times_ns: Mutex<BTreeMap<u64, i64>>,
    /// Sums by service of what was begun and of what was acknowledged.
    begun: Vec<AtomicI64>,
    acked: Vec<AtomicI64>,
    next: AtomicU64,
    stop: AtomicBool,
    /// Pushes that had to be tried again, and the most tries of one.
    retries: AtomicU64,
    tries_max: AtomicU64,
    /// The longest that one push took, in ms.
    slowest_ms: AtomicU64,
    /// Questions answered, and those that failed with a clear error.
    answered: AtomicU64,
    failed: AtomicU64,
    /// The longest time from one exact answer to the next with clear errors between them, in ms.
    unanswered_ms: AtomicU64,
    errors: Mutex<Vec<String>>,
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64
}

impl Default for Checker {
    fn default() -> Self {
        let zeros = || (0..SERVICES).map(|_| AtomicI64::new(0)).collect();
        Self {
            base_ns: now_ns() / 1_000_000 * 1_000_000 - 60_000_000_000,
            times_ns: Mutex::default(),
            begun: zeros(),
            acked: zeros(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            retries: AtomicU64::new(0),
            tries_max: AtomicU64::new(0),
            slowest_ms: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unanswered_ms: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }
}

impl Checker {
    /// Ends the pushing and asking.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// How many were pushed.
    pub fn pushed(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// The same profile for the same number: a retry sends the same bytes.
    fn profile(&self, n: u64) -> (u64, i64, Vec<u8>) {
        let value = 1_000_003 + (n as i64 * 7919) % 1_000_000;
        let leaf = format!("leaf-{}", n % 97);
        let stacks: &[(&[&str], i64)] = &[(&["main", "work", &leaf], value), (&["main", "idle"], 17)];
        // Of now, so that it goes where profiles go now; a retry has the time of the first try.
        let time_ns = {
            let mut times = self.times_ns.lock().expect("not poisoned");
            *times.entry(n).or_insert_with(now_ns)
        };
        let body = profile::gzip(&profile::cpu(time_ns, stacks));
        (n % SERVICES, value + 17, body)
    }

    /// Pushes until [`Checker::stop`], each profile until it is acknowledged, by whichever client answers.
    pub fn push(&self, clients: &[Api], pause: Duration) {
        while !self.stop.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let (service, value, body) = self.profile(n);
            self.begun[service as usize].fetch_add(value, Ordering::SeqCst);
            self.until_taken(n, service, &body, clients);
            self.acked[service as usize].fetch_add(value, Ordering::SeqCst);
            std::thread::sleep(pause);
        }
    }

    /// Pushes one profile until it is acknowledged.
    fn until_taken(&self, n: u64, service: u64, body: &[u8], clients: &[Api]) {
        let name = format!("service-{service}");
        let pod = format!("pod-{}", n % 5);
        let labels = [("__name__", "process_cpu"), ("service_name", name.as_str()), ("pod", &pod)];
        let started = Instant::now();
        let mut tries = 0u64;
        loop {
            let client = &clients[((n + tries) % clients.len() as u64) as usize];
            tries += 1;
            let why = match client.push(&labels, body) {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => {
                    assert!(answer.status >= 429, "push refused: {} {}", answer.status, answer.text());
                    format!("{} {}", answer.status, answer.text())
                }
                Err(error) => error.to_string(),
            };
            self.retries.fetch_add(1, Ordering::SeqCst);
            self.errors.lock().expect("not poisoned").push(why.clone());
            assert!(started.elapsed() < PUSH_PATIENCE, "push {n} was not taken: {why}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.tries_max.fetch_max(tries, Ordering::SeqCst);
        let took_ms = started.elapsed().as_millis() as u64;
        self.slowest_ms.fetch_max(took_ms, Ordering::SeqCst);
    }

    /// Asks until [`Checker::stop`]: an answer holds everything acknowledged before, nothing twice, and nothing that was not
    /// begun; or it is a clear error.
    pub fn ask(&self, clients: &[Api], pause: Duration) {
        let mut at = 0;
        let (mut last, mut errors) = (Instant::now(), false);
        while !self.stop.load(Ordering::SeqCst) {
            let service = at as u64 % SERVICES;
            let client = &clients[at % clients.len()];
            at += 1;
            let before = self.acked[service as usize].load(Ordering::SeqCst);
            let got = self.total(client, service);
            let after = self.begun[service as usize].load(Ordering::SeqCst);
            match got {
                Ok(got) => {
                    assert!(before <= got && got <= after, "service {service}: {before} ≤ {got} ≤ {after}");
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    if std::mem::take(&mut errors) {
                        self.unanswered_ms.fetch_max(last.elapsed().as_millis() as u64, Ordering::SeqCst);
                    }
                    last = Instant::now();
                }
                Err(error) => {
                    errors = true;
                    self.failed.fetch_add(1, Ordering::SeqCst);
                    self.errors.lock().expect("not poisoned").push(error);
                }
            }
            std::thread::sleep(pause);
        }
    }

    /// A range that has all profiles.
    pub fn range_ms(&self) -> (i64, i64) {
        (self.base_ns / 1_000_000 - 1000, self.base_ns / 1_000_000 + 7_200_000)
    }

    fn total(&self, client: &Api, service: u64) -> Result<i64, String> {
        let (start_ms, end_ms) = self.range_ms();
        client.series_total(&format!("{{service_name=\"service-{service}\"}}"), start_ms, end_ms)
    }

    /// When nobody pushes any more: waits until the client answers, and every sum must be exact. Says how long that took.
    pub fn settle(&self, client: &Api, patience: Duration) -> Duration {
        let started = Instant::now();
        for service in 0..SERVICES {
            let want = self.acked[service as usize].load(Ordering::SeqCst);
            loop {
                match self.total(client, service) {
                    Ok(got) => {
                        let begun = self.begun[service as usize].load(Ordering::SeqCst);
                        assert_eq!(got, want, "service {service}, begun {begun}");
                        break;
                    }
                    Err(error) => {
                        assert!(started.elapsed() < patience, "no answer within {patience:?}: {error}");
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        }
        started.elapsed()
    }

    /// What answers say of being inexact, of all services; asked as in [`Checker::settle`].
    pub fn marks(&self, client: &Api) -> Vec<String> {
        let (start_ms, end_ms) = self.range_ms();
        let ask = |service| {
            let selector = format!("{{service_name=\"service-{service}\"}}");
            client.series_total_marked(&selector, start_ms, end_ms).expect("an answer").1
        };
        (0..SERVICES).filter_map(ask).collect()
    }

    /// Pushes what was pushed once more, each profile through another client than at first. All of it is taken; none of it
    /// may count again.
    pub fn push_again(&self, clients: &[Api]) {
        for n in 0..self.pushed() {
            let (service, _, body) = self.profile(n);
            let other = (n + 1) as usize % clients.len();
            self.until_taken(n, service, &body, &clients[other..=other]);
        }
    }

    /// As [`Checker::push`], but each profile goes to all clients at the same time, each of which tries until it is taken:
    /// it counts once.
    pub fn push_hedged(&self, clients: &[Api], pause: Duration) {
        while !self.stop.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let (service, value, body) = self.profile(n);
            self.begun[service as usize].fetch_add(value, Ordering::SeqCst);
            std::thread::scope(|scope| {
                for client in clients {
                    scope.spawn(|| self.until_taken(n, service, &body, std::slice::from_ref(client)));
                }
            });
            self.acked[service as usize].fetch_add(value, Ordering::SeqCst);
            std::thread::sleep(pause);
        }
    }

    /// Figures, for people.
    pub fn report(&self) -> String {
        let load = |n: &AtomicU64| n.load(Ordering::SeqCst);
        let errors = self.errors.lock().expect("not poisoned");
        format!(
            "{} pushed, {} retries, at most {} tries, slowest {} ms; {} answers, {} clear errors, \
             at most {} ms without an answer; last error: {}",
            self.pushed(),
            load(&self.retries),
            load(&self.tries_max),
            load(&self.slowest_ms),
            load(&self.answered),
            load(&self.failed),
            load(&self.unanswered_ms),
            errors.last().map_or("none", String::as_str)
        )
    }

    /// The most tries that a push took.
    pub fn tries_max(&self) -> u64 {
        self.tries_max.load(Ordering::SeqCst)
    }
}
