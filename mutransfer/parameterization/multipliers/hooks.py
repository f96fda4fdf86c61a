"""Multipliers at run time, on a use of a module and not on a tensor: hooks, and attributes of modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo.config
from torch import nn

from mutransfer.errors import PlanError

# Kept with the module: unpickling it reserves the hook's id, which another hook would otherwise take.
_HANDLES = "_mutransfer_hooks"
_ATTRIBUTES = "_mutransfer_attributes"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A multiplier that belongs to a use of a tensor, not to the tensor."""

    kind: str  # "tied readout", "attention logits"
    factor: float
    # "input": the module's first input is multiplied. "key": the keys that an nn.MultiheadAttention is given, whose
    # bias shifts all logits of a query alike and so drops out of the softmax. "output", or "output 1/3" for the second
    # third of its features. "attribute NAME": a float that the module multiplies with.
    mechanism: str


@dataclass(frozen=True)
class InputMultiplier:
    """A forward pre-hook on a module's first input: (W f) x + b for every linear map, bias untouched."""

    factor: float

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (args[0] * self.factor, *args[1:]), kwargs
        name = "input" if "input" in kwargs else next(iter(kwargs))
        return args, {**kwargs, name: kwargs[name] * self.factor}


@dataclass(frozen=True)
class KeyMultiplier:
    """A forward pre-hook on the ``key`` of an nn.MultiheadAttention."""

    factor: float

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if len(args) > 1:
            return (args[0], args[1] * self.factor, *args[2:]), kwargs
        return args, {**kwargs, "key": kwargs["key"] * self.factor}


@dataclass(frozen=True)
class OutputMultiplier:
    """A forward hook on a module's output, or on one of ``parts`` equal pieces of its last dimension."""

    factor: float
    part: int = 0
    parts: int = 1

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
        if self.parts == 1:
            return out * self.factor
        pieces = list(out.chunk(self.parts, dim=-1))
        pieces[self.part] = pieces[self.part] * self.factor
        return torch.cat(pieces, dim=-1)


def install(module: nn.Module, mechanism: str, factor: float) -> None:
    """Put a multiplier on a module."""
    # Else torch.compile reuses the graph of a plain model of the same class that it compiled before, without the hook.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    kind, _, detail = mechanism.partition(" ")
    if kind == "attribute":
        setattr(module, detail, getattr(module, detail) * factor)
        vars(module).setdefault(_ATTRIBUTES, {})[detail] = factor
        return
    if kind == "output":
        part, parts = map(int, detail.split("/")) if detail else (0, 1)
        handle: Any = module.register_forward_hook(OutputMultiplier(factor, part, parts))
    elif kind in ("input", "key"):
        hook = InputMultiplier(factor) if kind == "input" else KeyMultiplier(factor)
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    else:
        raise PlanError(f"unknown mechanism {mechanism!r}: was the plan made by a newer version?")
    vars(module).setdefault(_HANDLES, []).append(handle)


def uninstall(module: nn.Module) -> None:
    """Take off what :func:`install` put on."""
    for handle in vars(module).pop(_HANDLES, []):
        handle.remove()
    for name, factor in vars(module).pop(_ATTRIBUTES, {}).items():
        setattr(module, name, getattr(module, name) / factor)
