"""A study whose runs are drawn from a known law: the same sweeps and the same judge as for trained models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.verdict_calibration.methods import best_trials, parabolas
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.transfer.search.sweep import Sweep, sweep
from mutransfer.transfer.verification.evidence import Evidence
from mutransfer.transfer.verification.result import judge_sweeps

BASE = 64
DOUBLINGS = 4
GRID = (-11.0, -2.0)


@dataclass(frozen=True)
class Truth:
    """Of one width: expected log loss against log2 learning rate."""

    at: np.ndarray
    loss: np.ndarray

    @property
    def optimum(self) -> float:
        return float(self.at[self.loss.argmin()])

    def regret(self, x: float) -> float:
        return float(np.interp(x, self.at, self.loss) - self.loss.min())


class DrawnRuns:
    """In place of a Runner: a run's loss is drawn and not trained."""

    def __init__(self, losses: Callable[[float, int], np.ndarray], initial: float, seeds: int) -> None:
        self._losses, self._initial, self._seeds = losses, initial, seeds
        self._known: dict[tuple[int, float], np.ndarray] = {}

    def perform(self, specs: Sequence[RunSpec], title: str) -> list[RunResult]:
        return [self._run(spec) for spec in specs]

    def sink(self, event: Any) -> None:
        pass

    def _run(self, spec: RunSpec) -> RunResult:
        assert isinstance(spec.width, int)
        key = round(math.log2(spec.width / BASE)), round(math.log2(spec.lr), 6)
        if key not in self._known:
            self._known[key] = self._losses(key[1], key[0])
        log_loss = self._known[key][spec.seed]
        alive = math.isfinite(log_loss)
        loss = math.exp(log_loss) if alive else math.inf
        return RunResult(
            outcome=Outcome.OK if alive else Outcome.DIVERGED,
            initial_loss=self._initial,
            final_loss=loss,
            best_loss=min(loss, self._initial),
        )


def simulate(
    losses: Callable[[float, int], np.ndarray],
    truths: Sequence[Truth],
    *,
    initial: float,
    seeds: int,
    spacing: float,
    drift: float,
    ends: tuple[float, float] = GRID,
) -> dict[str, Any]:
    """Tune at base width, verify at the wider ones; what was found beside what is true. ``ends``: of the first grid."""
    runner: Any = DrawnRuns(losses, initial, seeds)
    grid = np.arange(ends[0], ends[1] + 1e-9, spacing).tolist()
    widths = [BASE * 2**j for j in range(len(truths))]

    def swept(width: int, also: Sequence[float]) -> Sweep:
        at = RunSpec(task="drawn", width=width, base_width=BASE, hyperparameters={"lr": 1.0}, steps=1)
        return sweep(runner, at, grid, range(seeds), title=str(width), also=also)

    transferred = round(swept(BASE, []).optimum.log2_lr, 6)
    sweeps = {width: swept(width, [transferred]) for width in widths}
    curves = {width: s.curve for width, s in sweeps.items()}
    found, verdict, reason = judge_sweeps(sweeps, widths, transferred)
    regrets = [t.regret(transferred) for t in truths]
    return {
        "verdict": str(verdict),
        "reason": reason,
        "drift": drift,
        "tolerance": found.tolerance,
        "regrets": regrets,
        "large": max(regrets[1:]) > found.tolerance,
        "optimum_held": [_held(o, t.optimum) for o, t in zip(found.optima.values(), truths, strict=True)],
        "optimum_width": [o.high - o.low for o in found.optima.values()],
        "regret_held": [_held(r, t) for r, t in zip(found.regret.values(), regrets, strict=True)],
        "regret_error": [r.value - t for r, t in zip(found.regret.values(), regrets, strict=True)],
        "drift_held": _held(found.drift, _slope([t.optimum for t in truths], found)),
        "drift_width": found.drift.high - found.drift.low if found.drift else math.nan,
        "best_trial": best_trials(curves),
        "parabola": parabolas(curves),
        "runs": sum(len(s.results) for s in sweeps.values()) * seeds,
    }


def _slope(optima: Sequence[float], found: Evidence) -> float:
    """Of the true optima; they lie on a line, up to what seeds with their own optimum bend."""
    x = np.arange(len(optima)) - (len(optima) - 1) / 2
    return float(x @ np.array(optima) / (x @ x))


def _held(found: Any, truth: float) -> bool:
    return bool(found is not None and found.low - 1e-9 <= truth <= found.high + 1e-9)
