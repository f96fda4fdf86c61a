"""Broken plans and correct studies through six checks: which are detected, and which named rightly.

    python -m experiments.mutation_score [--size smoke|default] [--checks coordinates,unaided,handed_over,mup,...]
        [--table] [WORD ...]

WORD: of a mutation's or a study's name. What is in results/default.json already is not done again; its tables go to the
page. --table: that alone.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch

from experiments.mutation_score import checks
from experiments.mutation_score.mutations import MUTATIONS, Mutation
from experiments.mutation_score.scoring import tables
from experiments.mutation_score.settings import Setting
from experiments.mutation_score.studies import STUDIES, Study
from experiments.pages import write_between

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parent / "README.md"
CHECKS = ("coordinates", "unaided", "handed_over", "mup", "movement", "verifier")
SEEDS = 3
SMOKE = ("hidden rate unscaled", "decay unscaled", "digits, mup adam, seeds from 3")


@cache
def tuned(setting: Setting, first_seed: int) -> Any:
    """The sweep at base width, which all mutations of a setting share: it is the user's own model there."""
    return checks.base_sweep(setting, range(first_seed, first_seed + SEEDS))


def perform(case: Mutation | Study, which: str) -> checks.Found:
    setting, first = case.setting, getattr(case, "first_seed", 0)
    seeds = range(first, first + SEEDS)

    def plan_of(width: int) -> Any:
        return case.change(setting.plan(width), setting)

    if which == "coordinates":
        return checks.coordinates(setting, plan_of, seeds)
    if which == "unaided":
        return checks.unaided(setting, plan_of, seeds)
    if which == "handed_over":
        return checks.handed_over(setting, plan_of)
    if which == "mup":
        return checks.of_mup(setting, plan_of, seeds)
    if which == "movement":
        return checks.movement(setting, plan_of, tuned(setting, first)[1], seeds)
    return checks.verifier(setting, plan_of, tuned(setting, first), seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--size", choices=("smoke", "default"), default="default")
    parser.add_argument("--checks", default=",".join(CHECKS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    out = given.out or RESULTS / f"{given.size}.json"
    known: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    cases: list[Mutation | Study] = [*MUTATIONS, *STUDIES]
    if given.size == "smoke":
        cases = [c for c in cases if c.name in SMOKE]
    if given.words:
        cases = [c for c in cases if any(word in c.name for word in given.words)]
    for which in () if given.table else given.checks.split(","):
        for case in sorted(cases, key=lambda c: "gpt" in c.setting.task_name):  # cheap ones first
            entry = known.setdefault(case.name, {"setting": case.setting.name})
            if which in entry:
                continue
            started = time.perf_counter()
            found = perform(case, which)
            entry[which] = asdict(found) | {"seconds": round(time.perf_counter() - started, 1)}
            write(out, known)
            print(
                f"{which}: {case.name} [{case.setting.name}]: {'ALARM' if found.alarm else 'pass'} {found.says[:150]}",
                flush=True,
            )
    for name, table in tables(known, MUTATIONS, STUDIES).items():
        print(table + "\n")
        if out == RESULTS / "default.json":
            write_between(PAGE, name, table)


def write(path: Path, known: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in known.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
