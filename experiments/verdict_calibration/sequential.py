"""Error rates and cost of sequential verifications beside full grids, on the same drawn studies with the same judge.

    python -m experiments.verdict_calibration.sequential [--studies 650] [--seeds 4] [--first 2] [--families all]

Costs are FLOPs that grow like width^2. Writes results/sequential.json and, of all families, the page's
table; --table writes that again from the results.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.pages import markdown, write_between
from experiments.verdict_calibration.families import FAMILIES, GROUPS, draw
from experiments.verdict_calibration.laws import CEILING, FINE, Seeds
from experiments.verdict_calibration.simulate import BASE, DOUBLINGS, GRID, DrawnRuns, Truth
from experiments.verdict_calibration.synthetic import DRIFTS
from experiments.verdict_calibration.table import PAGE, RESULTS, right
from mutransfer.training.spec import RunSpec
from mutransfer.transfer.search.sweep import Sweep, at_lr, sweep
from mutransfer.transfer.verification.procedure import Judgement, Procedure, Stop
from mutransfer.transfer.verification.result import judge_sweeps

OUT = RESULTS / "sequential.json"
WIDTHS = [BASE * 2**j for j in range(DOUBLINGS + 1)]


def template(width: int) -> RunSpec:
    return RunSpec(task="drawn", width=width, base_width=BASE, hyperparameters={"lr": 1.0}, steps=1)


@dataclass(frozen=True)
class Judged:
    verdict: str
    tolerance: float
    edges: dict[int, str]


def judged(sweeps: Mapping[int, Sweep], transferred: float) -> Judged:
    found, verdict, _ = judge_sweeps(sweeps, list(sweeps), transferred)
    edges = {w: o.at_edge for w, o in found.optima.items() if o.at_edge}
    return Judged(str(verdict), found.tolerance, edges)


def cost(sweeps: Mapping[int, Sweep]) -> float:
    """Beyond the base width, whose runs tuning has done."""
    return sum((w / BASE) ** 2 * sum(map(len, s.results.values())) for w, s in sweeps.items() if w != BASE)


def sequential(
    runner: DrawnRuns, base: Sweep, transferred: float, *, spacing: float, first: int, most: int
) -> tuple[dict[int, Sweep], str]:
    """(sweeps, why it stopped)."""
    sweeps = {BASE: base}

    def judge(_: Any) -> Judgement:
        some = {w: sweeps[w] for w in WIDTHS if w in sweeps}
        if any(s.diverged_at(transferred) for s in some.values()):
            return Judgement(verdict="UNSTABLE")
        found = judged(some, transferred)
        settled = found.verdict in ("TRANSFERS", "DRIFTS")
        return Judgement(verdict=found.verdict if settled else None, edges=found.edges)

    procedure = Procedure(
        keys=WIDTHS,
        octaves=[float(j) for j in range(DOUBLINGS + 1)],
        transferred=transferred,
        spacing=spacing,
        first=first,
        most=most,
        ceilings=dict.fromkeys(WIDTHS, base.ceiling),
    )
    while not isinstance(step := procedure.next_runs({w: s.curve for w, s in sweeps.items()}, judge), Stop):
        width = int(step.key)
        known = sweeps[width].results if width in sweeps else {}
        new = {
            round(x, 6): runner.perform([at_lr(template(width), x, seed) for seed in range(step.seeds)], "")
            for x in step.points
        }
        sweeps[width] = Sweep(template=template(width), seeds=tuple(range(step.seeds)), results={**known, **new})
    return {w: sweeps[w] for w in WIDTHS if w in sweeps}, step.reason


def study(family: str, seeds: int, first: int, index: int) -> dict[str, Any]:
    rng = np.random.default_rng([index, seeds, sorted(FAMILIES).index(family)])
    drift = DRIFTS[index % len(DRIFTS)]
    law = draw(family, rng, drift)
    drawn = Seeds(rng, seeds, DOUBLINGS + 1)
    regrets = [Truth(law.centre(j) + FINE, law.expected(j)) for j in range(DOUBLINGS + 1)]
    runner: Any = DrawnRuns(lambda x, j: law.log_losses(x, j, drawn), float(np.exp(CEILING)), seeds)
    grid = np.arange(GRID[0], GRID[1] + 1e-9, law.spacing).tolist()

    def swept(width: int, also: Sequence[float]) -> Sweep:
        return sweep(runner, template(width), grid, range(seeds), title=str(width), also=also)

    transferred = round(swept(BASE, []).optimum.log2_lr, 6)
    base = swept(BASE, [transferred])
    few, reason = sequential(runner, base, transferred, spacing=law.spacing, first=first, most=seeds)
    full = {width: swept(width, [transferred]) for width in WIDTHS}
    worst = max(t.regret(transferred) for t in regrets[1:])
    found: dict[str, Any] = {"family": family, "drift": drift, "part": cost(few) / cost(full)}
    whole = judged(full, transferred)
    part = Judged(reason, whole.tolerance, {}) if reason == "UNSTABLE" else judged(few, transferred)
    for how, one in (("full", whole), ("sequential", part)):
        found[how] = {"verdict": one.verdict, "large": worst > one.tolerance}
    return found


def rates(studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    clear = [s for s in studies if s["drift"] in (0.0, 0.5, 1.0)]
    out: dict[str, Any] = {
        "studies": len(studies),
        "mean_part": float(np.mean([s["part"] for s in studies])),
        "highest_tenth_part": float(np.quantile([s["part"] for s in studies], 0.9)),
        "same_verdict": float(np.mean([s["full"]["verdict"] == s["sequential"]["verdict"] for s in clear])),
    }
    for how in ("full", "sequential"):
        still = [s[how] for s in studies if s["drift"] == 0]
        costly = [s[how] for s in studies if s["drift"] >= 0.5 and s[how]["large"]]
        out[how] = {
            "still": len(still),
            "costly": len(costly),
            "false_transfers": _mean([s["verdict"] == "TRANSFERS" for s in costly]),
            "false_drifts": _mean([s["verdict"] == "DRIFTS" for s in still]),
            "right": _mean([right(s[how]) for s in clear]),
            "inconclusive": _mean([s[how]["verdict"] == "INCONCLUSIVE" for s in clear]),
            "unstable": _mean([s[how]["verdict"] == "UNSTABLE" for s in clear]),
        }
    return out


def _mean(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    columns = ("false_transfers", "false_drifts", "right", "inconclusive", "unstable")
    rows = []
    for name, r in found.items():
        cells = [f"{_percent(r['full'][c])}, {_percent(r['sequential'][c])}" for c in columns]
        parts = f"{100 * r['mean_part']:.0f}, {100 * r['highest_tenth_part']:.0f}"
        rows.append([name, str(r["studies"]), parts, f"{100 * r['same_verdict']:.0f}", *cells])
    told = [f"{c.replace('_', ' ')}: full, sequential" for c in columns]
    return markdown(("%", "studies", "cost of the full grid's: mean, 90th percentile", "same verdict", *told), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=650)
    parser.add_argument("--seeds", type=int, default=4, help="of the full grid, and the most of the sequential one")
    parser.add_argument("--first", type=int, default=2, help="seeds at the largest width to begin with")
    parser.add_argument("--families", default="all", help="all, tuned-on, looked-at, written-last, or names")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="the page's table again, from the results on disk")
    options = parser.parse_args()
    found = json.loads(OUT.read_text())["rates"] if options.table else measured(options)
    print(table(found))
    if options.table or (options.out == OUT and options.families == "all"):
        write_between(PAGE, "sequential", table(found))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Rates over the studies asked for, written to the file asked for."""
    known = {"all": list(FAMILIES), **{name.replace(" ", "-"): list(group) for name, group in GROUPS.items()}}
    families = known.get(options.families) or options.families.split(",")
    each = -(-options.studies // len(families))
    started = time.monotonic()
    studies = [study(family, options.seeds, options.first, i) for i in range(each) for family in families]
    by_kind = {kind: [s for s in studies if s["family"] in group] for kind, group in GROUPS.items()}
    of = {"all": studies, **by_kind, **{f: [s for s in studies if s["family"] == f] for f in families}}
    found = {name: rates(some) for name, some in of.items() if some}
    options.out.parent.mkdir(exist_ok=True)
    settings = {"seeds": options.seeds, "first": options.first, "seconds": round(time.monotonic() - started)}
    options.out.write_text(json.dumps({**settings, "rates": found}, indent=1) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
