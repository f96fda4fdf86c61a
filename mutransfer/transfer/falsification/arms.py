"""The learners of a frozen-feature control, each brought to its own best setting: an Arm per learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mutransfer.errors import DataError, KernelError
from mutransfer.random_state import preserved_random_state
from mutransfer.training.run import infer_plan, run
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.task import Task
from mutransfer.transfer.falsification.finding import KERNEL, TWIN, Arm, allowed_gain, best_setting
from mutransfer.transfer.falsification.kernel_movement import Moment, Watched
from mutransfer.transfer.falsification.kernel_predictor import LAST_STOP, STOPS, kernel_losses
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.sweep import Sweep, at_lr, sweep
from mutransfer.widths import show_width

MOMENTS = 8  # evaluations of a curve against time, beyond the first


def trained_arm(
    name: str, runner: Runner, spec: RunSpec, grid: Sequence[float], seeds: Sequence[int], left_out: dict[str, str]
) -> Arm:
    """Sweep the learner, and train once more at its best learning rate to see how it gets there.

    What cannot be measured is added to ``left_out`` with the reason.
    """
    swept = sweep(runner, spec, grid, seeds, title=f"falsify: {name}, width {show_width(spec.width)}")
    x, last_gain = best_setting({x: [_final(r) for r in swept.results[x]] for x in swept.results})
    results = swept.results[x]
    every = max(1, spec.steps // MOMENTS)
    evaluated = [replace(at_lr(spec, x, seed), eval_every=every) for seed in seeds]
    curves, moments = _watch(name, runner, evaluated, left_out)
    return Arm(
        name=name,
        setting=f"learning rate 2^{x:g}",
        initial=tuple(r.initial_loss for r in results),
        final=tuple(map(_final, results)),
        last_gain=last_gain,
        curves=curves,
        moments=moments,
        movement=_movement(swept, x),
    )


def _watch(
    name: str, runner: Runner, specs: Sequence[RunSpec], left_out: dict[str, str]
) -> tuple[tuple[tuple[tuple[int, float], ...], ...], tuple[tuple[Moment, ...], ...]]:
    """Evaluations, and the kernel of a network (a twin's stays), against time."""
    curves, moments = [], []
    measured = name != TWIN
    for spec in specs:
        watch = Watched(runner.task)
        try:
            result = run(spec, watch if measured else runner.task, plan=runner.plan(spec), device=runner.device)
        except (KernelError, DataError) as error:
            left_out[f"kernel of {name}"] = str(error)
            measured = False
            result = run(spec, runner.task, plan=runner.plan(spec), device=runner.device)
        curves.append(result.eval_curve)
        if measured:
            moments.append(tuple(watch.moments))
    return tuple(curves), tuple(moments)


def kernel_arm(task: Task, spec: RunSpec, seeds: Sequence[int], network: Arm) -> Arm:
    """The predictor of ntk's kernel in forward form, which is of order one and which SGD would train under.

    Descent goes on while its last stretch brings a part of what the network gains that would leave it unbracketed.
    """
    plan = infer_plan(replace(spec, optimizer="sgd", hyperparameters={"lr": 1.0}, form="forward"), task)
    stops = STOPS
    while True:
        with preserved_random_state():
            runs = [kernel_losses(task, plan, seed=seed, steps=spec.steps, stops=stops) for seed in seeds]
        stop, last_gain = best_setting({float(n): [losses[i] for losses in runs] for i, n in enumerate(stops)})
        if not stop or last_gain <= allowed_gain(network) or stops[-1] >= LAST_STOP:
            break
        stops = (*stops, 4 * stops[-1])
    return Arm(
        name=KERNEL,
        setting=f"{stop:g} full-batch steps",
        initial=tuple(losses[0] for losses in runs),
        final=tuple(losses[stops.index(int(stop))] for losses in runs),
        last_gain=last_gain,
    )


def _final(result: RunResult) -> float:
    return min(result.final_loss, result.initial_loss)


def _movement(swept: Sweep, x: float) -> dict[str, float]:
    rows = [r.movement for r in swept.results[x]]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if all(name in row for row in rows)}
