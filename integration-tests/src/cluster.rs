//! A cluster of real processes on loopback ports, over one folder as object store: started, killed, paused, restarted.
//!
//! Knows the roles only from outside: their command lines and their wire.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::Api;
use crate::process::{OPEN_LIMITS, follow, free_port};

/// How long a process may take until it is ready, and until it has stopped.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The settings of all processes, in the cluster's folder.
const CONFIG: &str = "limits.yaml";

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes pushes.
    Distributor,
    /// Keeps cells.
    Ingester,
    /// Answers.
    Querier,
    /// Collects.
    Compactor,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Distributor => "distributor",
            Self::Ingester => "ingester",
            Self::Querier => "querier",
            Self::Compactor => "compactor",
        }
    }
}

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Copies of each profile.
    pub factor: u32,
    /// Ingesters, spread over three zones.
    pub ingesters: usize,
    /// Distributors.
    pub distributors: usize,
    /// Queriers.
    pub queriers: usize,
    /// Compactors.
    pub compactors: usize,
    /// YAML for all of them.
    pub config: String,
}

impl Default for Plan {
    /// Three zones with an ingester each, two distributors, two queriers, a compactor.
    fn default() -> Self {
        Self {
            factor: 3,
            ingesters: 3,
            distributors: 2,
            queriers: 2,
            compactors: 1,
            config: OPEN_LIMITS.to_owned(),
        }
    }
}

/// One process, running or not. Its ports stay over restarts.
#[derive(Debug)]
struct Node {
    role: Role,
    zone: String,
    listen: u16,
    cluster: u16,
    gossip: u16,
    data_dir: PathBuf,
    /// Its address, and what its command line begins with when it runs elsewhere than the test.
    ip: String,
    prefix: Vec<String>,
    /// Flags of its own.
    args: Vec<String>,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

/// A bucket in place of the folder.
#[derive(Debug, Clone)]
struct Bucket {
    url: String,
    environment: Vec<(&'static str, String)>,
}

/// The processes; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    bucket: Option<Bucket>,
    dir: tempfile::TempDir,
    nodes: BTreeMap<String, Node>,
}

/// The folder with the binaries under test: `HEARTH_BIN_DIR`, else what cargo makes of the sources beside this test.
pub fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| std::env::var_os("HEARTH_BIN_DIR").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let dir = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--bins"]);
    for role in [Role::Distributor, Role::Ingester, Role::Querier, Role::Compactor] {
        build.args(["--package", &format!("hearth-{}", role.name())]);
    }
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if dir.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the roles do not build");
    dir.to_owned()
}

impl Cluster {
    /// Starts everything and waits until all of it is ready.
    pub fn start(plan: Plan) -> Self {
        let mut cluster = Self::prepare(plan);
        cluster.launch_all();
        cluster
    }

    /// Adds everything without starting it.
    pub fn prepare(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // Once: a process that starts must not find it half written.
        std::fs::write(dir.path().join(CONFIG), &plan.config).expect("written");
        let mut cluster = Self { plan: plan.clone(), bucket: None, dir, nodes: BTreeMap::new() };
        let counts = [
            (Role::Ingester, plan.ingesters),
            (Role::Distributor, plan.distributors),
            (Role::Querier, plan.queriers),
            (Role::Compactor, plan.compactors),
        ];
        for (role, count) in counts {
            for at in 0..count {
                cluster.add(role, at);
            }
        }
        cluster
    }

