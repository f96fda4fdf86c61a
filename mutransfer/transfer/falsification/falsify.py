"""The frozen-feature control: would what the network learns also be learned with the features that it begins with?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mutransfer.errors import ConfigError, DataError, KernelError
from mutransfer.theory.content import named_by_content
from mutransfer.theory.rules import Parameterization
from mutransfer.training.events import Note, Sink, silent
from mutransfer.training.extra_hyperparameters import LR_MULTS, MULTIPLIERS
from mutransfer.training.optimizers.table import optimizer_rule
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task, check_task, label_of
from mutransfer.transfer.falsification.arms import kernel_arm, trained_arm
from mutransfer.transfer.falsification.finding import KERNEL, TWIN, Arm, explained_part, finding_of
from mutransfer.transfer.falsification.result import Falsification
from mutransfer.transfer.falsification.twin import TwinRunner, TwinTask
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.runs.seeds import seed_tuple
from mutransfer.transfer.search.tune import make_template
from mutransfer.widths import Width


def falsify(
    task: Task,
    *,
    width: Width,
    base_width: Width | None = None,
    parameterization: str | Parameterization = "mup",
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
    seed_list, others = seed_tuple(seeds), dict(hyperparameters or {})
    base = width if base_width is None else base_width
    table = named_by_content(parameterization)
    _check_asked(seed_list, others)
    template = make_template(
        check_task(task),
        base_width=base,
        parameterization=table,
        point={**others, "lr": 1.0},
        optimizer=optimizer,
        steps=steps,
        **training,
    )
    template = replace(template, width=width)
    lowest, highest = optimizer_rule(optimizer).log2_lrs
    points = list(range(lowest, highest + 1, 2)) if grid is None else list(grid)
    if not points:
        raise ConfigError("falsify needs at least one log2 learning rate in grid")
    record = Record() if record is None else record
    learners = _learners(task, template, table, record=record, device=device, sink=sink, members=members)
    left_out: dict[str, str] = {}
    if width == base:
        left_out["ntk"] = "at base width every parameterization is the same model"
    arms: dict[str, Arm] = {}
    for name, (runner, spec) in learners.items():
        arms[name] = trained_arm(name, runner, spec, points, seed_list, left_out)
        sink(Note(text=f"{name}: {arms[name].setting}, final loss {np.mean(arms[name].final):.4g}"))
    network = next(iter(arms.values()))
    try:
        arms[KERNEL] = kernel_arm(task, replace(template, parameterization="ntk"), seed_list, network)
    except (KernelError, DataError) as error:
        left_out[KERNEL] = str(error)
    explained = {name: explained_part(network, arm) for name, arm in arms.items() if arm is not network}
    finding, reason = finding_of(network, [arms[name] for name in (TWIN, KERNEL) if name in arms], explained)
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


def _check_asked(seeds: Sequence[int], hyperparameters: Mapping[str, float]) -> None:
    if len(set(seeds)) < 2:
        raise ConfigError(f"falsify needs at least two different seeds for an interval, found {list(seeds)}")
    if "lr" in hyperparameters:
        raise ConfigError("falsify searches the learning rate of every learner: give grid, not hyperparameters['lr']")
    if scaled := [n for n, x in hyperparameters.items() if n in MULTIPLIERS and n not in LR_MULTS and x != 1.0]:
        raise ConfigError(
            f"falsify linearises the network at its own initialisation and output scale, found {', '.join(scaled)}"
        )


def _learners(
    task: Task, template: RunSpec, table: Parameterization, **settings: Any
) -> dict[str, tuple[Runner, RunSpec]]:
    """The network under its parameterization, under ntk where that is another model, and the linearised twin."""
    frozen = replace(template, parameterization="ntk")
    twin = TwinTask(task, infer_plan(frozen, task))
    learners: dict[str, tuple[Runner, RunSpec]] = {table.name: (Runner(task, tables=[table], **settings), template)}
    if template.width != template.base_width:
        learners["ntk"] = (Runner(task, **settings), frozen)
    learners[TWIN] = (TwinRunner(twin, **settings), replace(frozen, task=label_of(twin)))
    return learners
