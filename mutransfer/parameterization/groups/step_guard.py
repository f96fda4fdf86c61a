"""The guard of optimizer steps: whoever trains a wrapped model, by whatever loop, is told where the plan is lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.lr_guard import TOLERANCE
from mutransfer.parameterization.groups.plain_clipping import PlainClipping, of_plain_clipping
from mutransfer.parameterization.groups.step_checks import shares
from mutransfer.parameterization.groups.tensor_access import may_read

Mode = Literal["raise", "warn", "off"]

_mode: Mode = "raise"
_installed = False
_ROUNDED = 1e-4  # relative: by so much rates in tensors may be off before it is asked why
_SELDOM = 8  # the step of the next whole look over that of the last
_AT_ONCE = 8  # groups whose rates are compared at every step; of more, at every second step and so on


def guard(mode: Mode) -> AbstractContextManager[Any]:
    """Say what happens where an optimizer's step would not follow the plan of a wrapped model: raise, warn, or nothing.

    From the first model on that is wrapped, every torch optimizer is looked at before it steps. At steps 1, 2, 16, 128
    and so on: whether it is of the kind that the plan is for, whether rates, weight decay and eps have the plan's
    ratios, whether modules were replaced since wrapping, and whether gradients seem to be clipped by their plain norm.
    At the others: the rates; where they are tensors on a device, at steps 1, 2, 4, 8 and so on. Compiled steps are not
    looked at, and nothing is read from a device under graph capture.

    Args:
        mode: "raise", where nothing is said: raise what is certain, warn of what is not. "warn": warn, once per
            optimizer. "off": look at nothing.

    Returns:
        A context: on leaving it, the mode is as before. Without ``with`` the mode stays.

    >>> import torch, mutransfer as mt
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, width))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    >>> model(torch.ones(1, 8)).sum().backward()
    >>> with mt.guard("off"):
    ...     optimizer.step()
    >>> optimizer.step()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    mutransfer.errors.PlanError: AdamW does not follow the plan: ...
    """
    global _mode
    if mode not in get_args(Mode):
        raise PlanError(f"guard must be one of {', '.join(get_args(Mode))}, found {mode!r}")
    before, _mode = _mode, mode
    context = ExitStack()
    context.callback(guard, before)
    return context


def watch_steps() -> None:
    """Look at every optimizer before it steps, from now on; called when a plan is put on the first model.

    The hook is torch's global one: an optimizer that was made from ``model.parameters()`` never passes through here.
    """
    global _installed
    if not _installed:
        register_optimizer_step_pre_hook(before_any_step)
        _installed = True


class _Watch:
    """What is known of one optimizer. It holds neither that nor its parameters, which die when their user lets go."""

    def __init__(self) -> None:
        self.steps = 0
        self.due = 1  # the step of the next whole look
        self.count = 0  # groups at the last one
        self.rates: list[list[tuple[int, float]]] = []  # of each model: groups of the plan, with their factors
        self.every = 1
        self.clipping = PlainClipping()
        self.clipped = ""  # what to say if so
        self.told: set[str] = set()

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.steps += 1
        groups = optimizer.param_groups
        if self.steps >= self.due or len(groups) != self.count:
            self._look(optimizer)
            self.count, self.due = len(groups), 2 if self.steps == 1 else _SELDOM * self.steps
        elif self.steps % self.every == 0 and any(_drifted(groups, rates, self.steps) for rates in self.rates):
            for share in shares(optimizer):
                self._judge("rates", share.check_rates)
        if self.clipping.sets and self.clipping.seen():
            self._tell("clipping", self.clipped)

    def _look(self, optimizer: torch.optim.Optimizer) -> None:
        found = shares(optimizer)
        self.rates = [share.rates() for share in found]
        self.every = 1 + sum(map(len, self.rates)) // _AT_ONCE
        for share in found:
            if self._judge("plan", share.check):
                for text in share.doubts():
                    self._tell(text, text)
        # Where all weights of mutransfer's own norm are alike, its clipping looks as the plain norm's does.
        sensitive = [share for share in found if len({s.norm_mult for s in share.plan.values()}) > 1]
        if sensitive and not self.clipping.sets:
            self.clipped = of_plain_clipping(sensitive[0].plan)
            everything = [p for group in optimizer.param_groups for p in group["params"]]
            candidates = [everything, *(list(share.model.parameters()) for share in sensitive)]
            self.clipping.begin(list({frozenset(map(id, some)): some for some in candidates}.values()))

    def _judge(self, what: str, check: Callable[[], None]) -> bool:
        try:
            check()
        except PlanError as error:
            if _mode == "raise":
                raise
            self._tell(what, str(error))
            return False
        return True

    def _tell(self, what: str, text: str) -> None:
        if what not in self.told:
            self.told.add(what)
            warnings.warn(text, stacklevel=2)


def before_any_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """The hook, in the form that torch asks for."""
    if _mode == "off" or torch.compiler.is_compiling():
        return
    watch = _watches.get(optimizer)
    if watch is None:
        watch = _watches[optimizer] = _Watch()
    watch.before_step(optimizer)


def _drifted(groups: Sequence[dict[str, Any]], rates: Sequence[tuple[int, float]], step: int) -> bool:
    """Whether rates are perhaps off. To read a tensor on a device is to wait for it: at steps 1, 2, 4, 8 and so on."""
    first = 0.0
    for number, mult in rates:
        rate, close = groups[number]["lr"], TOLERANCE
        if isinstance(rate, torch.Tensor):
            if rate.device.type != "cpu" and (step & (step - 1) or not may_read(rate)):
                return False
            rate, close = float(rate), _ROUNDED
        if rate and mult:
            base = rate / mult
            if first and abs(base - first) > close * abs(first):
                return True
            first = first or base
    return False


_watches: WeakKeyDictionary[torch.optim.Optimizer, _Watch] = WeakKeyDictionary()
