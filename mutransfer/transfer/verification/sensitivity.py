"""What a change of each transferred hyperparameter would gain, at base width and at a large one.

Only the learning rate is swept at every width. Each of the others is moved one step down and up from its transferred
value with the rest held, on the same seeds: where the large width gains nothing by that, it is still right there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mutransfer.errors import ConfigError
from mutransfer.intervals import Interval, t_interval
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.transfer.curves.optimum import log_of
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.space import Axis, Choice, Value, at_point, value_at

TO_ONE = ("momentum", "beta1", "beta2")  # what matters is how far they are from 1
FACTOR = 2.0
FACTORS = {"eps": 10.0, "weight_decay": 4.0, "independent_weight_decay": 4.0}  # of little effect each


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """One hyperparameter, perturbed. Keys of mappings are widths, the base first."""

    name: str
    value: Value  # transferred
    gain: Mapping[str | int, Mapping[Value, Interval]]  # perturbed value -> by how much log loss is lower there
    regret: Mapping[str | int, Interval]  # log loss at the transferred value minus that at the best, cross-fitted
    tolerance: float  # regret that is called small

    @property
    def finding(self) -> str:
        """Whether the value is still right at the large width, in a word or two."""
        base, large = (list(self.regret.values())[i] for i in (0, -1))
        if large.high <= self.tolerance:
            return "transfers"
        if large.low > self.tolerance:
            return "not tuned" if base.low > self.tolerance else "drifts"
        return "undecided"


def perturbed(spec: RunSpec, name: str, axis: Axis | None = None) -> list[Value]:
    """Values one step from the transferred one: a factor of 2 for most, of 1 - beta for momentum and betas.

    A choice gives its neighbours, or its other names.

    >>> spec = RunSpec(task="t", width=8, base_width=8, hyperparameters={"lr": 0.1, "beta1": 0.9})
    >>> perturbed(spec, "beta1"), perturbed(spec, "output_mult")
    ([0.8, 0.95], [0.5, 2.0])
    """
    value = value_at(spec, name)
    if isinstance(axis, Choice):
        if not axis.ordered:
            return [other for other in axis.values if other != value]
        ranks = sorted(axis.values, key=float)
        at = ranks.index(value)
        return [ranks[i] for i in (at - 1, at + 1) if 0 <= i < len(ranks)]
    if isinstance(value, str):
        raise ConfigError(f"{name}: which of its values to compare is not known; search it as Choice((...))")
    if name in TO_ONE:
        steps = [round(1 - (1 - value) * f, 12) for f in (FACTOR, 1 / FACTOR)]
        return [x for x in steps if 0 <= x < 1 and x != value]
    if value == 0:  # off: there is no factor from 0
        return []
    factor = FACTORS.get(name, FACTOR)
    if isinstance(value, int):
        return [max(1, round(value / factor)), round(value * factor)]
    return [value / factor, value * factor]


def neighbours(spec: RunSpec, name: str, axis: Axis | None = None) -> list[Value]:
    """Of the values of :func:`perturbed`, those that a run can have: warmup may not go beyond the last step, say."""
    return [value for value in perturbed(spec, name, axis) if _possible(spec, name, value)]


def sensitivities(
    runner: Runner,
    at: Mapping[str | int, RunSpec],
    axes: Mapping[str, Axis],
    names: Sequence[str],
    *,
    seeds: Sequence[int],
    tolerance: float,
) -> dict[str, Sensitivity]:
    """Perturb each of ``names`` at two widths; runs that the record holds are not done again.

    Args:
        at: specs with all transferred values at base width and at a large one, by what names the width.
        axes: where the values were searched.

    A value of 0 cannot be moved by a factor and is left out, as is everything where there is one seed.
    """
    template = next(iter(at.values()))
    values = {name: neighbours(template, name, axes.get(name)) for name in names}
    points: list[dict[str, Value]] = [{}, *({name: value} for name in names for value in values[name])]
    if len(points) == 1 or len(seeds) < 2:
        return {}
    specs = [replace(at_point(spec, p), seed=s) for spec in at.values() for p in points for s in seeds]
    results = iter(runner.perform(specs, "other hyperparameters, one step down and up"))
    runs = {k: [[next(results) for _ in seeds] for _ in points] for k in at}
    found = {}
    for name in names:
        rows = [i for i, p in enumerate(points) if not p or name in p]
        if len(rows) == 1:
            continue
        logs = {k: _logs([runs[k][i] for i in rows]) for k in at}
        found[name] = judged(name, value_at(template, name), values[name], logs, tolerance)
    return found


def judged(
    name: str, value: Value, others: Sequence[Value], logs: Mapping[str | int, np.ndarray], tolerance: float
) -> Sensitivity:
    """From log losses, (1 + n others, n seeds) for each width, the transferred value's first; seeds are paired.

    Regret is cross-fitted: for every seed the best value is chosen by the other seeds, for the least of several noisy
    means is biased low. The variance of paired differences is pooled over the perturbations of a width.
    """
    gain, regret = {}, {}
    for key, rows in logs.items():
        differences = rows[0] - rows[1:]
        n_others, n_seeds = differences.shape
        degrees = n_others * (n_seeds - 1)
        error = math.sqrt(float(differences.var(axis=1, ddof=1).mean()) / n_seeds)
        gain[key] = {x: t_interval(float(d.mean()), error, degrees) for x, d in zip(others, differences, strict=True)}
        own = []
        for seed in range(n_seeds):
            rest = np.delete(rows, seed, axis=1).mean(axis=1)
            own.append(float(rows[0, seed] - rows[int(rest.argmin()), seed]))
        regret[key] = t_interval(float(np.mean(own)), error, degrees)
    return Sensitivity(name=name, value=value, gain=gain, regret=regret, tolerance=tolerance)


def _logs(runs: Sequence[Sequence[RunResult]]) -> np.ndarray:
    return log_of([[min(r.final_loss, r.initial_loss) for r in results] for results in runs])


def _possible(template: RunSpec, name: str, value: Value) -> bool:
    try:
        at_point(template, {name: value})
    except ConfigError:
        return False
    return True
