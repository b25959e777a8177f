#!/usr/bin/env python3
"""Shows the chart to a real API server: what it renders, and upgrades from one set of values, or of charts, to another.

A real server knows what schemas cannot say: rules between fields, defaults, warnings, and which fields of an object that
exists may change. It is built from source once, with kubectl, into a cache (about 7 minutes on two cores), so CI does not run
this; run it after changes of templates. Needs Go, helm, git, openssl, etcd (Debian: etcd-server) and the modules of check.py.

  apiserver.py                      builds what is missing, starts etcd and the server on 127.0.0.1, checks, stops them
  apiserver.py --from COMMIT        upgrades from the chart of that commit, and from no other
  HEARTH_APISERVER_CACHE=FOLDER     the cache, in place of ~/.cache/hearth-apiserver

No controller runs: no pod starts, and what needs one (the garbage collector, claims of disks) is not shown.
"""

import contextlib
import hashlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import yaml

import check
import crds

HERE, CHART, CACHE = crds.HERE, check.CHART, crds.CACHE
VERSION = "v1.34.1"
PROGRAMS = ["kube-apiserver", "kubectl"]
SERVER_FLAGS = [
    "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24",
    "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC",
    # No controller makes the accounts' tokens, nor counts endpoints.
    "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
]
# Pods that a restricted namespace would refuse are named in warnings.
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {
    "name": "ns", "labels": {"pod-security.kubernetes.io/warn": "restricted"}}}

# A fault of 1.34: it warns of each headless Service, also without a word on affinity.
SPURIOUS = "spec.SessionAffinity is ignored for headless services"
# Mistakes that the server has to complain of, else its silence means nothing: kind in ci/all-values.yaml, place, key, value, words.
PLANTED = [
    ("StatefulSet", ["spec", "template", "spec"], "affinty", {}, 'unknown field "spec.template.spec.affinty"'),
    ("StatefulSet", ["spec"], "replicas", "three", "replicas"),
    ("ServiceMonitor", ["spec", "endpoints", 0], "intervall", "30s", "intervall"),
    ("ScaledObject", ["spec"], "cooldownPeriod", "300", "cooldownPeriod"),
    ("CiliumNetworkPolicy", ["spec"], "podSelector", {}, "podSelector"),
    ("Deployment", ["spec", "template", "spec"], "securityContext", {}, "would violate PodSecurity"),
]

