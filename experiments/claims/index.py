"""Writes the table of all claims into README.md beside this file, from the folders' results.

python experiments/claims/index.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from claim import write_between

HERE = Path(__file__).resolve().parent


def table() -> str:
    """One row per finding, folders in order of their names; first how many of them hold."""
    rows = ["", "", "| claim | statement | published | measured (90 % interval) | verdict |", "|---|---|---|---|---|"]
    verdicts: Counter[str] = Counter()
    for results in sorted(HERE.glob("*/results.json")):
        folder = results.parent.name
        for found in json.loads(results.read_text())["findings"]:
            verdicts[found["verdict"]] += 1
            cells = [
                f"[{folder}]({folder}/README.md)",
                *(found[k] for k in ("statement", "published", "measured", "verdict")),
            ]
            rows.append("| " + " | ".join(cells) + " |")
    rows[0] = ", ".join(f"{verdicts[v]} {v}" for v in ("holds", "does not hold", "undecided")) + "."
    return "\n".join(rows)


if __name__ == "__main__":
    write_between(HERE / "README.md", table())
