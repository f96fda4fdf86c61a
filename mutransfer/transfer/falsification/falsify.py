"""The frozen-feature control: would what the network learns also be learned with the features that it begins with?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from mutransfer.errors import ConfigError, DataError, KernelError
from mutransfer.intervals import Interval
from mutransfer.random_state import preserved_random_state
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.extra_hyperparameters import LR_MULTS, MULTIPLIERS
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.run import infer_plan, run
from mutransfer.training.spec import RunResult, RunSpec
from mutransfer.training.task import Task, check_task, label_of
from mutransfer.transfer.falsification.finding import (
    KERNEL,
    TWIN,
    Arm,
    Finding,
    allowed_gain,
    best_setting,
    explained_part,
    judge,
)
from mutransfer.transfer.falsification.kernel_movement import Moment, Watched
from mutransfer.transfer.falsification.kernel_predictor import LAST_STOP, STOPS, kernel_losses
from mutransfer.transfer.falsification.twin import TwinRunner, TwinTask
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.sweep import Sweep, at_lr, sweep
from mutransfer.transfer.search.tune import make_template
from mutransfer.widths import Width, show_width

MOMENTS = 8  # evaluations of a curve against time, beyond the first


@dataclass(frozen=True, kw_only=True)
class Falsification:
    """What :func:`falsify` found. ``arms``: the network under study first, then the controls."""

    task: str
    width: Width
    base_width: Width
    finding: Finding
    reason: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]
    explained: Mapping[str, Interval]  # control -> part of the network's improvement, 90 %
    left_out: Mapping[str, str]  # what was not done or measured -> why

    @property
    def sentence(self) -> str:
        """What was found, for a person."""
        network = f"{next(iter(self.arms))} at width {show_width(self.width)}"
        return {
            Finding.FEATURES_NEEDED: f"with frozen features, {network} would not have learned this",
            Finding.FROZEN_SUFFICES: f"what {network} learned is also learned with frozen features",
            Finding.INCONCLUSIVE: f"the runs cannot tell whether {network} needs its features to move",
        }[self.finding] + f": {self.reason}."

    @property
    def exit_code(self) -> int:
        """0: features are needed; 1: frozen features suffice, so that a claim about features falls; 3: inconclusive."""
        return {Finding.FEATURES_NEEDED: 0, Finding.FROZEN_SUFFICES: 1, Finding.INCONCLUSIVE: 3}[self.finding]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is unknown is None."""
        explained = {name: asdict(part) if math.isfinite(part.value) else None for name, part in self.explained.items()}
        arms = {
            name: {**asdict(arm), "moments": [[m._asdict() for m in seed] for seed in arm.moments]}
            for name, arm in self.arms.items()
        }
        told = {"finding": str(self.finding), "sentence": self.sentence, "explained": explained, "arms": arms}
        return {**asdict(self), **told}


