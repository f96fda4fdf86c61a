"""The duties of a callback for a run under a plan, whichever trainer calls it: guard, clip, measure, compare plans."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import nn

from mutransfer.errors import ConfigError, PlanError
from mutransfer.integrations.probe_movement import ProbeMovement
from mutransfer.parameterization.groups.clipping import clip_grad_norm_
from mutransfer.parameterization.groups.lr_guard import check_lr
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.plan_file import plan_differences
from mutransfer.parameterization.wrapping.fit import check_in_place
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan
from mutransfer.widths import show_width


class Monitor:
    """One training run under a plan.

    Args:
        plan: the plan that the model is under.
        every: optimizer steps between looks at the learning rates.
        clip_norm: threshold of :func:`~mutransfer.clip_grad_norm_`; None does not clip.
        movement_every, probe, probe_rows: of :class:`ProbeMovement`.

    Raises:
        ConfigError: a number that cannot be used.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        every: int = 1,
        clip_norm: float | None = None,
        movement_every: int = 1,
        probe: Any = None,
        probe_rows: int = 8,
    ) -> None:
        if every < 1 or movement_every < 0 or probe_rows < 1 or (clip_norm is not None and not clip_norm > 0):
            raise ConfigError(
                f"every={every} and probe_rows={probe_rows} must be at least 1, movement_every={movement_every} at "
                f"least 0, clip_norm={clip_norm} positive or None"
            )
        self.plan, self.every, self.clip_norm = plan, every, clip_norm
        self.movement = ProbeMovement(plan, every=movement_every, probe=probe, rows=probe_rows)
        self.net = nn.Module()
        self._steps = 0
        self._begun = False

    def begin(
        self,
        model: nn.Module,
        *,
        step: int,
        plain_clip: tuple[str, float],
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Call when training starts.

        Args:
            model: what is trained; the plan's own model may be a part of it.
            step: optimizer steps taken already, by a run that is resumed.
            plain_clip: the trainer's own setting for gradient clipping, by name, and its value.
            context: what the trainer runs forward passes in (autocast).

        Raises:
            PlanError: the plan is for another model, or is not on this one.
        """
        self.net, self._steps = part_of(model, self.plan), 0
        check_applied(self.net, self.plan)
        self._begun = True
        self._warn_of_plain_clipping(*plain_clip)
        self.movement.watch(self.net, step=step, context=context)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Call when gradients are complete and unscaled, before the optimizer uses them.

        Raises:
            PlanError: the learning rates no longer follow the plan; or there is no gradient to clip.
        """
        if self._steps % self.every == 0:
            check_lr(optimizer)
        self._steps += 1
        if self.clip_norm is not None:
            if all(p.grad is None for p in self.net.parameters()):
                raise PlanError(
                    "no parameter has a gradient to clip: an engine that keeps gradients to itself, as DeepSpeed "
                    "does, must clip by its own setting. Leave out clip_norm."
                )
            clip_grad_norm_(self.net, self.plan, self.clip_norm)
        self.movement.before_first_step()

    def before_save(self) -> None:
        """Call before a checkpoint is written.

        Raises:
            PlanError: the model is no longer under the plan, since a module was replaced.
        """
        if self._begun:
            check_in_place(self.net, self.plan)

    def _warn_of_plain_clipping(self, setting: str, threshold: float) -> None:
        if not threshold or all(s.norm_mult == 1.0 for s in self.plan.values()):
            return
        form = ", least of all in the absorbed form, where gradients carry the multipliers"
        warnings.warn(
            f"{setting}={threshold:g} clips by a norm that does not mean the same at width "
            f"{show_width(self.plan.width)} as at {show_width(self.plan.base_width)}"
            f"{form if self.plan.form == 'absorbed' else ''}. Set {setting}=0 and give the callback clip_norm=..., "
            "which clips by mutransfer.clip_grad_norm_",
            stacklevel=4,
        )


def part_of(model: nn.Module, plan: Plan) -> nn.Module:
    """The module whose parameters are the plan's: ``model`` itself, or one that it holds.

    Raises:
        PlanError: there is none.

    >>> import mutransfer as mt
    >>> net, plan = mt.parameterize(lambda width: nn.Sequential(nn.Linear(8, width)), width=256, base_width=64)
    >>> part_of(nn.ModuleDict({"net": net}), plan) is net
    True
    """
    for module in model.modules():
        names = [name for name, _ in module.named_parameters()]
        if len(names) == len(plan) and {canonical(name, plan.keys()) for name in names} == plan.keys():
            return unwrapped(module)
    raise PlanError(
        f"the plan is for another model: no part of {type(model).__name__} has exactly its {len(plan)} parameters. "
        "Adapters, and FSDP before version 2, change their names."
    )


def check_applied(model: nn.Module, plan: Plan) -> None:
    """Raise PlanError where ``model`` is under another plan, or lacks the multipliers that this one asks for."""
    found = applied_plan(model)
    if found is not None:
        check_same(found, plan, "the model is")
    check_in_place(model, plan)


def check_same(found: Plan, plan: Plan, what: str) -> None:
    """Raise PlanError where ``found`` does not train as ``plan`` does; ``what`` begins the message.

    >>> import mutransfer as mt
    >>> plans = [mt.Plan.infer(lambda width: nn.Linear(8, width), width=256, base_width=base) for base in (64, 128)]
    >>> check_same(*plans, "the checkpoint was saved")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    mutransfer.errors.PlanError: the checkpoint was saved under another plan: base_width 64, here 128; ...
    """
    if found != plan and (odd := list(islice(plan_differences(found.to_dict(), plan.to_dict()), 3))):
        raise PlanError(f"{what} under another plan: {'; '.join(odd)}")
