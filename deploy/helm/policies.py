"""What network policies must allow, and what they must not: rules in renders, told by the policy that has them.

Schemas say that a rule is well formed; a rule that is missing they do not miss. Knows no Helm: check.py renders.
"""

import yaml

WITH_SECRET = ["objectStore.existingSecret=bucket"]
IMDS = "{to: [{ipBlock: {cidr: 169.254.169.254/32}}], ports: [{protocol: TCP, port: 80}]}"
POD_IDENTITY = "{to: [{ipBlock: {cidr: 169.254.170.23/32}}], ports: [{protocol: TCP, port: 80}]}"
GKE = "{to: [{ipBlock: {cidr: 169.254.169.252/32}}], ports: [{protocol: TCP, port: 988}]}"
NODE_80 = '{toEntities: [host], toPorts: [{ports: [{protocol: TCP, port: "80"}]}]}'
OPENSHIFT_DNS = """{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openshift-dns}}}],
    ports: [{protocol: UDP, port: 5353}, {protocol: TCP, port: 5353}]}"""
TEST_POD = "{app.kubernetes.io/name: hearth-test, app.kubernetes.io/instance: t}"
TRACES = "{ports: [{protocol: TCP, port: 4318}]}"
SYMBOLS = "{ports: [{protocol: TCP, port: 8002}]}"
EXTRA = "{ports: [{port: 8443}]}"
CANARY_URL = "{ports: [{protocol: TCP, port: 443}]}"

# A file of ci, what is set beside it, the policy without its release's name, the direction, a rule, and whether it is there.
# An ingress rule is looked for among the peers of all rules.
RULES = [
    ("openshift", [], "dns", "egress", OPENSHIFT_DNS, True),
    ("openshift", [], "dns", "egress", "{ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]}", True),
    ("openshift", [], "ingester", "egress", IMDS, True),
    ("openshift", [], "ingester", "egress", POD_IDENTITY, True),
    ("openshift", [], "gateway", "egress", IMDS, False),
    ("openshift", [], "canary", "egress", IMDS, False),
    ("openshift", [], "querier", "egress", TRACES, True),
    ("openshift", [], "compactor", "egress", TRACES, True),
    ("openshift", [], "gateway", "egress", TRACES, False),
    ("openshift", [], "querier", "egress", SYMBOLS, True),
    ("openshift", [], "ingester", "egress", SYMBOLS, False),
    ("openshift", [], "canary", "egress", CANARY_URL, True),
    ("openshift", [], "gateway", "egress", EXTRA, True),
    ("openshift", [], "canary", "egress", EXTRA, True),
    ("openshift", [], "distributor", "egress", EXTRA, True),
    ("openshift", [], "gateway", "ingress", f"{{podSelector: {{matchLabels: {TEST_POD}}}}}", True),
    ("openshift", ["helmTest.enabled=false"], "gateway", "ingress", f"{{podSelector: {{matchLabels: {TEST_POD}}}}}", False),
    ("openshift", ["canary.url=http://[::1]:8080/x"], "canary", "egress", "{ports: [{protocol: TCP, port: 8080}]}", True),
    ("openshift", ["canary.url="], "canary", "egress", CANARY_URL, False),
    ("openshift", ["ipv6=true"], "ingester", "egress",
     '{to: [{ipBlock: {cidr: "fd00:ec2::23/128"}}], ports: [{protocol: TCP, port: 80}]}', True),
    ("openshift", WITH_SECRET, "ingester", "egress", IMDS, False),
    ("openshift", ["objectStore.type=gcs"], "ingester", "egress", GKE, True),
    ("openshift", ["objectStore.type=gcs"], "ingester", "egress", POD_IDENTITY, False),
    ("openshift", ["objectStore.type=azure"], "ingester", "egress", IMDS, True),
    ("single-auth", [], "single", "egress", IMDS, False),
    ("dev", [], "ingester", "egress", IMDS, False),
    ("dev", [], "object-store", "egress", EXTRA, False),
    ("cilium", WITH_SECRET, "querier", "egress", NODE_80, False),
    ("cilium", [], "querier", "egress", NODE_80, True),
    ("cilium", [], "querier", "egress",
     '{toCIDRSet: [{cidr: 169.254.169.254/32}], toPorts: [{ports: [{protocol: TCP, port: "80"}]}]}', True),
    ("cilium", [], "gateway", "egress", NODE_80, False),
]


def renders():
    """Values file and what is set beside it, each pair once."""
    return list(dict.fromkeys((file, tuple(sets)) for file, sets, *_ in RULES))


def mistakes(file, sets, objects):
    """Rules that are missing, or too many."""
    specs = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] in ("NetworkPolicy", "CiliumNetworkPolicy")}
    found = []
    for wanted_file, wanted_sets, name, direction, rule, there in RULES:
        if (wanted_file, tuple(wanted_sets)) != (file, sets):
            continue
        spec = next((spec for policy, spec in specs.items() if policy.endswith(f"hearth-{name}")), None)
        if spec is None:
            found.append(f"there is no policy {name}")
            continue
        rules = spec.get(direction) or []
        if direction == "ingress":
            rules = [peer for one in rules for peer in one.get("from", [])]
        if (yaml.safe_load(rule) in rules) != there:
            found.append(f"{direction} of {name} must {'' if there else 'not '}have {' '.join(rule.split())}")
    return found
