"""The frozen-feature twin of a task: the same data, loss and evaluation, the model linearised where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mutransfer.errors import ConfigError
from mutransfer.kernels.linearize import linearize
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import label_of
from mutransfer.training.task_adapters import TaskAround
from mutransfer.transfer.runs.runner import Runner
from mutransfer.widths import Width, show_width


@dataclass(frozen=True)
class TwinTask(TaskAround):
    """``task`` with the first-order Taylor model of its network at initialisation under ``plan``.

    The twin has the network's parameters, initial outputs and tangent kernel, and keeps that kernel while it trains.
    """

    plan: Plan

    def build(self, width: Width, /) -> nn.Module:
        if width != self.plan.width:
            raise ConfigError(f"the twin is of width {show_width(self.plan.width)}, asked for {show_width(width)}")
        return linearize(apply(self.task.build(width), self.plan))

    def __repr__(self) -> str:
        return f"linearised {label_of(self.task)}"


class TwinRunner(Runner):
    """Does runs of a twin, under the plan that it was made with."""

    def __init__(self, twin: TwinTask, **settings: Any) -> None:
        super().__init__(twin, **settings)
        self._training = training_plan(twin.plan)

    def plan(self, spec: RunSpec) -> Plan:
        return self._training


def training_plan(plan: Plan) -> Plan:
    """The plan's learning rates alone, for the twin: initialisation and multipliers are in its Taylor model.

    The multipliers act inside the expansion, where the twin's gradients feel them as the network's do.
    """
    scalings: Mapping[str, Any] = {n: replace(s, init_mult=1.0, forward_mult=1.0) for n, s in plan.items()}
    return replace(plan, scalings=scalings, sites={})
