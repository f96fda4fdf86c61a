"""Models in the wild, wrapped as they are and measured by an independent coordinate check, as a table.

    python -m experiments.model_zoo.wild [NAME ...] [--steps 3] [--seeds 2] [--no-check] [--table]

A model's record is written to results/wild/NAME.json as soon as it is measured; --table: only the page's table.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch

import mutransfer as mt
from experiments.model_zoo.wild.check import OPTIMIZERS, Row, slopes
from experiments.model_zoo.wild.rows import ROWS
from experiments.model_zoo.wild.verdict import COLUMNS, cells
from experiments.pages import markdown, write_between
from mutransfer.errors import MutransferError

FOLDER = Path(__file__).parents[1]
RESULTS, PAGE = FOLDER / "results" / "wild", FOLDER / "README.md"
FACTORS = (1, 4, 16)


def toolkit_check(row: Row, optimizer: str) -> str:
    """What ``mt.coordinate_check`` says of the same model."""
    found = mt.coordinate_check(
        row.build,
        batch=lambda seed, step: row.batch(seed),
        loss=row.loss,
        widths=[row.base * f for f in (1, 2, 4, 8)],
        optimizer=optimizer,
        steps=2,
        seeds=3,
        overrides=dict(row.overrides) or None,
        device="cpu",
    )
    return "passed" if found.passed else "failed: " + "; ".join(map(str, found.failures))[:600]


def measure(row: Row, seeds: int, steps: int, check: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"base": row.base, "factors": FACTORS, "seeds": seeds, "steps": steps}
    for optimizer in OPTIMIZERS:
        started = time.perf_counter()
        try:
            record[optimizer] = slopes(row, optimizer, FACTORS, seeds, steps)
        except MutransferError as error:
            record[optimizer] = {"refused": f"{type(error).__name__}: {error}"[:1500]}
            continue
        except Exception as error:  # the table is there to find them
            last = traceback.extract_tb(error.__traceback__)[-1]
            record[optimizer] = {"crash": f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"[:1500]}
            continue
        if check:
            try:
                record[optimizer]["coordinate_check"] = toolkit_check(row, optimizer)
            except MutransferError as error:
                record[optimizer]["coordinate_check"] = f"{type(error).__name__}: {error}"[:600]
        record[optimizer]["seconds"] = round(time.perf_counter() - started, 1)
    return record


def one_line_a_list(record: dict[str, Any]) -> str:
    text = json.dumps(record, indent=1)
    return re.sub(r"\[\s*([-\d.,\snul]*?)\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text)


def table() -> str:
    stored = {name: RESULTS / f"{name}.json" for name in ROWS}
    rows = [(name, *cells(ROWS[name], json.loads(path.read_text()))) for name, path in stored.items() if path.exists()]
    return markdown(COLUMNS, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--no-check", action="store_true", help="leave out the toolkit's own coordinate check")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    RESULTS.mkdir(exist_ok=True, parents=True)
    for name in [] if options.table else options.names or ROWS:
        record = measure(ROWS[name], options.seeds, options.steps, not options.no_check)
        (RESULTS / f"{name}.json").write_text(one_line_a_list(record) + "\n")
        print(name, *cells(ROWS[name], record), sep=" | ", flush=True)
    write_between(PAGE, "wild", table())


if __name__ == "__main__":
    main()
