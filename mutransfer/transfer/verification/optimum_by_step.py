"""The optimal learning rate as a function of the training step, and what differs between tuning and verifying.

The optimum falls with the number of steps (Tensor Programs V transfers across time only empirically), so a learning
rate that was tuned for one horizon is verified at another only by mistake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.transfer.curves.optimum import Optimum, find_optimum
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.widths import WidthKey

PARTS = 4  # of training, at whose ends training losses are read where no evaluation was recorded on the way
WINDOW = 0.1  # part of the steps over which training losses are averaged
COMPARED = (
    "steps",
    "batch_size",
    "schedule",
    "warmup_steps",
    "optimizer",
    "wd_policy",
    "precision",
    "accumulate",
    "clip_norm",
)


@dataclass(frozen=True, kw_only=True)
class OptimumCourse:
    """The optimum of one width after so many steps, all under the schedule of the whole run."""

    optima: Mapping[int, Optimum]  # steps done -> optimum
    source: str  # "evaluation" or "training" losses

    @property
    def slope(self) -> float | None:
        """Octaves of the optimum per doubling of the number of steps, least squares over what is not on a border."""
        inside = {step: o.log2_lr for step, o in self.optima.items() if not o.at_edge}
        if len(inside) < 2:
            return None
        x = np.log2(list(inside))
        x = x - x.mean()
        return float(x @ np.array(list(inside.values())) / (x @ x))


def optimum_course(sweep: Sweep) -> OptimumCourse | None:
    """The course read from a sweep's runs: from evaluations on the way where there are any, else from training losses.

    A run that had diverged by then counts as the loss before training. None where fewer than two steps can be read.
    """
    runs = [r for results in sweep.results.values() for r in results]
    steps = sorted({step for r in runs for step, _ in r.eval_curve} - {0})
    source = "evaluation" if len(steps) > 1 else "training"
    if source == "training":
        total = sweep.template.steps
        steps = sorted({round(total * i / PARTS) for i in range(1, PARTS + 1)} - {0})
    read = _evaluated if source == "evaluation" else _trained
    ceiling = sweep.ceiling
    optima = {}
    for step in steps:
        curve = {x: [read(r, step) for r in sweep.results[x]] for x in sorted(sweep.results)}
        if all(math.isinf(loss) for losses in curve.values() for loss in losses):
            continue
        optima[step] = find_optimum(curve, ceiling=ceiling)
    return OptimumCourse(optima=optima, source=source) if len(optima) > 1 else None


def changed_settings(tuned: RunSpec, verified: RunSpec) -> tuple[str, ...]:
    """Settings that are not the same when verifying as when tuning, a sentence each."""
    sentences = []
    if tuned.task != verified.task:
        sentences.append(
            f"tuned on {tuned.task}, verified on {verified.task}: the learning rate is transferred across both width "
            "and task (a larger batch, say), and a shift may be due to either"
        )
    for name in COMPARED:
        one, other = getattr(tuned, name), getattr(verified, name)
        if one != other:
            sentences.append(
                f"tuned with {name}={one or 'default'}, verified with {name}={other or 'default'}: a shift of the "
                f"optimum may be due to {name} and not to width, so compare it with the optimum at base width"
            )
    return tuple(sentences)


def _evaluated(result: RunResult, step: int) -> float:
    return next((loss for at, loss in result.eval_curve if at == step and math.isfinite(loss)), math.inf)


def _trained(result: RunResult, step: int) -> float:
    if len(result.train_curve) < step:
        return math.inf
    window = result.train_curve[max(0, step - max(1, round(WINDOW * step))) : step]
    mean = float(np.mean(window))
    return mean if math.isfinite(mean) else math.inf


def courses_of(sweeps: Mapping[WidthKey, Sweep], keys: Sequence[WidthKey]) -> dict[WidthKey, OptimumCourse]:
    """The courses of some widths, where they can be read."""
    return {key: course for key in keys if (course := optimum_course(sweeps[key])) is not None}
