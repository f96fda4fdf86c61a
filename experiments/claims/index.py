"""Writes the table of all claims into README.md beside this file, from the folders' results.

python experiments/claims/index.py
"""

from __future__ import annotations

import json
from pathlib import Path

from claim import write_between

HERE = Path(__file__).resolve().parent


def table() -> str:
    """One row per finding, folders in order of their names."""
    rows = ["| claim | statement | published | measured (90 % interval) | verdict |", "|---|---|---|---|---|"]
    for results in sorted(HERE.glob("*/results.json")):
        folder = results.parent.name
        for found in json.loads(results.read_text())["findings"]:
            cells = [
                f"[{folder}]({folder}/README.md)",
                *(found[k] for k in ("statement", "published", "measured", "verdict")),
            ]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    write_between(HERE / "README.md", table())
