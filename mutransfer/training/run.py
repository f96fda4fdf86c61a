"""One run: RunSpec -> RunResult. Divergence and lack of memory are outcomes, not crashes."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch

from mutransfer.errors import BuildError, PlanError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.unscaled_sites import with_attention, with_readouts
from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state
from mutransfer.theory.rules import Parameterization, Role
from mutransfer.training.batches import batch_of, batch_size
from mutransfer.training.events import Sink, silent
from mutransfer.training.out_of_memory import free_memory, is_out_of_memory
from mutransfer.training.spec import Outcome, RunResult, RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.training.task_plan import infer_for_task, task_example
from mutransfer.training.training_loop import TrainingLoop
from mutransfer.widths import show_width


def run(
    spec: RunSpec,
    task: Task,
    *,
    plan: Plan | None = None,
    device: torch.device | str = "cpu",
    sink: Sink = silent,
) -> RunResult:
    """Train ``task`` as ``spec`` says. The global random state is left untouched.

    Args:
        plan: the Plan of this width, where it is at hand; None infers it.
        device: where to train.
        sink: receives :class:`Scalars` while training.

    A run that exhausts the memory is repeated with twice as many micro-batches, down to one example each.
    """
    with preserved_random_state():
        if plan is None:
            plan = infer_plan(spec, task)
        _check_plan(plan, spec)
        started = time.perf_counter()
        accumulate, limit = spec.accumulate, batch_size(batch_of(task, spec.seed, 0, spec.batch_size))
        where = torch.device(device)
        while (result := _unless_out_of_memory(spec, accumulate, task, plan, where, sink)) is None:
            if accumulate >= limit:
                nothing = math.inf
                result = RunResult(
                    outcome=Outcome.OUT_OF_MEMORY, initial_loss=nothing, final_loss=nothing, best_loss=nothing
                )
                break
            accumulate = min(2 * accumulate, limit)
        seconds = time.perf_counter() - started
        return replace(result, seconds=seconds, accumulate=accumulate, device=str(device))


def infer_plan(spec: RunSpec, task: Task, *, table: Parameterization | None = None, check: bool = False) -> Plan:
    """The plan that a spec names; ``table`` is the user's own parameterization of that name, if it is one.

    ``check``: whether to measure it on small models.
    """
    builds = Builds(task.build, base=spec.base_width, target=spec.width)
    plan = infer_for_task(task, builds, spec.recipe(table), check=check)
    if spec.width != spec.base_width and all(scaling.role is Role.SCALAR for scaling in plan.values()):
        raise BuildError(
            f"no parameter of {label_of(task)} changes its shape between width {show_width(spec.base_width)} and "
            f"{show_width(spec.width)}: its build ignores the width, so there is nothing to transfer"
        )
    if spec.hyperparameters.get("output_mult", 1.0) != 1.0:
        plan = with_readouts(plan, builds)
    if spec.hyperparameters.get("attention_mult", 1.0) != 1.0:
        plan = with_attention(plan, builds, task_example(task))
    return plan


def _check_plan(plan: Plan, spec: RunSpec) -> None:
    for name in ("width", "base_width", "parameterization", "optimizer", "form", "wd_policy", "scale_eps"):
        if getattr(plan, name) != getattr(spec, name):
            raise PlanError(f"the plan is for {name} {getattr(plan, name)}, the run for {getattr(spec, name)}")


def _unless_out_of_memory(spec: RunSpec, accumulate: int, *rest: Any) -> RunResult | None:
    """The result of one pass, or None where it exhausted the memory, which is then free again."""
    try:
        return TrainingLoop(spec, accumulate, *rest).train()
    except (RuntimeError, MemoryError, BuildError) as error:
        if not is_out_of_memory(error):
            raise
    free_memory()
    return None
