"""The coordinate check of every family in the zoo, under mup and with the model left as it is, as one table.

    python -m experiments.model_zoo [FAMILY ...] [--factors 1,2,4,8,16] [--seeds 3] [--steps 0,1,3,5] [--lr 0.0039]

Slopes are fitted on widths of at least twice the base. A family's record is written to results/FAMILY.json as soon
as it is measured, and its row of the page's table at the end; --table: that alone, of what is recorded already.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch

import mutransfer as mt
from experiments.model_zoo.zoo import FAMILIES, Family
from experiments.pages import between, write_between
from mutransfer.errors import MutransferError

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parent / "README.md"
FROZEN_LR = 1e-30  # step 0: one step that moves nothing, since a check takes at least one
COLUMNS = (
    "family",
    "widths",
    "worst of size",
    "worst of change",
    "median",
    "logits at init",
    "logits' change",
    "growth as is",
    "overrides",
    "s",
)


def check(family: Family, widths: list[int], parameterization: str, steps: int, seeds: int, lr: float | None) -> Any:
    return mt.coordinate_check(
        family.build,
        batch=family.batch,
        loss=family.loss,
        widths=widths,
        base_width=family.base_width,
        parameterization=parameterization,
        steps=max(steps, 1),
        lr=lr if steps else FROZEN_LR,
        seeds=seeds,
        overrides=family.overrides or None,
        device="cpu",
    )


def slopes(found: Any, steps: int) -> list[dict[str, Any]]:
    """One entry per module and quantity: its slope, and the range that theory allows it at this step."""
    entries = []
    for module, quantities in found.slopes.items():
        for quantity, slope in quantities.items():
            if steps == 0 and quantity == "change":
                continue  # batch norm's running averages move without an optimizer
            low = high = off = None
            if slope.predicted is not None:
                # Logits and bottlenecks start fainter than they move: in between, any slope between the two is right.
                low, high = min(found.at_init.get(module, 0.0), slope.predicted), slope.predicted
                off = max(low - slope.value, slope.value - high, 0.0)
            entry = {"module": module, "quantity": quantity, "step": steps, "slope": slope.value}
            entries.append(entry | {"interval": [slope.low, slope.high], "theory": [low, high], "off": off})
    return entries


def measure(family: Family, factors: list[int], steps: list[int], seeds: int, lr: float | None) -> dict[str, Any]:
    started = time.perf_counter()
    widths = [family.base_width * f for f in factors]
    record: dict[str, Any] = {"widths": widths, "seeds": seeds, "steps": steps, "torch": torch.__version__}
    record["overrides"] = {pattern: str(role) for pattern, role in family.overrides.items()}
    try:
        for name, at in (("mup", steps), ("as_is", steps[-1:])):
            found = [(check(family, widths, name, step, seeds, lr), step) for step in at]
            record[name] = [entry for one, step in found for entry in slopes(one, step)]
            record[f"{name} diverged"] = sorted({str(w) for one, _ in found for w in one.diverged})
    except MutransferError as error:
        record["refused"] = str(error)
    return record | {"seconds": time.perf_counter() - started}


def row(name: str, record: dict[str, Any]) -> str:
    widths = f"{record['widths'][0]} to {record['widths'][-1]}"
    overrides = ", ".join(f"`{k}`: {v}" for k, v in record["overrides"].items()) or "none"
    if "refused" in record:
        cells = [name, widths, "refused: " + record["refused"].splitlines()[0], *[""] * 5, overrides]
        return "| " + " | ".join([*cells, f"{record['seconds']:.0f}"]) + " |"
    entries = [e for e in record["mup"] if e["off"] is not None]
    cells = [name, widths]
    for quantity in ("size", "change"):
        worst = max((e for e in entries if e["quantity"] == quantity), key=lambda e: e["off"])
        cells.append(f"{worst['off']:.2f} ({worst['module']} {worst['slope']:+.2f}, step {worst['step']})")
    cells.append(f"{statistics.median(e['off'] for e in entries):.2f}")
    faint = [e for e in entries if e["theory"][0] < 0]  # in the order of calls: logits come last
    for quantity, step in (("size", record["steps"][0]), ("change", record["steps"][-1])):
        found = [e["slope"] for e in faint if (e["quantity"], e["step"]) == (quantity, step)]
        cells.append(f"{found[-1]:+.2f}" if found else "")
    most = max(record["as_is"], key=lambda e: e["slope"])
    cells.append(f"{most['slope']:+.2f} ({most['quantity']} of {most['module']})")
    return "| " + " | ".join([*cells, overrides, f"{record['seconds']:.0f}"]) + " |"


def table() -> str:
    """The page's table, with the rows of the families whose records are on disk made anew."""
    known = {line.split(" | ")[0].removeprefix("| "): line for line in between(PAGE, "families").splitlines()[2:]}
    for name in FAMILIES:
        if (path := RESULTS / f"{name}.json").exists():
            known[name] = row(name, json.loads(path.read_text()))
    rows = [known[name] for name in FAMILIES if name in known]
    return "\n".join(["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS), *rows])


def numbers(text: str) -> list[int]:
    return [int(x) for x in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; default: all")
    parser.add_argument("--factors", type=numbers, default=[1, 2, 4, 8, 16], help="widths over the family's base")
    parser.add_argument("--steps", type=numbers, default=[0, 1, 3, 5])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    RESULTS.mkdir(exist_ok=True)
    for name in [] if options.table else options.families or FAMILIES:
        record = measure(FAMILIES[name], options.factors, options.steps, options.seeds, options.lr)
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(row(name, record), flush=True)
    print(table())
    write_between(PAGE, "families", table())


if __name__ == "__main__":
    main()
