"""Floating-point operations of a training step, counted on one."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state
from mutransfer.training.events import silent
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task
from mutransfer.training.training_loop import TrainingLoop


def flops_per_step(spec: RunSpec, task: Task, plan: Plan, device: torch.device | str = "cpu") -> float:
    """Operations of products, convolutions and attention in one step, forward and backward, by torch's own count.

    The global random state is left untouched. Evaluations are not in it.
    """
    where = torch.device(device)
    with preserved_random_state():
        loop = TrainingLoop(spec, spec.accumulate, task, plan, where, silent)
        with FlopCounterMode(display=False) as counter:
            loop.step(0)
    return float(counter.get_total_flops())