# Steps of an operator, each from the state of the one before: name, values beside those of the start, and what the server
# must say if it refuses. What it refuses, "Disks" in the chart's README answers.
DISKS = "Forbidden: updates to statefulset spec"
CLUSTER_STEPS = [
    ("more pods", ["ingester.replicas=6", "distributor.replicas=4", "querier.replicas=4", "compactor.replicas=2"], None),
    ("fewer pods", ["ingester.replicas=3"], None),
    ("resources", ["ingester.resources.limits.memory=8Gi", "querier.resources.requests.cpu=2"], None),
    ("settings", ["config.limits.ingestion_rate_mb=50", "tenantOverrides.a.ingestion_rate_mb=9", "log.level=debug"], None),
    ("settings in a Secret", ["configStorage=Secret"], None),
    ("stops", ["shutdown.flushSeconds=300", "ingester.minReadySeconds=60", "ingester.updateStrategy=OnDelete"], None),
    ("retention", ["retention.default=", "retention.keepForever=true"], None),
    ("autoscalers", ["distributor.autoscaling.enabled=true", "querier.autoscaling.enabled=true"], None),
    ("KEDA", ["querier.autoscaling.keda.enabled=true",
              'querier.autoscaling.keda.triggers=[{"type": "cpu", "metadata": {"value": "60"}}]'], None),
    ("credentials", ["gateway.auth.type=bearer", "gateway.auth.existingSecret=tokens"], None),
    ("certificates", ["clusterTls.enabled=true", "clusterTls.secretName=tls"], None),
    ("policies", ["networkPolicy.enabled=true"], None),
    ("monitoring", ["serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboards.enabled=true",
                    "grafanaDataSource.enabled=true"], None),
    ("IPv6", ["ipv6=true"], None),
    ("load balancer", ["gateway.service.type=LoadBalancer", "gateway.service.port=8080"], None),
    ("labels", ["commonLabels.team=a", "ingester.podLabels.a=b", "commonAnnotations.c=d"], None),
    ("image", ["image.tag=other", "image.repository=registry.example/hearth"], None),
    ("a disk for queriers", ["querier.diskCache.enabled=true"], None),
    ("an account", ["serviceAccount.create=false", "serviceAccount.name=given"], None),
    ("larger disks", ["ingester.persistence.size=32Gi"], DISKS),
    ("another class of disks", ["ingester.persistence.storageClass=fast"], DISKS),
    ("no disks", ["ingester.persistence.enabled=false", "ingester.allowEphemeralWal=true"], DISKS),
]
ZONE_STEPS = [
    ("more pods", ["ingester.replicas=9"], None),
    ("fewer pods", ["ingester.replicas=3"], None),
    ("another zone", ["zones={eu-1a,eu-1b,eu-1c,eu-1d}", "ingester.replicas=8"], None),
    ("another label of zones", ["ingester.zoneTopologyKey=zone"], None),
    ("rolls by Kubernetes", ["ingester.updateStrategy=RollingUpdate"], None),
]
SINGLE_STEPS = [
    ("resources", ["single.resources.limits.memory=8Gi"], None),
    ("settings", ["config.limits.ingestion_rate_mb=50"], None),
    ("larger disks", ["single.persistence.size=100Gi"], DISKS),
]
STEPS = [("default-values.yaml", CLUSTER_STEPS), ("zones-values.yaml", ZONE_STEPS), ("single-values.yaml", SINGLE_STEPS)]


def source_hash():
    files = sorted(path for path in (HERE / "apiserver").rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def build():
    """Builds the programs unless those in the cache are of the same sources."""
    stamp, wanted = CACHE / "bin/sources", source_hash()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"building {' and '.join(PROGRAMS)} {VERSION} into {CACHE}, once")
    version = "k8s.io/component-base/version"
    major, minor, _ = VERSION[1:].split(".")
    flags = f"-s -w -X {version}.gitVersion={VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    (CACHE / "bin").mkdir(parents=True, exist_ok=True)
    crds.run("nice", "go", "build", "-p", "1", "-trimpath", "-ldflags", flags, "-o", f"{CACHE}/bin/",
             *(f"./{name}" for name in PROGRAMS), cwd=HERE / "apiserver")
    stamp.write_text(wanted)


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@contextlib.contextmanager
def process(folder, name, *command):
    with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
        running = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


class Cluster:
    """etcd and an API server in a folder that goes with them."""

    def __init__(self, folder):
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.port, self.etcd_port, self.peer_port = free_port(), free_port(), free_port()

    def start(self, stack):
        keys = self.folder / "account.key"
        crds.run("openssl", "genrsa", "-out", keys, "2048")
        (self.folder / "tokens").write_text("check,check,check,system:masters\n")
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        stack.enter_context(process(
            self.folder, "etcd", os.environ.get("ETCD", "etcd"), "--data-dir", self.folder / "etcd",
            "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--unsafe-no-fsync"))
        server = stack.enter_context(process(
            self.folder, "server", CACHE / "bin/kube-apiserver", *SERVER_FLAGS, f"--etcd-servers={etcd}",
            f"--secure-port={self.port}", f"--cert-dir={self.folder}/certs", f"--token-auth-file={self.folder}/tokens",
            f"--service-account-key-file={keys}", f"--service-account-signing-key-file={keys}"))
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "check",
            "clusters": [{"name": "check", "cluster": {
                "server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "check", "user": {"token": "check"}}],
            "contexts": [{"name": "check", "context": {"cluster": "check", "user": "check"}}]}))
        patience_s, begun_s = 120, time.monotonic()
        while self.kubectl("get", "--raw", "/readyz")[0]:
            if server.poll() is not None or time.monotonic() - begun_s > patience_s:
                raise SystemExit(f"the API server is not ready: {(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.5)

    def run(self, *command, said=None):
        done = subprocess.run([str(part) for part in command], input=said, capture_output=True, text=True, check=False,
                              env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)})
        return done.returncode, done.stdout, done.stderr

    def kubectl(self, *arguments, said=None):
        return self.run(CACHE / "bin/kubectl", *arguments, said=said)

    def must(self, *arguments, said=None):
        code, out, err = self.kubectl(*arguments, said=said)
        if code:
            raise SystemExit(f"kubectl {' '.join(map(str, arguments))}: {(out + err).strip()}")
        return out


