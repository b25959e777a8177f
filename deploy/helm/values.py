#!/usr/bin/env python3
"""Writes what follows from values.yaml: the strict values.schema.json and the table of values in README.md.

The structure and the types come from the defaults, the texts from the comments above keys; RULES adds what a default
cannot say. Settings and limits of Hearth are those of deploy/config.schema.json. `values.py` writes both files, `values.py --check` says whether they are as they would be written.
"""

import fnmatch
import json
import pathlib
import sys

import yaml

CHART = pathlib.Path(__file__).resolve().parent / "hearth"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"

NAME = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
SIZE = "^[0-9]+(k|m|g)?$"
QUANTITY = "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
FREE = {"type": "object"}
MAPS = {"type": "array", "items": {"type": "object"}}
NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
FLAGS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
TENANT = "^[A-Za-z0-9!_.*'()-]{1,150}$"
# A name or an address, and perhaps a port.
SERVER = "([A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+\\])(:[0-9]+)?"
ROLES = ["gateway", "distributor", "ingester", "querier", "compactor", "single"]



def bare(node):
    """A schema without what no validator needs."""
    if isinstance(node, list):
        return [bare(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    kept = {key: inner for key, inner in node.items() if key not in ("$schema", "title", "description", "default")}
    # Keys of these are names, also one that reads like a keyword.
    named = ("properties", "patternProperties")
    return {key: {name: bare(said) for name, said in inner.items()} if key in named else bare(inner)
            for key, inner in kept.items()}


# Settings of Hearth, as `cargo xtask config-docs` writes them; limits of a tenant are those below `limits`.
SETTINGS = bare(json.loads((CHART.parent.parent / "config.schema.json").read_text()))

# The first pattern that fits a path wins.
RULES = [
    ("mode", {"enum": ["microservices", "single"]}),
    ("fullnameOverride", {"type": "string", "maxLength": 36}),
    ("clusterId", {"type": "string", "pattern": "^[A-Za-z0-9_.-]{0,100}$"}),
    ("replicationFactor", {"type": "integer", "minimum": 1, "maximum": 3}),
    ("zones", {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": NAME}}),
    ("retention.default", {"type": "string", "pattern": "^(([0-9]+(\\.[0-9]+)?(ms|s|m|h|d|w|y))+)?$"}),
    ("objectStore.type", {"enum": ["", "s3", "gcs", "azure", "file"]}),
    ("configStorage", {"enum": ["ConfigMap", "Secret"]}),
    ("tenantOverrides", {"type": "object", "propertyNames": {"pattern": TENANT},
                         "additionalProperties": SETTINGS["properties"]["limits"]}),
    ("log.format", SETTINGS["properties"]["log"]["properties"]["format"]),
    ("*pullPolicy", {"enum": ["Always", "IfNotPresent", "Never"]}),
    ("*.digest", {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}),
    ("config", SETTINGS),
    ("podSecurityContext", FREE), ("securityContext", FREE), ("*probes.startup", FREE), ("*probes.liveness", FREE),
    ("*probes.readiness", FREE), ("clusterTls.certManager.issuerRef", FREE),
    ("*.probes", {"type": "object", "additionalProperties": False,
                  "properties": {"startup": FREE, "liveness": FREE, "readiness": FREE}}),
    ("*.resources", {"type": "object", "additionalProperties": False,
                     "properties": {"requests": FREE, "limits": FREE, "claims": MAPS}}),
    ("*.podDisruptionBudget", {"type": "object", "additionalProperties": False, "properties": {
        "enabled": {"type": "boolean"}, "maxUnavailable": {"type": ["integer", "string"]},
        "minAvailable": {"type": ["integer", "string"]}, "unhealthyPodEvictionPolicy": {"type": "string"}}}),
    ("*extraArgs", FLAGS), ("*.behavior", FREE), ("*affinity", FREE),
    ("*.nodeSelector", TEXTS), ("*abels", TEXTS), ("*nnotations", TEXTS),
    ("gateway.auth.type", {"enum": ["none", "basic", "bearer", "forward"]}),
    ("gateway.auth.forward.url", {"type": "string",
                                  "pattern": "^(https?://([A-Za-z0-9.-]+|\\[[0-9a-fA-F:]+\\])(:[0-9]+)?(/[A-Za-z0-9/._~%-]*)?([?][A-Za-z0-9._~%=&-]*)?)?$"}),
    ("gateway.auth.forward.tenantHeader", {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9-]*$"}),
    ("gateway.auth.forward.caFile", {"type": "string", "pattern": "^/[A-Za-z0-9/._-]+$"}),
    ("gateway.auth.users", {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9._@-]{1,100}$"},
                            "additionalProperties": {"type": "string", "pattern": TENANT}}),
    ("gateway.resolver", {"type": "string", "pattern": f"^({SERVER}( {SERVER})*)?$"}),
    ("gateway.upstreams.*", NAMES),
    ("gateway.workerProcesses", {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
    ("gateway.maxBodySize", {"type": "string", "pattern": SIZE}),
    ("gateway.maxUploadSize", {"type": "string", "pattern": SIZE}),
    ("gateway.service.type", {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}),
    ("*Port", {"type": "integer", "minimum": 1, "maximum": 65535}),
    ("*.port", {"type": "integer", "minimum": 1, "maximum": 65535}),
    ("*.replicas", {"type": "integer", "minimum": 1}), ("*.m??Replicas", {"type": "integer", "minimum": 1}),
    ("*.targetCPU", {"type": ["integer", "null"], "minimum": 1}), ("*.targetMemory", {"type": ["integer", "null"], "minimum": 1}),
    ("*Seconds", {"type": "integer", "minimum": 0}),
    ("*.size", {"type": "string", "pattern": QUANTITY}),
    ("canary.url", {"type": "string", "pattern": "^(https?://[^/ ]+(/.*)?)?$"}),
    ("canary.tenant", {"type": "string", "pattern": TENANT}),
    ("canary.interval", {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}),
    ("canary.oldest", {"type": "string", "pattern": "^[0-9]+(s|m|h|d)$"}),
    ("ingester.updateStrategy", {"enum": ["", "RollingUpdate", "OnDelete"]}),
    ("ingester.rolloutMaxUnavailable", {"type": "integer", "minimum": 1}),
    ("compactor.memoryBudget", {"type": "string", "pattern": "^([0-9]+(KiB|MiB|GiB))?$"}),
    ("helmTest.tenants", {"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": True,
                          "items": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,100}$"}}),
    ("image.pullSecrets", NAMES), ("*.hosts", NAMES), ("*.hostnames", NAMES), ("*.accessModes", NAMES),
    ("grafanaDataSource.tenants", {"type": "array", "items": {"type": "string", "pattern": TENANT}}),
    ("networkPolicy.flavor", {"enum": ["kubernetes", "cilium"]}),
    ("networkPolicy.cilium.dnsEndpoints", MAPS),
    ("networkPolicy.objectStorePorts", {"type": "array", "items": {"type": "integer"}}),
    ("extraObjects", {"type": "array", "items": {"type": ["object", "string"]}}),
]


def rule(path):
    return next((schema for pattern, schema in RULES if fnmatch.fnmatchcase(path, pattern)), None)


def schema_of(value, path):
    said = rule(path)
    if said is not None:
        return said
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer"}
    if isinstance(value, str):
        return {"type": "string"}
    if isinstance(value, list):
        return MAPS
    if value is None:
        return {"type": ["integer", "null"]}
    assert value, f"{path}: {{}} may have any keys; say in RULES which"
    properties = {key: schema_of(item, f"{path}.{key}" if path else key) for key, item in value.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def schema(values):
    out = schema_of(values, "")
    # Helm adds it for a chart that is a dependency.
    out["properties"]["global"] = FREE
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **out}, indent=1) + "\n"


def rows(text):
    """Leaves with their default and the comment above them; keys that all roles have stand once, for `<role>`."""
    lines = text.splitlines()
    out = []

    def walk(node, prefix):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else key.value
            at, above = key.start_mark.line, []
            while at > 0 and lines[at - 1].strip().startswith("#"):
                at -= 1
                above.insert(0, lines[at].strip().lstrip("# "))
            inner = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
            if inner and rule(path) is None:
                if above:
                    out.append((path, None, " ".join(above)))
                walk(value, path)
                continue
            text = json.dumps(yaml.safe_load(yaml.serialize(value)))
            out.append((path, text, " ".join(above)))

    walk(yaml.compose(text), "")
    known = {}
    for path, default, words in out:
        role, _, rest = path.partition(".")
        if role in ROLES and words and rest:
            known.setdefault(rest, words)
    said = [(p, d, w or known.get(p.partition(".")[2], "")) for p, d, w in out]
    bare = [path for path, default, words in said if not words and default is not None]
    assert not bare, f"write a comment above, in values.yaml: {', '.join(bare)}"
    return [(path, default, words) for path, default, words in said if words]


def table(text):
    out = ["| Key | Default | Meaning |", "|---|---|---|"]
    for path, default, words in rows(text):
        shown = "" if default is None else f"`{default}`"
        escaped = words.replace("|", "\\|")
        shown = shown.replace("|", "\\|")
        out.append(f"| `{path}` | {shown} | {escaped} |")
    return "\n".join(out)


def main():
    text = (CHART / "values.yaml").read_text()
    readme = CHART / "README.md"
    head, _, rest = readme.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    wanted = {
        CHART / "values.schema.json": schema(yaml.safe_load(text)),
        readme: f"{head}{BEGIN}\n{table(text)}\n{END}{tail}",
    }
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path} does not follow from values.yaml: run deploy/helm/values.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