    /// Starts everything and waits until all of it is ready.
    pub fn launch_all(&mut self) {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.launch(name));
        names.iter().for_each(|name| _ = self.wait_ready(name));
    }

    /// The object store of processes that are started from now on, and what they need in their environment for it.
    pub fn set_bucket(&mut self, url: &str, environment: Vec<(&'static str, String)>) {
        self.bucket = Some(Bucket { url: url.to_owned(), environment });
    }

    /// Flags that a process gets from its next start on.
    pub fn set_args(&mut self, name: &str, args: &[&str]) {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.nodes.get_mut(name).expect("a known process").args = args;
    }

    /// Where a process runs from its next start on: an address, and a command that runs commands there.
    pub fn place(&mut self, name: &str, ip: &str, prefix: &[String]) {
        let node = self.nodes.get_mut(name).expect("a known process");
        (node.ip, node.prefix) = (ip.to_owned(), prefix.to_vec());
    }

    /// Adds a process without starting it; gives its name.
    pub fn add(&mut self, role: Role, at: usize) -> String {
        let name = format!("{}-{at}", role.name());
        let zone = format!("zone-{}", at % 3);
        let data_dir = self.dir.path().join(&name);
        std::fs::create_dir_all(&data_dir).expect("a folder");
        let node = Node {
            role,
            zone,
            listen: free_port(),
            cluster: free_port(),
            gossip: free_port(),
            data_dir,
            ip: "127.0.0.1".to_owned(),
            prefix: Vec::new(),
            args: Vec::new(),
            child: None,
            log: Arc::default(),
        };
        self.nodes.insert(name.clone(), node);
        name
    }

    /// Starts a process without waiting.
    pub fn launch(&mut self, name: &str) {
        let seeds: Vec<String> = self
            .nodes
            .values()
            .filter(|node| node.role == Role::Ingester)
            .map(|node| format!("{}:{}", node.ip, node.gossip))
            .collect();
        let config = self.dir.path().join(CONFIG);
        let (store, environment) = match &self.bucket {
            Some(bucket) => (bucket.url.clone(), bucket.environment.clone()),
            None => (format!("file://{}", self.store().display()), Vec::new()),
        };
        let factor = self.plan.factor.to_string();
        let node = self.nodes.get_mut(name).expect("a known process");
        assert!(node.child.is_none(), "{name} runs already");
        let binary = binaries().join(format!("hearth-{}", node.role.name()));
        let mut command = match node.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&binary);
                command
            }
            None => Command::new(&binary),
        };
        command.args(["--listen", &format!("{}:{}", node.ip, node.listen)]);
        command.args(["--cluster.listen", &format!("{}:{}", node.ip, node.cluster)]);
        command.args(["--gossip.listen", &format!("{}:{}", node.ip, node.gossip)]);
        command.args(["--gossip.seeds", &seeds.join(",")]);
        command.args(["--zone", &node.zone, "--instance-id", name]);
        command.args(["--replication-factor", &factor, "--multitenancy"]);
        command.args(["--object-store", &store]);
        command.arg("--config").arg(&config).arg("--data-dir").arg(&node.data_dir);
        command.args(&node.args).envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        follow(child.stdout.take().expect("piped"), Arc::clone(&node.log));
        follow(child.stderr.take().expect("piped"), Arc::clone(&node.log));
        node.child = Some(child);
    }

    /// Waits for `/ready` of a process; says how long it took.
    pub fn wait_ready(&mut self, name: &str) -> Duration {
        let started = Instant::now();
        let api = self.api(name, "");
        while started.elapsed() < PATIENCE {
            if api.get("/ready").is_ok_and(|answer| answer.status == 200) {
                return started.elapsed();
            }
            let node = self.nodes.get_mut(name).expect("a known process");
            if let Some(status) = node.child.as_mut().and_then(|child| child.try_wait().expect("waitable")) {
                panic!("{name} ended with {status}:\n{}", self.log(name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let why = api.get("/ready").map(|answer| answer.text());
        panic!("{name} is not ready within {PATIENCE:?}: {why:?}\n{}", self.log(name));
    }

    /// Names of the processes of a role, sorted.
    pub fn names(&self, role: Role) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| node.role == role).map(|(name, _)| name.clone()).collect()
    }

    /// Names of the processes of a zone, sorted.
    pub fn in_zone(&self, zone: &str) -> Vec<String> {
        self.nodes.iter().filter(|(_, node)| node.zone == zone).map(|(name, _)| name.clone()).collect()
    }

    /// A client of a process for one tenant (empty: no header).
    pub fn api(&self, name: &str, tenant: &str) -> Api {
        let node = &self.nodes[name];
        Api::new(&format!("http://{}:{}", node.ip, node.listen), tenant)
    }

    /// Clients of all processes of a role.
    pub fn apis(&self, role: Role, tenant: &str) -> Vec<Api> {
        self.names(role).iter().map(|name| self.api(name, tenant)).collect()
    }

    /// One address for clients that know only one; see [`crate::front`].
    pub fn front(&self, distributor: &str, querier: &str) -> String {
        crate::front::start(self.nodes[distributor].listen, self.nodes[querier].listen)
    }

    /// The folder that is the object store.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The data folder of a process.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.nodes[name].data_dir.clone()
    }

    /// The address, and the ports for clients, for other processes and for gossip.
    pub fn ports(&self, name: &str) -> (String, [u16; 3]) {
        let node = &self.nodes[name];
        (node.ip.clone(), [node.listen, node.cluster, node.gossip])
    }

    /// A figure of `/metrics`, by its name with labels as it stands there; 0 if it is not there.
    pub fn metric(&self, name: &str, metric: &str) -> f64 {
        let text = self.api(name, "").get("/metrics").expect("metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// What `/ring` says, as JSON.
    pub fn ring(&self, name: &str) -> Value {
        let url = format!("http://{}:{}/ring", self.nodes[name].ip, self.nodes[name].listen);
        let mut answer =
            ureq::get(&url).header("accept", "application/json").call().expect("the ring is answered");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
    }

    /// Waits until what `/ring` of a distributor says is as it should be.
    pub fn wait_ring(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let ring = self.ring("distributor-0");
            if holds(&ring) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{ring:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The process id, if it runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.nodes[name].child.as_ref().map(Child::id)
    }

    fn signal(&self, name: &str, signal: &str) {
        let pid = self.pid(name).expect("it runs");
        let sent = Command::new("kill").arg(signal).arg(pid.to_string()).status().expect("kill runs");
        assert!(sent.success(), "{name} is gone:\n{}", self.log(name));
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.nodes.get_mut(name).expect("known").child.take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("reaped");
    }

    /// SIGSTOP.
    pub fn pause(&self, name: &str) {
        self.signal(name, "-STOP");
    }

    /// SIGCONT.
    pub fn resume(&self, name: &str) {
        self.signal(name, "-CONT");
    }

    /// SIGTERM; the exit must be clean.
    pub fn stop(&mut self, name: &str) -> Duration {
        self.signal(name, "-TERM");
        self.wait_end(name)
    }

    /// `POST /shutdown`; the exit must be clean.
    pub fn shut_down(&mut self, name: &str) -> Duration {
        let answer = self.api(name, "").post("/shutdown", "text/plain", b"").expect("an answer");
        assert_eq!(answer.status, 202, "{}", answer.text());
        self.wait_end(name)
    }

    fn wait_end(&mut self, name: &str) -> Duration {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let node = self.nodes.get_mut(name).expect("known");
            let child = node.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("waitable") {
                node.child = None;
                assert!(status.success(), "{name}: exit {status}:\n{}", self.log(name));
                return started.elapsed();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} still runs {PATIENCE:?} after it was asked to stop:\n{}", self.log(name));
    }

    /// Starts a process that was killed or stopped, and waits until it is ready.
    pub fn restart(&mut self, name: &str) -> Duration {
        self.launch(name);
        self.wait_ready(name)
    }

    /// What a process has printed.
    pub fn log(&self, name: &str) -> String {
        self.nodes[name].log.lock().expect("not poisoned").join("\n")
    }

    /// Publishes everything that every ingester leads; twice, since a cell may go to one that was asked before.
    pub fn flush(&self) {
        self.flush_once();
        self.flush_once();
    }

    fn flush_once(&self) {
        for name in self.names(Role::Ingester).iter().filter(|name| self.pid(name).is_some()) {
            self.api(name, "").flush();
        }
    }

    /// Prints the end of every log: for a test that failed.
    #[allow(clippy::print_stderr, reason = "for whoever reads why a test failed")]
    pub fn show_logs(&self, lines: usize) {
        for (name, node) in &self.nodes {
            let log = node.log.lock().expect("not poisoned");
            let end = &log[log.len().saturating_sub(lines)..];
            eprintln!("--- {name}\n{}", end.join("\n"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs(15);
        }
        for node in self.nodes.values_mut() {
            if let Some(child) = &mut node.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