def define(cluster):
    """Namespace and definitions, waited for."""
    cluster.must("apply", "-f", "-", said=yaml.safe_dump(NAMESPACE))
    said = [crds.definition(kind) for kind in crds.KINDS]
    # The server's own way of applying: an annotation would be too small for some.
    cluster.must("apply", "--server-side", "-f", "-", said=yaml.safe_dump_all(said))
    names = [f"crd/{one['metadata']['name']}" for one in said]
    cluster.must("wait", "--for=condition=Established", "--timeout=60s", *names)
    for path in ("apis/keda.sh/v1alpha1", "apis/monitoring.coreos.com/v1", "openapi/v3"):
        cluster.must("get", "--raw", f"/{path}")


def complaints(text):
    told = [line for line in text.splitlines() if "Warning" in line or line.startswith("Error")]
    return "\n".join(line for line in told if SPURIOUS not in line)


def dry_run(cluster, helm, name, arguments):
    code, out, err = check.template(helm, *arguments)
    if not code:
        code, _, err = cluster.kubectl(
            "apply", "-n", "ns", "--dry-run=server", "--validate=strict", "-f", "-", said=out)
    check.check(f"{name}: kubectl apply --dry-run=server", code == 0 and not complaints(err), err.strip())
    print(f"{name}: {'refused' if code else 'taken'}")


def planted(cluster, helm):
    objects = [o for file in ("all", "cilium") for o in check.documents(
        check.template(helm, "-f", CHART / f"ci/{file}-values.yaml")[1])]
    for kind, path, key, value, words in PLANTED:
        document = next(one for one in objects if one["kind"] == kind)
        place = document
        for step in path:
            place = place[step]
        kept = place.get(key)
        place[key] = value
        _, _, err = cluster.kubectl(
            "apply", "-n", "ns", "--dry-run=server", "--validate=strict", "-f", "-", said=yaml.safe_dump(document))
        check.check(f"planted: {kind} {key}", words in err, f"must be complained of with '{words}', said: {err!r}")
        place.pop(key)
        if kept is not None:
            place[key] = kept
    print(f"{len(PLANTED)} planted mistakes complained of")


def release(cluster, helm, command, chart, *arguments):
    """helm install or upgrade; empty if it went through without a warning."""
    history = ["--history-max", "0"] if command == "upgrade" else []
    code, out, err = cluster.run(helm, command, "t", chart, "-n", "ns", *history, *arguments)
    return "" if code == 0 and not complaints(err) else (out + err).strip()


def remove(cluster, helm):
    cluster.run(helm, "uninstall", "t", "-n", "ns")
    # Without a garbage collector the revisions of StatefulSets would stay.
    cluster.must("delete", "controllerrevisions,pods,configmaps,secrets", "--all", "-n", "ns")


def sets(values):
    return [part for text in values for part in ("--set-json" if "=[" in text else "--set", text)]


