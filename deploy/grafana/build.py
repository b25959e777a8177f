#!/usr/bin/env python3
"""Writes the dashboards of deploy/grafana/dashboards: `build.py` writes them, `build.py --check` fails if they are not current.

Each panel says in its description what it shows and what an unusual picture means. Metrics are those of
docs/operations/metrics.md; a test looks for others.
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from read_side import compaction, object_store, reads
from tenants import cost, tenants
from write_side import ingesters, writes

FOLDER = Path(__file__).parent / "dashboards"


def main():
    check = sys.argv[1:] == ["--check"]
    stale = []
    wanted = dict(make() for make in (writes, reads, ingesters, object_store, compaction, tenants, cost))
    for name, board in wanted.items():
        path, text = FOLDER / f"{name}.json", json.dumps(board, indent=2, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    stale += [path.name for path in FOLDER.glob("*.json") if path.stem not in wanted]
    if stale:
        sys.exit(f"not as deploy/grafana/build.py writes them: {', '.join(sorted(stale))}; run it without --check")


if __name__ == "__main__":
    main()
