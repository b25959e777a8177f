//! The load: real profiles, each pushed by many pods in many rounds, one profile a request.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_common::{Clock, SystemClock};
use serde_json::{Value, json};

use super::figures::{Process, percentile_ms};
use super::{ROUND_SECONDS, round};
use crate::cli::{BenchLoad, plain};
use crate::client::Client;
use crate::{pprof_wire, term};

/// Bodies that are made ahead of the pushers.
const AHEAD: usize = 64;
/// Where profiles are pushed.
pub(super) const PUSH: &str = "/push.v1.PusherService/Push";

/// Profiles and how they are spread.
#[derive(Debug)]
pub(super) struct Load {
    profiles: Vec<Source>,
    shape: BenchLoad,
    end_s: i64,
}

#[derive(Debug)]
struct Source {
    raw: Vec<u8>,
    name: &'static str,
}

/// What the pushers counted.
#[derive(Debug, Default)]
struct Counted {
    times: Vec<Duration>,
    errors: u64,
    first_error: Option<String>,
}

impl Load {
    /// Reads the folder; the last round is at `end_s`.
    pub(super) fn read(shape: &BenchLoad, end_s: i64) -> Result<Self> {
        let folder = &shape.profiles;
        let say = || format!("cannot read profiles from {}: name a folder with --profiles", folder.display());
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .with_context(say)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .with_context(say)?;
        paths.retain(|path| path.is_file());
        paths.sort();
        let mut profiles = Vec::new();
        for path in paths {
            let raw = plain(std::fs::read(&path)?).with_context(|| path.display().to_string())?;
            pprof_wire::fields(&raw).with_context(|| format!("{} is no pprof", path.display()))?;
            let heap = path.file_name().is_some_and(|name| name.to_string_lossy().contains("heap"));
            profiles.push(Source { raw, name: if heap { "memory" } else { "process_cpu" } });
        }
        if profiles.is_empty() {
            bail!("{} has no profiles", folder.display());
        }
        Ok(Self { profiles, shape: shape.clone(), end_s })
    }

