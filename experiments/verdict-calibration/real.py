"""The same for runs that were trained: seeds are drawn from a pool of them, whose mean curve is the truth.

    OMP_NUM_THREADS=1 python experiments/verdict-calibration/real.py RUN [--studies 100] [--parameterization mup]

RUN is the folder of a study with many seeds on a grid of half octaves. Writes results/NAME.json and prints its table.
Between the learning rates that were run, each seed's curve is interpolated (PCHIP).
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
from run import RESULTS
from scipy.interpolate import PchipInterpolator
from simulate import BASE, DOUBLINGS, Truth, simulate
from table import rates, table

from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.transfer.study import Record


def pool_of(record: Record, parameterization: str) -> tuple[list[PchipInterpolator], int, float]:
    """For every doubling of width the curves (learning rates, seeds) of log loss; number of seeds; initial log loss."""
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
    for doublings in range(DOUBLINGS + 1):
        by_lr = runs[base * 2**doublings]
        grid = sorted(x for x in by_lr if len(by_lr[x]) == seeds)
        logs = np.log([[by_lr[x][seed] for seed in sorted(by_lr[x])] for x in grid])
        curves.append(PchipInterpolator(grid, logs, extrapolate=False))
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
    options = parser.parse_args()
    curves, n_pool, initial = pool_of(Record(options.run / "runs.db"), options.parameterization)
    fine = [np.arange(c.x[0], c.x[-1] + 1e-9, 1 / 64) for c in curves]
    truths = [Truth(x, c(x).mean(axis=1)) for c, x in zip(curves, fine, strict=True)]
    drift = float(np.polyfit(range(DOUBLINGS + 1), [t.optimum for t in truths], 1)[0])
    print(f"true optima {[round(t.optimum, 2) for t in truths]} at widths from {BASE}, drift {drift:+.3f}")
    of = {}
    for seeds in map(int, options.seeds.split(",")):
        studies = []
        for i in range(options.studies):
            rng = np.random.default_rng([i, seeds])
            drawn = rng.integers(n_pool, size=seeds)

            def losses(x: float, j: int, drawn: np.ndarray = drawn) -> np.ndarray:
                inside = float(np.clip(x, curves[j].x[0], curves[j].x[-1]))
                y = curves[j](inside)[drawn]
                return np.where(y >= math.log(initial), np.inf, y)

            found = simulate(losses, truths, initial=initial, seeds=seeds, spacing=1.0, drift=round(abs(drift)))
            studies.append({"family": options.parameterization, "seeds": seeds, **found})
        of[f"{options.parameterization}, {seeds} seeds"] = {"true_drift": round(drift, 3), **rates(studies)}
    found = {"by_seeds": of, "by_family": {}}
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / f"{options.run.name}-{options.parameterization}.json"
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
