"""The search at small width: an even grid for the learning rate alone, Optuna's TPE for more hyperparameters."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from mutransfer.errors import ConfigError
from mutransfer.intervals import CONFIDENCE
from mutransfer.theory.content import named_by_content
from mutransfer.theory.rules import Parameterization
from mutransfer.training.events import Sink, silent
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.task import Task, check_task, label_of
from mutransfer.transfer.curves.optimum import Optimum, best_point, log_of
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.runs.seeds import seed_tuple
from mutransfer.transfer.search.space import (
    Axis,
    Choice,
    Range,
    Space,
    Value,
    at_point,
    parse_space,
    split_point,
    unit_points,
    value_at,
)
from mutransfer.transfer.search.sweep import Sweep, sweep
from mutransfer.widths import Width

BATCH = 4  # proposals that TPE makes without knowing each other's results


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """The result of a search at base width, with everything that :func:`~mutransfer.verify` needs to go on."""

    best: Mapping[str, Value]  # all hyperparameters, and the fields that were searched
    interval: Mapping[str, tuple[float, float]]  # 90 %, natural units; not of choices between names
    study: optuna.Study  # one trial per point, value: mean loss over seeds
    template: RunSpec  # at base width, with the best hyperparameters
    space: Mapping[str, Axis]
    seeds: tuple[int, ...]
    sweep: Sweep | None  # where only the learning rate was searched
    optimum: Optimum | None
    table: Parameterization  # to verify

    def __str__(self) -> str:
        return ", ".join(self._show(name, value) for name, value in self.best.items() if name in self.space)

    def _show(self, name: str, value: Value) -> str:
        if isinstance(value, str):
            return f"{name} = {value}"
        low, high = self.interval[name]
        return f"{name} = {value:.4g} [{low:.4g}, {high:.4g}]"


def tune(
    task: Task,
    *,
    base_width: Width,
    space: Space,
    optimizer: str = "adamw",
    parameterization: str | Parameterization = "mup",
    steps: int = 100,
    seeds: int | Sequence[int] = 3,
    n_trials: int | None = None,
    fixed: Mapping[str, float] | None = None,
    record: Record | None = None,
    device: torch.device | str | None = None,
    sink: Sink = silent,
    members: int | None = None,
    **training: Any,
) -> TuneResult:
    """Search hyperparameters at ``base_width``, where every parameterization is the user's own model.

    Args:
        space: {"lr": (low, high)} or {"lr": Range(...)}; with the learning rate alone an even grid over log2 is
            run and refined around its minimum, with more hyperparameters TPE proposes ``n_trials`` points, first at
            random and then four at a time. Besides the optimizer's own there are ``lr_mult_ROLE``, ``init_mult``,
            ``init_mult_ROLE``, ``output_mult`` and ``attention_mult``, constants at base width that multiply the
            plan's factors; and "schedule", "warmup_steps" and "batch_size", searched by ``Choice((16, 32, 64))``.
        parameterization: remembered for :func:`~mutransfer.verify`; it changes nothing at base width.
        seeds: how many, or which.
        fixed: hyperparameters that are not searched, e.g. {"weight_decay": 0.1}.
        record: where runs are kept and looked up; None keeps them in memory.
        members: the most runs to train as one program; None: what is fastest and fits; 1: one by one.
        training: further fields of RunSpec: schedule, warmup_steps, eval_every, accumulate, precision, ...

    Raises:
        ConfigError: the space names a hyperparameter that the optimizer does not have.
    """
    ranges = parse_space(space)
    seed_list = seed_tuple(seeds)
    if not seed_list:
        raise ConfigError("tune needs at least one seed")
    template = make_template(
        check_task(task),
        base_width=base_width,
        point={**(fixed or {}), **{name: axis.start for name, axis in ranges.items()}},
        optimizer=optimizer,
        parameterization=parameterization,
        steps=steps,
        **training,
    )
    check_corners(template, ranges)
    table = named_by_content(parameterization)
    runner = Runner(task, record=record, device=device, sink=sink, tables=[table], members=members)
    study = _point_study(runner.record, template, ranges, seed_list)
    if isinstance(lr := ranges.get("lr"), Range) and len(ranges) == 1:
        return _tune_lr(runner, template, lr, seed_list, study, table)
    return _tune_many(runner, template, ranges, seed_list, study, n_trials or 10 * len(ranges), table)


def make_template(
    task: Task,
    *,
    base_width: Width,
    parameterization: str | Parameterization,
    point: Mapping[str, Value],
    **training: Any,
) -> RunSpec:
    """The RunSpec at base width that all runs of a study vary; ``point``: hyperparameters, and fields over those."""
    searched, hyperparameters = split_point(point)
    fields: dict[str, Any] = {**training, **searched, "hyperparameters": hyperparameters}
    try:
        return RunSpec(
            task=label_of(task),
            width=base_width,
            base_width=base_width,
            parameterization=named_by_content(parameterization).name,
            **fields,
        )
    except TypeError as error:
        raise ConfigError(f"not a training setting: {error}") from None


def check_corners(template: RunSpec, axes: Mapping[str, Axis]) -> None:
    """Raise ConfigError, naming the axis, where a value of the space makes no run: before the first one is done."""
    for name, axis in axes.items():
        for value in axis.values if isinstance(axis, Choice) else (axis.low, axis.high):
            try:
                at_point(template, {name: value})
            except ConfigError as error:
                raise ConfigError(f"space[{name!r}]: {error}") from None


def _tune_lr(
    runner: Runner,
    template: RunSpec,
    lr: Range,
    seeds: tuple[int, ...],
    study: optuna.Study,
    table: Parameterization,
) -> TuneResult:
    swept = sweep(runner, template, lr.grid(), seeds, title="tune at base width")
    recorded = {trial.params["lr"] for trial in study.trials}
    for x, losses in swept.curve.items():
        if 2.0**x not in recorded:
            study.add_trial(
                optuna.trial.create_trial(
                    params={"lr": 2.0**x},
                    distributions={"lr": optuna.distributions.FloatDistribution(1e-12, 1e12, log=True)},
                    value=_mean(losses, swept.ceiling),
                )
            )
    best = swept.optimum
    return TuneResult(
        best={**template.hyperparameters, "lr": 2.0**best.log2_lr},
        interval={"lr": (2.0**best.low, 2.0**best.high)},
        study=study,
        template=replace(template, hyperparameters={**template.hyperparameters, "lr": 2.0**best.log2_lr}),
        space={"lr": lr},
        seeds=seeds,
        sweep=swept,
        optimum=best,
        table=table,
    )


def _tune_many(
    runner: Runner,
    template: RunSpec,
    ranges: Mapping[str, Axis],
    seeds: tuple[int, ...],
    study: optuna.Study,
    n_trials: int,
    table: Parameterization,
) -> TuneResult:
    def runs_of(points: Sequence[Mapping[str, Value]]) -> list[list[RunResult]]:
        specs = [replace(at_point(template, point), seed=seed) for point in points for seed in seeds]
        results = runner.perform(specs, "tune at base width")
        return [results[i : i + len(seeds)] for i in range(0, len(results), len(seeds))]

    _resume(study)
    while proposals := _propose(study, ranges, n_trials):
        for trial, results in zip(proposals, runs_of([t.params for t in proposals]), strict=True):
            ceiling = float(np.mean([r.initial_loss for r in results]))
            study.tell(trial, _mean([r.final_loss for r in results], ceiling))
    points = [t.params for t in study.get_trials(states=(TrialState.COMPLETE,))]
    logs = log_of([[min(r.final_loss, r.initial_loss) for r in results] for results in runs_of(points)])
    best, draws = best_point(unit_points(ranges, points), logs)
    best_spec = at_point(template, points[best])
    return TuneResult(
        best={**best_spec.hyperparameters, **{name: value_at(best_spec, name) for name in ranges}},
        interval=_intervals(ranges, points, best, draws),
        study=study,
        template=best_spec,
        space=ranges,
        seeds=seeds,
        sweep=None,
        optimum=None,
        table=table,
    )


def _resume(study: optuna.Study) -> None:
    """Put points that an interrupted process left running in line again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def _propose(study: optuna.Study, axes: Mapping[str, Axis], n_trials: int) -> list[optuna.Trial]:
    """The next points, which are trained together; none once ``n_trials`` are complete."""
    distributions: dict[str, BaseDistribution] = {name: axis.distribution() for name, axis in axes.items()}
    startup, done = max(5, 2 * len(axes)), len(study.get_trials(states=(TrialState.COMPLETE,)))
    trials = []
    for _ in range(min(startup - done if done < startup else BATCH, n_trials - done)):
        # Seeded by the trial's number: a sampler made anew on resuming would repeat its first proposals. The constant
        # liar keeps proposals apart from each other.
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=startup, constant_liar=True, seed=len(study.get_trials(deepcopy=False))
        )
        trials.append(study.ask(distributions))
    return trials


def _intervals(
    axes: Mapping[str, Axis], points: Sequence[Mapping[str, Value]], best: int, draws: np.ndarray
) -> dict[str, tuple[float, float]]:
    """90 % of the values that posterior draws find best, with the best point's own; not of choices between names."""
    tail = (1 - CONFIDENCE) / 2
    intervals = {}
    for name, axis in axes.items():
        if isinstance(axis, Choice) and not axis.ordered:
            continue
        values = np.array([float(points[i][name]) for i in draws])
        low, high = np.quantile(values, [tail, 1 - tail])
        value = float(points[best][name])
        intervals[name] = (float(min(low, value)), float(max(high, value)))
    return intervals


def _point_study(record: Record, template: RunSpec, ranges: Mapping[str, Axis], seeds: Iterable[int]) -> optuna.Study:
    text = json.dumps([template.key, {n: r.__dict__ for n, r in ranges.items()}, list(seeds)], sort_keys=True)
    return record.study(f"tune {hashlib.sha256(text.encode()).hexdigest()[:8]}")


def _mean(losses: Sequence[float], ceiling: float) -> float:
    return float(np.mean([min(loss, ceiling) for loss in losses if not math.isnan(loss)]))