    /// Profiles in the whole load.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.shape.services) * u64::from(self.shape.pods) * u64::from(self.shape.rounds)
    }

    /// Pushes everything; the figures.
    pub(super) fn push(&self, client: &Client, process: &Process, clock: &SystemClock) -> Result<Value> {
        let (raw_bytes, gzip_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let counted = Mutex::new(Counted::default());
        let progress = term::bar(self.count(), "pushing");
        let (begun, cpu_before) = (clock.monotonic(), process.cpu_seconds());
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<Vec<u8>>(AHEAD);
            let receive = Arc::new(Mutex::new(receive));
            let (raw_bytes, gzip_bytes) = (&raw_bytes, &gzip_bytes);
            let making = scope.spawn(move || self.make(send, raw_bytes, gzip_bytes));
            let (counted, progress) = (&counted, &progress);
            let pushers: Vec<_> = (0..self.shape.concurrency.max(1))
                .map(|_| {
                    let receive = Arc::clone(&receive);
                    scope.spawn(move || pusher(client, &receive, counted, progress, clock))
                })
                .collect();
            // The maker stops when the last pusher is gone.
            drop(receive);
            for pusher in pushers {
                pusher.join().map_err(|_| anyhow::anyhow!("a pusher panicked"))?;
            }
            making.join().map_err(|_| anyhow::anyhow!("the maker of profiles panicked"))?
        })?;
        let seconds = (clock.monotonic() - begun).as_secs_f64();
        let cpu_s = process.cpu_seconds() - cpu_before;
        progress.finish_and_clear();
        let mut counted = counted.into_inner().unwrap_or_default();
        let raw_mb = raw_bytes.into_inner() as f64 / 1e6;
        let per_cpu = |value: f64| if cpu_s > 0.0 { json!(round(value / cpu_s)) } else { Value::Null };
        Ok(json!({
            "op": "push",
            "profiles": self.count(),
            "errors": counted.errors,
            "first_error": counted.first_error,
            "wall_s": round(seconds),
            "profiles_per_s": round(self.count() as f64 / seconds),
            "cpu_s": round(cpu_s),
            "cpu_ms_per_profile": round(cpu_s * 1000.0 / self.count() as f64),
            "raw_mb_per_cpu_s": per_cpu(raw_mb),
            "raw_mb": round(raw_mb),
            "gz_mb": round(gzip_bytes.into_inner() as f64 / 1e6),
            "ack_p50_ms": percentile_ms(&mut counted.times, 0.5),
            "ack_p99_ms": percentile_ms(&mut counted.times, 0.99),
            "rss_mb": process.memory_mib("VmRSS"),
            "peak_rss_mb": process.memory_mib("VmHWM"),
        }))
    }

    /// Pushes one profile that is not of the load, of a service of its own.
    pub(super) fn push_one(&self, client: &Client) -> Result<()> {
        let (_, body, _) = self.body(self.end_s * 1_000_000_000, 0, self.shape.services, 0)?;
        client.post(PUSH, "application/proto", &body)?.ok()?;
        Ok(())
    }

    /// Makes the bodies in order of time; ends early when nobody takes them any more.
    fn make(&self, send: SyncSender<Vec<u8>>, raw_bytes: &AtomicU64, gzip_bytes: &AtomicU64) -> Result<()> {
        let clock = SystemClock::default();
        let begun = clock.monotonic();
        let mut made = 0_u32;
        for round in 0..self.shape.rounds {
            let ago = i64::from(self.shape.rounds - 1 - round) * ROUND_SECONDS;
            let at_ns = (self.end_s - ago) * 1_000_000_000;
            for service in 0..self.shape.services {
                for pod in 0..self.shape.pods {
                    let (raw, body, gzipped) = self.body(at_ns, round, service, pod)?;
                    raw_bytes.fetch_add(raw as u64, Ordering::Relaxed);
                    gzip_bytes.fetch_add(gzipped as u64, Ordering::Relaxed);
                    if let Some(rate) = self.shape.rate {
                        let due = begun + Duration::from_secs(1) / rate * made;
                        std::thread::sleep(due.saturating_sub(clock.monotonic()));
                    }
                    made += 1;
                    if send.send(body).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// One request: (bytes of the profile, request, bytes of the gzipped profile).
    pub(super) fn body(
        &self,
        at_ns: i64,
        round: u32,
        service: u32,
        pod: u32,
    ) -> Result<(usize, Vec<u8>, usize)> {
        let source = &self.profiles[(service * 7 + pod) as usize % self.profiles.len()];
        let seed = u64::from(service) << 40 | u64::from(pod) << 32 | u64::from(round);
        let varied =
            if self.shape.jitter { pprof_wire::vary(&source.raw, seed) } else { Some(source.raw.clone()) };
        let raw = varied
            .and_then(|raw| pprof_wire::retime(&raw, at_ns + i64::from(pod) * 1_000_000))
            .context("a profile is no pprof")?;
        let mut gzip =
            flate2::write::GzEncoder::new(Vec::with_capacity(raw.len() / 2), flate2::Compression::new(1));
        gzip.write_all(&raw)?;
        let gzipped = gzip.finish()?;
        let names =
            [format!("svc-{service:03}"), format!("svc-{service:03}-{pod}"), format!("ns-{}", service % 7)];
        let [service_name, pod_name, namespace] = &names;
        let labels = [
            ("__name__", source.name),
            ("service_name", service_name),
            ("pod", pod_name),
            ("namespace", namespace),
        ];
        let id = format!("{service:08x}-{pod:04x}-4000-8000-{round:012x}");
        Ok((raw.len(), pprof_wire::push_request(&labels, &gzipped, &id), gzipped.len()))
    }
}

fn pusher(
    client: &Client,
    bodies: &Mutex<Receiver<Vec<u8>>>,
    counted: &Mutex<Counted>,
    progress: &indicatif::ProgressBar,
    clock: &SystemClock,
) {
    let mut own = Counted::default();
    loop {
        let body = match bodies.lock() {
            Ok(bodies) => bodies.recv(),
            Err(_) => break,
        };
        let Ok(body) = body else { break };
        let begun = clock.monotonic();
        let answer = client.post(PUSH, "application/proto", &body).and_then(|a| a.ok());
        own.times.push(clock.monotonic() - begun);
        if let Err(error) = answer {
            own.errors += 1;
            own.first_error.get_or_insert_with(|| format!("{error:#}"));
        }
        progress.inc(1);
    }
    if let Ok(mut all) = counted.lock() {
        all.times.append(&mut own.times);
        all.errors += own.errors;
        if let Some(error) = own.first_error {
            all.first_error.get_or_insert(error);
        }
    }
}
