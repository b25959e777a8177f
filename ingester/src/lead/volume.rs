//! How much is pushed of each service of a tenant: what the planner spreads services by.

use std::time::Duration;

use hashbrown::HashMap;

/// How long bytes are counted before they become a rate.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// Share of the newest window in the average: about a minute is remembered.
const NEWEST: f64 = 0.2;
/// Services of one tenant that are measured; beyond it new ones wait until some fall silent.
const SERVICES_MAX: usize = 10_000;
/// A service of which less is pushed, in bytes a second, is forgotten.
const SILENT: f64 = 1.0;

/// The services of a tenant.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    services: HashMap<u64, Rate>,
    begun: Option<Duration>,
}

#[derive(Debug, Default)]
struct Rate {
    window_bytes: u64,
    average: Option<f64>,
}

impl Volumes {
    /// A record of so many bytes was taken. False: there are too many services to measure this one.
    pub(crate) fn add(&mut self, service_hash: u64, bytes: usize) -> bool {
        if self.services.len() >= SERVICES_MAX && !self.services.contains_key(&service_hash) {
            return false;
        }
        self.services.entry(service_hash).or_default().window_bytes += bytes as u64;
        true
    }

    /// Time has passed: a window may be over.
    pub(crate) fn tick(&mut self, now: Duration) {
        let begun = *self.begun.get_or_insert(now);
        let passed = now.saturating_sub(begun);
        if passed < WINDOW {
            return;
        }
        self.begun = Some(now);
        self.services.retain(|_, rate| {
            let newest = std::mem::take(&mut rate.window_bytes) as f64 / passed.as_secs_f64();
            let average = rate.average.map_or(newest, |before| before + NEWEST * (newest - before));
            rate.average = Some(average);
            average >= SILENT
        });
    }

    /// Services and bytes a second, of whole windows.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (u64, u64)> {
        self.services.iter().filter_map(|(service, rate)| Some((*service, rate.average? as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(volumes: &Volumes, service: u64) -> Option<u64> {
        volumes.rates().find(|(known, _)| *known == service).map(|(_, rate)| rate)
    }

    #[test]
    fn rates_follow_what_is_pushed_and_silence_is_forgotten() {
        let mut volumes = Volumes::default();
        let s = Duration::from_secs;
        volumes.tick(s(100));
        volumes.add(1, 40_000);
        volumes.add(1, 60_000);
        volumes.tick(s(105));
        assert_eq!(rate_of(&volumes, 1), None, "the window is not over");
        volumes.tick(s(110));
        assert_eq!(rate_of(&volumes, 1), Some(10_000));
        volumes.tick(s(120));
        assert_eq!(rate_of(&volumes, 1), Some(8_000), "a pause is no end");
        (13..80).for_each(|at| volumes.tick(s(at * 10)));
        assert_eq!(rate_of(&volumes, 1), None);
    }

    #[test]
    fn services_are_bounded() {
        let mut volumes = Volumes::default();
        assert!((0..SERVICES_MAX as u64).all(|service| volumes.add(service, 1)));
        assert!(!volumes.add(u64::MAX, 1) && volumes.add(3, 1));
    }
}
