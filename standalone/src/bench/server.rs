//! A server of the benchmark's own: this same binary, on a free port, with ingest limits out of the way.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_common::{Clock, SystemClock};

use super::figures::Process;
use super::ms;
use crate::client::Client;

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

const CONFIG: &str = "limits:
  ingestion_rate_mb: 100000
  ingestion_burst_size_mb: 100000
  max_profile_size_bytes: 67108864
  max_profile_stacktrace_samples: 0
  max_global_series_per_tenant: 0
  reject_older_than: 0
  reject_newer_than: 0
";

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct OwnServer {
    child: Child,
    url: String,
    ready: Duration,
}

impl OwnServer {
    /// Starts on `folder/data` and waits until it is ready.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        Self::start_and(folder, |_| Ok(()))
    }

    /// The same; calls `early` as soon as the port answers at all.
    pub(super) fn start_and(folder: &Path, early: impl FnOnce(&Client) -> Result<()>) -> Result<Self> {
        let mut early = Some(early);
        let clock = SystemClock::default();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join("hearth.yaml");
        std::fs::write(&config, CONFIG)?;
        let mut command = Command::new(std::env::current_exe().context("this binary has no path")?);
        command.args([
            "serve",
            "--multitenancy",
            "--log-level",
            "warn",
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        command.arg("--data-dir").arg(folder.join("data")).arg("--config").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let begun = clock.monotonic();
        let child = command.spawn().context("the server does not start")?;
        let mut server = Self { child, url: format!("http://127.0.0.1:{port}"), ready: Duration::ZERO };
        let client = server.client("bench")?;
        while clock.monotonic() - begun < START_MAX {
            let answer = client.get("/ready");
            if answer.is_ok()
                && let Some(early) = early.take()
            {
                early(&client)?;
            }
            if answer.is_ok_and(|answer| answer.status == 200) {
                server.ready = clock.monotonic() - begun;
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status} before it was ready");
            }
            std::thread::sleep(POLL);
        }
        bail!("the server was not ready within {} s", START_MAX.as_secs())
    }

    pub(super) fn client(&self, tenant: &str) -> Result<Client> {
        Client::new(&self.url, Some(tenant))
    }

    pub(super) fn process(&self) -> Process {
        Process::of(&[self.child.id()])
    }

    /// From the start of the process to the first `ready`.
    pub(super) fn ready_ms(&self) -> f64 {
        ms(self.ready)
    }

    /// Bytes that the log took for one profile, by the server's own count; 64 KiB if it does not say.
    pub(super) fn log_bytes_per_profile(&self, client: &Client) -> Result<usize> {
        let text = String::from_utf8_lossy(&client.get("/metrics")?.body).into_owned();
        let figure = |name: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
        };
        let (bytes, profiles) = (figure("hearth_wal_bytes "), figure("pyroscope_head_profiles "));
        Ok(match (bytes, profiles) {
            (Some(bytes), Some(profiles)) if profiles > 0.0 => (bytes / profiles) as usize,
            _ => 64 << 10,
        })
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; how long the stop took.
    pub(super) fn stop(mut self) -> Result<Duration> {
        let clock = SystemClock::default();
        let begun = clock.monotonic();
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a process has an id")?, rustix::process::Signal::TERM)?;
        while clock.monotonic() - begun < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the server ended with {status}");
                }
                return Ok(clock.monotonic() - begun);
            }
            std::thread::sleep(POLL);
        }
        bail!("the server did not stop within {} s", STOP_MAX.as_secs())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It has ended already, or nothing more can be done.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
