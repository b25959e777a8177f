#!/usr/bin/env python3
"""Fetches the definitions of custom resources that the chart renders, and makes strict schemas of them.

The definitions are those that the projects release, from their Go modules; those of monitoring.coreos.com are made from the
types by controller-gen, as that project's operator does. `crds.py --write` writes schemas/*.json, by which check.py
judges what the chart renders: it needs Go and a network, check.py neither. apiserver.py gives the same definitions to a real
API server.
"""

import json
import os
import pathlib
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
SCHEMAS = HERE / "schemas"
CACHE = pathlib.Path(os.environ.get("HEARTH_APISERVER_CACHE") or pathlib.Path.home() / ".cache/hearth-apiserver")
MONITORING = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"

# Kind, version that the chart renders, Go module, and the file in it.
KINDS = [
    ("Certificate", "v1", "github.com/cert-manager/cert-manager@v1.18.2", "deploy/crds/crd-certificates.yaml"),
    ("ScaledObject", "v1alpha1", "github.com/kedacore/keda/v2@v2.17.2", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    ("HTTPRoute", "v1", "sigs.k8s.io/gateway-api@v1.3.0",
     "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    ("CiliumNetworkPolicy", "v2", "github.com/cilium/cilium@v1.18.2",
     "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml"),
    ("ServiceMonitor", "v1", f"{MONITORING}@v0.86.0", "monitoring.coreos.com_servicemonitors.yaml"),
    ("PrometheusRule", "v1", f"{MONITORING}@v0.86.0", "monitoring.coreos.com_prometheusrules.yaml"),
]

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# A definition says nothing of metadata: the API server knows it. What the chart sets of it.
METADATA = {"type": "object", "additionalProperties": False, "required": ["name", "namespace"], "properties": {
    "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength": 253},
    "namespace": {"type": "string"}, "labels": TEXTS, "annotations": TEXTS}}
KEPT = ["type", "format", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
        "minProperties", "maxProperties", "pattern", "required", "additionalProperties"]
COMBINED = ["anyOf", "oneOf", "allOf"]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def module_folder(module):
    """The unpacked module; the go command checks its sum."""
    said = run("go", "mod", "download", "-json", module, cwd=HERE / "apiserver", env={**os.environ, "GOWORK": "off"})
    return pathlib.Path(json.loads(said)["Dir"])


def generated(module):
    """Definitions of monitoring.coreos.com, made once a version."""
    folder = CACHE / f"crds-{module.rpartition('@')[2]}"
    if not folder.is_dir():
        run("go", "tool", "controller-gen", "crd", f"paths={MONITORING}/v1", f"output:crd:dir={folder}",
            cwd=HERE / "apiserver")
    return folder


def definition(kind):
    """The CustomResourceDefinition of a row of KINDS."""
    _, _, module, file = kind
    folder = generated(module) if module.startswith(MONITORING) else module_folder(module)
    lines = (folder / file).read_text().splitlines()
    # cert-manager's files are templates of its chart; what is in braces is labels, and of no matter here.
    return yaml.safe_load("\n".join(line for line in lines if "{{" not in line))


def strict(node):
    """A schema of OpenAPI as a JSON schema that knows no other fields. Rules in CEL are left to an API server."""
    out = {key: node[key] for key in KEPT if key in node}
    for key in COMBINED:
        if key in node:
            # Branches only say more about the same fields: they stay open.
            out[key] = [branch(part) for part in node[key]]
    if node.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in node:
        out["properties"] = {name: strict(inner) for name, inner in node["properties"].items()}
        if "additionalProperties" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = strict(node["additionalProperties"])
    if "items" in node:
        out["items"] = strict(node["items"])
    if node.get("nullable") and "type" in out:
        out["type"] = [out["type"], "null"]
    return out


def branch(node):
    out = {key: node[key] for key in KEPT if key in node}
    for key in COMBINED:
        if key in node:
            out[key] = [branch(part) for part in node[key]]
    if "not" in node:
        out["not"] = branch(node["not"])
    if "properties" in node:
        out["properties"] = {name: branch(inner) for name, inner in node["properties"].items()}
    return out


def schema(kind):
    name, version, module, _ = kind
    said = definition(kind)["spec"]
    found = next(entry for entry in said["versions"] if entry["name"] == version and entry["served"])
    out = strict(found["schema"]["openAPIV3Schema"])
    out["properties"].update({
        "apiVersion": {"const": f"{said['group']}/{version}"}, "kind": {"const": name}, "metadata": METADATA})
    out["required"] = sorted({*out.get("required", []), "apiVersion", "kind", "metadata"})
    note = f"{name} of {said['group']}/{version} as in {module}, made by deploy/helm/crds.py --write"
    return f"{name}-{said['group']}-{version}.json", {"$comment": note, **out}


def main():
    if "--write" not in sys.argv:
        raise SystemExit("crds.py --write writes schemas/*.json")
    SCHEMAS.mkdir(exist_ok=True)
    for kind in KINDS:
        name, content = schema(kind)
        (SCHEMAS / name).write_text(json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n")
        print(f"{name}: {(SCHEMAS / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
