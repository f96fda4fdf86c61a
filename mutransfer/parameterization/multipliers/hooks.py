"""Multipliers at run time, on a use of a module and not on a tensor: hooks, and attributes of modules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo.config
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.sites import Mechanism, On

# Kept with the module: unpickling it reserves the hook's id, which another hook would otherwise take.
_HANDLES = "_mutransfer_hooks"
_ATTRIBUTES = "_mutransfer_attributes"
_SAME_FACTOR = 1e-9  # relative: a plan that was computed on another machine is the same
_NO_SCALES = ("drop", "eps", "momentum", "prob")  # in the names of floats that are something else


@dataclass(frozen=True)
class InputMultiplier:
    """A forward pre-hook on a module's first input: (W f) x + b for every linear map, bias untouched."""

    factor: float | torch.Tensor

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (args[0] * self.factor, *args[1:]), kwargs
        name = "input" if "input" in kwargs else next(iter(kwargs))
        return args, {**kwargs, name: kwargs[name] * self.factor}


@dataclass(frozen=True)
class KeyMultiplier:
    """A forward pre-hook on the ``key`` of an nn.MultiheadAttention."""

    factor: float | torch.Tensor

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if len(args) > 1:
            return (args[0], args[1] * self.factor, *args[2:]), kwargs
        return args, {**kwargs, "key": kwargs["key"] * self.factor}


@dataclass(frozen=True)
class OutputMultiplier:
    """A forward hook on a module's output, or on one of ``parts`` equal pieces of its last dimension."""

    factor: float | torch.Tensor
    part: int = 0
    parts: int = 1

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
        if self.parts == 1:
            return out * self.factor
        pieces = list(out.chunk(self.parts, dim=-1))
        pieces[self.part] = pieces[self.part] * self.factor
        return torch.cat(pieces, dim=-1)


def check_place(module: nn.Module, mechanism: Mechanism, path: str) -> None:
    """Raise PlanError where ``module`` has not what ``mechanism`` multiplies: a float scale of its own, or a key.

    What torch's own layers keep as floats are rates, eps and slopes.
    """
    if mechanism.on is On.ATTRIBUTE:
        value = vars(module).get(mechanism.name)
        own = type(module).__module__.startswith("torch.nn")
        if own or not isinstance(value, float) or any(word in mechanism.name for word in _NO_SCALES):
            kind = "an attribute of torch's own" if own and value is not None else type(value).__name__
            raise PlanError(
                f"the plan multiplies {mechanism.name!r} of {path or 'the model'} ({type(module).__name__}): expected "
                f"a float that scales attention, found {kind if value is not None else 'no such attribute'}"
            )
    if mechanism.on is On.KEY and not isinstance(module, nn.MultiheadAttention):
        raise PlanError(
            f"the plan multiplies the key of {path or 'the model'}: expected an nn.MultiheadAttention, found "
            f"{type(module).__name__}"
        )


def put_on(module: nn.Module, mechanism: Mechanism, factor: float | torch.Tensor) -> None:
    """Multiply by ``factor`` what ``mechanism`` says, from now on."""
    # Else torch.compile reuses the graph of a plain model of the same class that it compiled before, without the hook.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    match mechanism.on:
        case On.ATTRIBUTE:
            setattr(module, mechanism.name, getattr(module, mechanism.name) * factor)
            vars(module).setdefault(_ATTRIBUTES, {})[mechanism.name] = factor
            return
        case On.OUTPUT:
            hook = OutputMultiplier(factor, mechanism.part, mechanism.parts)
            handle: Any = module.register_forward_hook(hook)
        case On.INPUT:
            handle = module.register_forward_pre_hook(InputMultiplier(factor), with_kwargs=True)
        case On.KEY:
            handle = module.register_forward_pre_hook(KeyMultiplier(factor), with_kwargs=True)
    vars(module).setdefault(_HANDLES, []).append(handle)


def is_on(module: nn.Module, mechanism: Mechanism, factor: float) -> bool:
    """Whether :func:`put_on` was called on this very module (or on what it was copied from), and not undone."""
    if mechanism.on is On.ATTRIBUTE:
        on = vars(module).get(_ATTRIBUTES, {}).get(mechanism.name)
        return on is not None and math.isclose(on, factor, rel_tol=_SAME_FACTOR)
    kind = {On.INPUT: InputMultiplier, On.KEY: KeyMultiplier, On.OUTPUT: OutputMultiplier}[mechanism.on]
    hooks = module._forward_hooks if mechanism.on is On.OUTPUT else module._forward_pre_hooks
    return any(
        isinstance(hook, kind)
        and math.isclose(hook.factor, factor, rel_tol=_SAME_FACTOR)
        and (not isinstance(hook, OutputMultiplier) or (hook.part, hook.parts) == (mechanism.part, mechanism.parts))
        for hook in hooks.values()
    )


def take_off(module: nn.Module) -> None:
    """Undo every :func:`put_on`."""
    for handle in vars(module).pop(_HANDLES, []):
        handle.remove()
    for name, factor in vars(module).pop(_ATTRIBUTES, {}).items():
        setattr(module, name, getattr(module, name) / factor)
