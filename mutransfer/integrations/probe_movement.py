"""Feature movement in somebody else's training loop: activations on a fixed batch, before the first step and now."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from mutransfer.errors import DataError
from mutransfer.parameterization.measuring.activations import activations, relative_changes
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.random_state import preserved_random_state
from mutransfer.theory.rules import Role
from mutransfer.training.batches import batch_size, device_of, to_device

ProbeCall = tuple[tuple[Any, ...], dict[str, Any]]  # arguments of the model


class ProbeMovement:
    """A measure of how far activations are from their start on a fixed batch; training is left as it was, bit for bit.

    Args:
        plan: names the readouts.
        every: logging steps between measurements; 0 measures nothing.
        probe: the batch, as the model takes it (a mapping of keyword arguments, a tuple, a tensor). None: the first
            ``rows`` rows of the first training batch. Kept are the outputs of every module for it, on the CPU.

    ``changes`` holds ||h_t - h_0|| / ||h_0|| of every module when last measured.
    """

    def __init__(self, plan: Plan, *, every: int, probe: Any, rows: int) -> None:
        self.plan, self.every, self.rows = plan, every, rows
        self.given = None if probe is None else _call(probe)
        self.changes: dict[str, float] = {}
        self._net = nn.Module()
        self._context: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._probe: ProbeCall | None = None
        self._reference: dict[str, Tensor] = {}
        self._hook: RemovableHandle | None = None
        self._wanted, self._logged = False, 0

    def watch(self, net: nn.Module, *, step: int, context: Callable[[], AbstractContextManager[Any]]) -> None:
        """Call when training starts, after ``step`` steps; ``context`` is what forward passes run in."""
        self._net, self._context, self._logged = net, context, 0
        self._unhook()
        if step == 0:
            self._probe, self._reference = self.given, {}
        self._wanted = self.every > 0 and not self._reference
        if self._wanted and step > 0:
            self._wanted = False
            warnings.warn(
                f"training goes on from step {step} without the activations of step 0: no movement is measured",
                stacklevel=4,
            )
        if self._wanted and self._probe is None:
            self._hook = net.register_forward_pre_hook(self._see, with_kwargs=True)

    def before_first_step(self) -> None:
        """Call before every optimizer step; the first one takes the activations that later ones are compared with."""
        if not self._wanted:
            return
        self._wanted = False
        self._unhook()
        if self._probe is not None:
            self._reference = self._activations()
            return
        warnings.warn(
            "no training batch was seen (the model is compiled, or its forward is not called): no movement is "
            "measured. Give the callback a batch as probe=.",
            stacklevel=4,
        )

    def log_values(self) -> dict[str, float]:
        """Call at every logging step: what to log then, keys ``movement/median``, ``.../largest``, ``.../readout``."""
        self._logged += 1
        if not self._reference or not self.every or self._logged % self.every:
            return {}
        changes = relative_changes(self._reference, self._activations())
        self.changes = {name: x for name, x in changes.items() if math.isfinite(x)}
        if not self.changes:
            return {}
        values = sorted(self.changes.values())
        logged = {"movement/median": statistics.median(values), "movement/largest": values[-1]}
        if readouts := [self.changes[path] for path in _readouts(self.plan) if path in self.changes]:
            logged["movement/readout"] = statistics.median(readouts)
        return logged

    def state(self) -> dict[str, Any]:
        """The state that a resumed run goes on measuring from; empty where that is not tensors and numbers."""
        if not self._reference or not _is_plain(self._probe):
            return {}
        return {"probe": to_device(self._probe, "cpu"), "reference": self._reference}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over the :meth:`state` of the run that is resumed."""
        self._probe, self._reference = state.get("probe"), dict(state.get("reference", {}))

    def _see(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # Inside a compiled graph the hook would become part of it and stay.
        if module.training and self._probe is None and not torch.compiler.is_compiling():
            self._probe = _rows((args, kwargs), self.rows)

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _activations(self) -> dict[str, Tensor]:
        args, kwargs = to_device(self._probe, device_of(self._net))
        with preserved_random_state(), torch.compiler.set_stance("force_eager"), self._context():
            try:
                outputs = activations(self._net, lambda: self._net(*args, **kwargs))
            except (TypeError, ValueError, IndexError, RuntimeError) as error:
                raise DataError(f"the model cannot run on the probe batch: {error}. Give another as probe=.") from error
        for module in self._net.modules():
            # A forward pass without a backward leaves FSDP2's root unsharded, and the next would see old weights.
            if isinstance(module, FSDPModule):
                module.reshard()
        return {name: x.cpu() for name, x in outputs.items()}


def _call(probe: Any) -> ProbeCall:
    if isinstance(probe, Mapping):
        return (), dict(probe)
    return (tuple(probe) if isinstance(probe, tuple | list) else (probe,)), {}


def _rows(call: ProbeCall, rows: int) -> ProbeCall:
    size = batch_size(call)

    def cut(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return (x[:rows] if x.ndim and x.shape[0] == size else x).detach().clone()

    return tree_map(cut, call)


def _readouts(plan: Plan) -> list[str]:
    readouts = [owner(name) for name, s in plan.items() if s.role is Role.OUTPUT]
    return [*readouts, *(path for path, site in plan.sites.items() if site.kind is SiteKind.TIED_READOUT)]


def _is_plain(x: Any) -> bool:
    """Whether ``torch.load(weights_only=True)`` reads it back; anything else would spoil a checkpoint."""
    if type(x) in (tuple, list):
        return all(map(_is_plain, x))
    if type(x) is dict:
        return all(map(_is_plain, x.values()))
    return x is None or isinstance(x, Tensor | bool | int | float | str)
