"""The same for runs that were trained: seeds are drawn from a pool of them, whose smoothed mean curve is the truth.

    OMP_NUM_THREADS=1 python -m experiments.verdict_calibration.real RUN [--studies 100] [--parameterization mup]

RUN is the folder of a study with many seeds on a grid of half octaves, at widths that double. Writes
results/NAME.json and the page's table; --table writes that again from the results.
The truth is a cubic spline through the pool's means to within their standard errors: their own noise is no part of
it, and an interpolation that never goes below its points would put every optimum on one. A drawn seed adds its own
departures from the means, interpolated on a line between learning rates.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy.interpolate import UnivariateSpline

from experiments.pages import write_between
from experiments.verdict_calibration.simulate import Truth, simulate
from experiments.verdict_calibration.table import PAGE, RESULTS, rates, table
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.transfer.runs.record import Record


@dataclass(frozen=True)
class Pool:
    """One width's runs: learning rates, their smoothed mean log loss, departures (learning rates, seeds)."""

    grid: np.ndarray
    smooth: UnivariateSpline
    departures: np.ndarray

    def log_losses(self, x: float, drawn: np.ndarray) -> np.ndarray:
        inside = float(np.clip(x, self.grid[0], self.grid[-1]))
        own = [np.interp(inside, self.grid, self.departures[:, seed]) for seed in drawn]
        return float(self.smooth(inside)) + np.array(own)


def pool_of(record: Record, parameterization: str) -> tuple[list[Pool], int, float]:
    """A pool for every doubling of width; number of seeds; loss before training."""
    runs: dict[int, dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    starts = []
    for spec, result in _runs(record):
        if spec.width == spec.base_width or spec.parameterization == parameterization:
            assert isinstance(spec.width, int)
            runs[spec.width][round(math.log2(spec.lr), 6)][spec.seed] = min(result.final_loss, result.initial_loss)
            starts.append(result.initial_loss)
    base = min(runs)
    seeds = max(len(losses) for losses in runs[base].values())
    curves = []
    for doublings in range(len(runs)):
        by_lr = runs[base * 2**doublings]
        grid = sorted(x for x in by_lr if len(by_lr[x]) == seeds)
        logs = np.log([[by_lr[x][seed] for seed in sorted(by_lr[x])] for x in grid])
        mean, error = logs.mean(axis=1), logs.std(axis=1, ddof=1) / math.sqrt(seeds)
        smooth = UnivariateSpline(grid, mean, w=1 / np.maximum(error, 1e-3), s=len(grid))
        departures = (logs - mean[:, None]) * math.sqrt(seeds / (seeds - 1))
        curves.append(Pool(np.array(grid), smooth, departures))
    return curves, seeds, float(np.mean(starts))


def _runs(record: Record) -> Iterator[tuple[RunSpec, RunResult]]:
    for name in optuna.get_all_study_names(record.storage):
        for trial in optuna.load_study(study_name=name, storage=record.storage).trials:
            if "spec" in trial.user_attrs:
                attributes = trial.user_attrs
                yield RunSpec.from_dict(attributes["spec"]), RunResult.from_dict(attributes["result"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--studies", type=int, default=100, help="for each number of seeds")
    parser.add_argument("--parameterization", default="mup")
    parser.add_argument("--seeds", default="3,4,5,10")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    out = RESULTS / f"{options.run.name}-{options.parameterization}.json"
    if not options.table:
        RESULTS.mkdir(exist_ok=True)
        out.write_text(json.dumps(measured(options), indent=1) + "\n", encoding="utf-8")
    found = table(json.loads(out.read_text()))
    print(found)
    write_between(PAGE, out.stem, found)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Rates over studies drawn from the pool of one run's seeds."""
    curves, n_pool, initial = pool_of(Record(options.run / "runs.db"), options.parameterization)
    fine = [np.arange(c.grid[0], c.grid[-1] + 1e-9, 1 / 64) for c in curves]
    truths = [Truth(x, c.smooth(x)) for c, x in zip(curves, fine, strict=True)]
    drift = float(np.polyfit(range(len(truths)), [t.optimum for t in truths], 1)[0])
    print(f"true optima {[round(t.optimum, 2) for t in truths]} from base width on, drift {drift:+.3f}")
    ends = math.ceil(curves[0].grid[0]), math.floor(curves[0].grid[-1])
    of = {}
    for seeds in map(int, options.seeds.split(",")):
        studies = []
        for i in range(options.studies):
            rng = np.random.default_rng([i, seeds])
            drawn = rng.integers(n_pool, size=seeds)

            def losses(x: float, j: int, drawn: np.ndarray = drawn) -> np.ndarray:
                y = curves[j].log_losses(x, drawn)
                return np.where(y >= math.log(initial), np.inf, y)

            found = simulate(
                losses, truths, initial=initial, seeds=seeds, spacing=1.0, drift=round(abs(drift)), ends=ends
            )
            studies.append({"family": options.parameterization, "seeds": seeds, **found})
        of[f"{options.parameterization}, {seeds} seeds"] = {"true_drift": round(drift, 3), **rates(studies)}
    return {"by_seeds": of, "by_family": {}}


if __name__ == "__main__":
    main()
