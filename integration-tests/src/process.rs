//! A real `hearth` process on a free port with a data folder of its own.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::api::Api;

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Hearth {
    child: Child,
    /// Base URL.
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// How to start a process.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder.
    pub data_dir: PathBuf,
    /// YAML, written to a file beside the data folder.
    pub config: String,
    /// Whether tenants are told apart.
    pub multitenancy: bool,
    /// Variables, beside those of the test.
    pub environment: Vec<(&'static str, String)>,
}

/// Limits that let a test push as fast as it can.
pub const OPEN_LIMITS: &str = "limits:\n  ingestion_rate_mb: 100000\n  ingestion_burst_size_mb: 100000\n  \
    max_profile_size_bytes: 67108864\n  max_global_series_per_tenant: 0\n  reject_older_than: 0\n  reject_newer_than: 0\n";

impl Options {
    /// One tenant per header, limits open.
    pub fn new(data_dir: &Path) -> Self {
        let (data_dir, config) = (data_dir.to_owned(), OPEN_LIMITS.to_owned());
        Self { data_dir, config, multitenancy: true, environment: Vec::new() }
    }

    /// One tenant per header, default limits.
    pub fn plain(data_dir: &Path) -> Self {
        Self { config: String::new(), ..Self::new(data_dir) }
    }
}

/// The binary under test: `HEARTH_BIN`, else what cargo makes of the sources beside this test. Cargo is asked once a test
/// program, always: a binary that is there already may be an old one.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("HEARTH_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let dir = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "hearth", "--bin", "hearth"]);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if dir.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "hearth does not build");
    dir.join("hearth")
}

/// First and last port that tests listen on: below those that the system gives to connections, so that none of them sits
/// on a port that a process comes back to.
const PORTS: std::ops::Range<u32> = 12_000..32_000;

/// A port that nobody listens on, for TCP and UDP. Not given out again by this test program.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Programs that run side by side begin at different places.
    let (start, count) = (std::process::id().wrapping_mul(211), PORTS.end - PORTS.start);
    for _ in 0..count {
        let at = NEXT.fetch_add(1, Ordering::SeqCst).wrapping_add(start);
        let port = (PORTS.start + at % count) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port in {PORTS:?} is free");
}

impl Hearth {
    /// Starts a process and waits until it is ready.
    pub fn start(options: &Options) -> Self {
        let hearth = Self::launch(options);
        hearth.wait_ready(START_DEADLINE);
        hearth
    }

    /// Starts a process without waiting.
    pub fn launch(options: &Options) -> Self {
        let port = free_port();
        std::fs::create_dir_all(&options.data_dir).expect("data folder");
        let config = options.data_dir.with_extension("yaml");
        std::fs::write(&config, &options.config).expect("config file");
        let mut command = Command::new(binary());
        command.arg("serve").arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.arg("--data-dir").arg(&options.data_dir).arg("--config").arg(&config);
        if options.multitenancy {
            command.arg("--multitenancy");
        }
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("hearth starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().expect("piped"), Arc::clone(&log));
        follow(child.stderr.take().expect("piped"), Arc::clone(&log));
        Self { child, url: format!("http://127.0.0.1:{port}"), log }
    }

    /// Waits for `/ready`; says how long it took.
    pub fn wait_ready(&self, deadline: Duration) -> Duration {
        let started = Instant::now();
        while started.elapsed() < deadline {
            if self.api("").get("/ready").is_ok_and(|answer| answer.status == 200) {
                return started.elapsed();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not ready within {deadline:?}:\n{}", self.log_text());
    }

    /// A client of this process for one tenant (empty: no header).
    pub fn api(&self, tenant: &str) -> Api {
        Api::new(&self.url, tenant)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("reaped");
    }

    /// SIGTERM; the exit must be clean.
    pub fn stop(self) -> Duration {
        let sent = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status().expect("kill runs");
        assert!(sent.success(), "the process is gone already:\n{}", self.log_text());
        self.ended()
    }

    /// Waits for the end of a process that was told to stop; the exit must be clean.
    pub fn ended(self) -> Duration {
        let started = Instant::now();
        let (status, log) = self.gone();
        assert!(status.success(), "exit {status}:\n{log}");
        started.elapsed()
    }

    /// Waits for the end, however it is; gives what was printed, too.
    pub fn gone(mut self) -> (ExitStatus, String) {
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE {
            if let Some(status) = self.child.try_wait().expect("waitable") {
                return (status, self.log_text());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running {STOP_DEADLINE:?} after it was told to stop:\n{}", self.log_text());
    }

    /// A figure of `/proc/<pid>/status`, such as `VmHWM`, in KiB.
    pub fn proc_status_kib(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("procfs");
        let line = text.lines().find(|line| line.starts_with(key)).expect("a known key");
        line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
    }

    /// What the process has printed.
    pub fn log_text(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }
}

impl Drop for Hearth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects the lines of a stream.
pub(crate) fn follow(stream: impl std::io::Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.lock().expect("not poisoned").push(line);
        }
    });
}