def falsify(
    task: Task,
    *,
    width: Width,
    base_width: Width | None = None,
    parameterization: str = "mup",
    optimizer: str = "adamw",
    hyperparameters: Mapping[str, float] | None = None,
    grid: Sequence[float] | None = None,
    seeds: int | Sequence[int] = 3,
    steps: int = 100,
    record: Record | None = None,
    device: torch.device | str | None = None,
    sink: Sink = silent,
    members: int | None = None,
    **training: Any,
) -> Falsification:
    """Train the network and its frozen-feature controls at ``width``; say how much of its improvement they explain.

    With the same data, seeds and steps, each at its own best learning rate:

    - the network under ``parameterization``, and under ntk;
    - its linearised twin, f(x; th0) + J(x; th0) (th - th0), with the same optimizer, initialised and trained under
      ntk: frozen features are what ntk comes to as width grows;
    - where examples times outputs are at most 1024, the kernel predictor: full-batch descent under the tangent kernel
      of all training examples, stopped when its evaluation is best. With more it is left out, and ``left_out`` says so.

    A control explains (I - C) / (I - N) of the improvement, with C its final evaluation, and I and N the network's
    initial and final one: per seed, with a 90 % t-interval over seeds. The finding is about the control that explains
    most. FEATURES_NEEDED: its interval lies below 0.8; FROZEN_SUFFICES: above. Four fifths, because a control that is
    tuned on a grid of half octaves, for one budget, may miss some percent of what it could reach, but not a fifth;
    INCONCLUSIVE where the interval holds 0.8, the network did not improve, or a learning rate was not bracketed.

    Over training it measures the network's tangent kernel on up to 32 probe examples against the initial one (relative
    drift, kernel distance), its centred alignment with the targets (-dL/df at f = 0), and feature movement.

    Args:
        base_width: where hyperparameters are told; None: ``width``, where every parameterization is the user's own
            model. ntk is then the network itself and left out.
        hyperparameters: others than the learning rate.
        grid: log2 learning rates at base width; extended and refined for each learner. None: a range for the optimizer.
        seeds: how many, or which; at least two.
        training: further fields of RunSpec.

    Learning rates are chosen by the evaluation that is reported, for all learners alike.

    Raises ConfigError for fewer than two seeds or an unknown setting; BuildError where the model cannot be built.

    Source: Chizat, Oyallon & Bach 2019, "On lazy training in differentiable programming"; Fort et al. 2020, "Deep
    learning versus kernel learning".
    """
    seed_list = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if len(set(seed_list)) < 2:
        raise ConfigError(f"falsify needs at least two different seeds for an interval, found {list(seed_list)}")
    base = width if base_width is None else base_width
    others = dict(hyperparameters or {})
    if "lr" in others:
        raise ConfigError("falsify searches the learning rate of every learner: give grid, not hyperparameters['lr']")
    if scaled := [n for n, x in others.items() if n in MULTIPLIERS and n not in LR_MULTS and x != 1.0]:
        raise ConfigError(
            f"falsify linearises the network at its own initialisation and output scale, found {', '.join(scaled)}"
        )
    template = make_template(
        check_task(task),
        base_width=base,
        parameterization=parameterization,
        point={**others, "lr": 1.0},
        optimizer=optimizer,
        steps=steps,
        **training,
    )
    template = replace(template, width=width)
    lowest, highest = optimizer_rule(optimizer).log2_lrs
    points = list(grid) if grid is not None else list(range(lowest, highest + 1, 2))
    if not points:
        raise ConfigError("falsify needs at least one log2 learning rate in grid")
    kept = Record() if record is None else record
    settings: dict[str, Any] = {"record": kept, "device": device, "sink": sink, "members": members}
    frozen = replace(template, parameterization="ntk")
    twin = TwinTask(task, infer_plan(frozen, task))
    learners: dict[str, tuple[Runner, RunSpec]] = {parameterization: (Runner(task, **settings), template)}
    left_out: dict[str, str] = {}
    if width == base:
        left_out["ntk"] = "at base width every parameterization is the same model"
    else:
        learners["ntk"] = (Runner(task, **settings), frozen)
    learners[TWIN] = (TwinRunner(twin, **settings), replace(frozen, task=label_of(twin)))
    arms: dict[str, Arm] = {}
    for name, (runner, spec) in learners.items():
        arms[name] = _trained(name, runner, spec, points, seed_list, left_out)
        sink(Note(text=f"{name}: {arms[name].setting}, final loss {np.mean(arms[name].final):.4g}"))
    try:
        arms[KERNEL] = _kernel_arm(task, frozen, seed_list, next(iter(arms.values())))
    except (KernelError, DataError) as error:
        left_out[KERNEL] = str(error)
    network, *controls = arms.values()
    explained = {arm.name: explained_part(network, arm) for arm in controls}
    finding, reason = judge(network, [a for a in controls if a.name in (TWIN, KERNEL)], explained)
    return Falsification(
        task=label_of(task),
        width=width,
        base_width=base,
        finding=finding,
        reason=reason,
        seeds=seed_list,
        arms=arms,
        explained=explained,
        left_out=left_out,
    )


def _trained(
    name: str, runner: Runner, spec: RunSpec, grid: Sequence[float], seeds: Sequence[int], left_out: dict[str, str]
) -> Arm:
    """The learner's sweep, and once more its best learning rate to see how it gets there."""
    found = sweep(runner, spec, grid, seeds, title=f"falsify: {name}, width {show_width(spec.width)}")
    x, last_gain = best_setting({x: [_final(r) for r in found.results[x]] for x in found.results})
    results = found.results[x]
    every = max(1, spec.steps // MOMENTS)
    watched = [replace(at_lr(spec, x, seed), eval_every=every) for seed in seeds]
    curves, moments = _watch(name, runner, watched, left_out)
    return Arm(
        name=name,
        setting=f"learning rate 2^{x:g}",
        initial=tuple(r.initial_loss for r in results),
        final=tuple(map(_final, results)),
        last_gain=last_gain,
        curves=curves,
        moments=moments,
        movement=_movement(found, x),
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


def _kernel_arm(task: Task, spec: RunSpec, seeds: Sequence[int], network: Arm) -> Arm:
    """Of ntk's kernel in forward form, which is of order one and which SGD would train under.

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


def _movement(found: Sweep, x: float) -> dict[str, float]:
    rows = [r.movement for r in found.results[x]]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if all(name in row for row in rows)}
