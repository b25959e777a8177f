"""Renders that are kept in golden/, so that a change of the chart shows what it changes in a review.

Normalised, so that they differ by what the chart says alone: objects in the order of their names, keys in order, versions and
sums of texts left out, and files that the chart hands on as they are named, not repeated. Knows no Helm: check.py renders.
"""

import difflib
import pathlib

import yaml

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "golden"
FILES = HERE / "hearth/files"
# Names of renders, as check.renders() has them: the defaults of a cluster, everything on, and one process.
KEPT = ["values-small.yaml", "all-values.yaml", "single-auth-values.yaml"]
HEAD = "# What the chart renders from {}, normalised by deploy/helm/golden.py. deploy/helm/check.py --update writes it.\n"
# Lines of a difference that are shown.
SHOWN = 60


class Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and no anchors."""

    def ignore_aliases(self, data):
        return True


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def normalised(objects, version):
    """The text that is kept. `version` is the chart's appVersion."""
    files = {path.read_text().strip(): path.relative_to(FILES) for path in sorted(FILES.rglob("*")) if path.is_file()}

    def plain(node, key=""):
        if isinstance(node, dict):
            return {name: plain(inner, name) for name, inner in node.items() if name != "helm.sh/chart"}
        if isinstance(node, list):
            return [plain(inner) for inner in node]
        if key.startswith("checksum/"):
            return "SUM"
        if key == "app.kubernetes.io/version":
            return "VERSION"
        if isinstance(node, str):
            said = files.get(node.strip())
            return f"files/{said}" if said else node.removesuffix(f":{version}")
        return node

    kept = []
    for document in sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"])):
        document = plain(document)
        if document["kind"] == "PrometheusRule":
            rules = [rule for group in document["spec"]["groups"] for rule in group["rules"]]
            document["spec"] = {"rules": len(rules), "first": rules[0]}
        kept.append(document)
    return yaml.dump_all(kept, Dumper=Dumper, sort_keys=True, width=130, default_flow_style=None, allow_unicode=True)


def difference(name, objects, version, update):
    """What differs from the kept render, in the first lines; empty if nothing does, or if it was written."""
    path, wanted = FOLDER / name, HEAD.format(name) + normalised(objects, version)
    if update:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(wanted)
        return ""
    kept = path.read_text() if path.exists() else ""
    lines = difflib.unified_diff(kept.splitlines(), wanted.splitlines(), "kept", "rendered", lineterm="", n=2)
    shown = list(lines)
    more = [f"… and {len(shown) - SHOWN} lines more"] if len(shown) > SHOWN else []
    return "\n".join(shown[:SHOWN] + more)


def strangers():
    """Files in the folder that no render is compared with."""
    return sorted(path.name for path in FOLDER.glob("*") if path.name not in KEPT)