def steps(cluster, helm, file, named):
    """One release through all steps that the server takes, back by helm rollback, and through those that it refuses."""
    values = ["-f", CHART / "ci" / file]
    said = release(cluster, helm, "install", CHART, *values)
    check.check(f"{file}: helm install", not said, said)
    for name, changed, words in named:
        if words is None:
            said = release(cluster, helm, "upgrade", CHART, *values, *sets(changed))
            check.check(f"{file}: helm upgrade, {name}", not said, said)
            print(f"{file}: helm upgrade, {name}: {'REFUSED' if said else 'taken'}")
    code, out, err = cluster.run(helm, "rollback", "t", "1", "-n", "ns")
    check.check(f"{file}: helm rollback", code == 0, (out + err).strip())
    for name, changed, words in named:
        if words is not None:
            said = release(cluster, helm, "upgrade", CHART, *values, *sets(changed))
            what = f"{file}: helm upgrade, {name}"
            check.check(what, words in said, f"must be refused with '{words}', said: {said!r}")
            orphan(cluster, helm, what, [*values, *sets(changed)])
            print(f"{what}: {'refused, as expected' if said else 'TAKEN'}")
    remove(cluster, helm)


def orphan(cluster, helm, what, arguments):
    """What the README says of disks: the StatefulSet goes, its pods stay, and a new one takes them over."""
    cluster.must("delete", "statefulset", "--all", "-n", "ns", "--cascade=orphan", "--wait=false")
    # The garbage collector would do this.
    for name in cluster.must("get", "statefulset", "-n", "ns", "-o", "name").split():
        cluster.must("patch", name, "-n", "ns", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    said = release(cluster, helm, "upgrade", CHART, *arguments)
    check.check(f"{what}, after --cascade=orphan", not said, said)


def older_charts(asked):
    """Commits whose chart is upgraded from: the first that has one, and the last five that changed it."""
    if asked:
        return asked
    said = crds.run("git", "log", "--format=%h", "--", "hearth/templates", cwd=HERE).split()
    check.check("older charts", said, "git knows none: a shallow clone?")
    return list(dict.fromkeys([*said[:5], *said[-1:]]))


def upgrade_from(cluster, helm, commit, folder):
    root = crds.run("git", "rev-parse", "--show-toplevel", cwd=HERE).strip()
    packed = subprocess.run(["git", "archive", commit, "deploy/helm/hearth"], cwd=root, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
    old = pathlib.Path(folder) / "deploy/helm/hearth"
    for file in sorted((old / "ci").glob("*-values.yaml")):
        new = CHART / "ci" / file.name
        if not new.exists():
            continue
        what = f"{file.name}: from the chart of {commit}"
        code, out, err = cluster.run(helm, "install", "t", old, "-n", "ns", "-f", file)
        if code:
            # An old fault, mended since: its users could not install it either.
            print(f"{what}: that chart could not be installed: {complaints(err) or err.strip()}")
        else:
            # A password that the old chart said in values may be refused since: the new file is what the operator writes.
            said = release(cluster, helm, "upgrade", CHART, "-f", new)
            check.check(f"{what}: helm upgrade", not said, said)
            print(f"{what}: {'REFUSED' if said else 'taken'}")
        remove(cluster, helm)


def main():
    helm = check.program("HELM", "helm")
    if not helm:
        raise SystemExit("helm is not there")
    build()
    asked = [sys.argv[at + 1] for at, word in enumerate(sys.argv) if word == "--from"]
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = Cluster(folder)
        cluster.start(stack)
        define(cluster)
        for name, arguments in check.renders():
            dry_run(cluster, helm, name, arguments)
        planted(cluster, helm)
        for file, named in STEPS:
            steps(cluster, helm, file, named)
        for commit in older_charts(asked):
            with tempfile.TemporaryDirectory() as old:
                upgrade_from(cluster, helm, commit, old)
    for line in check.failures:
        print(f"FAILED: {' | '.join(line.split(chr(10)))}", file=sys.stderr)
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
