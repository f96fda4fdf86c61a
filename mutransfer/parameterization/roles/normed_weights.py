"""Weights that torch's weight_norm and spectral_norm make of a parameter whose own size does nothing.

They scale as the weight of a plain layer does but for the multiplier: absorbed into such a parameter it would do
nothing, so it always stands on the layer's input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils import parametrizations, parametrize

from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.roles.parameter import Parameter

_INSIDE = ".parametrizations."


@dataclass(frozen=True)
class NormedWeight:
    """The layer that computes with a normed weight, and how it is normed."""

    path: str
    layer: nn.Module
    gain: str | None  # name of the parameter that gives it a size again; None: its largest singular value is 1


def normed_weight(model: nn.Module, name: str) -> NormedWeight | None:
    """What is computed with the parameter ``name``, where that is what a norm is taken of; else None."""
    outer, _, inner = f".{name}".rpartition(_INSIDE)
    if inner == "weight.original1" and _is_first(model, outer[1:], parametrizations._WeightNorm):
        return _named(model, outer[1:], f"{name[:-1]}0")
    if inner == "weight.original" and _is_first(model, outer[1:], parametrizations._SpectralNorm):
        return _named(model, outer[1:], None)
    path, _, attribute = name.rpartition(".")
    if attribute == "weight_v" and hasattr(model.get_submodule(path), "weight_g"):
        return _named(model, path, f"{name[:-1]}g")
    if attribute == "weight_orig" and hasattr(model.get_submodule(path), "weight_u"):
        return _named(model, path, None)
    return None


def module_of(name: str) -> str:
    """The path of the module whose input is multiplied for the parameter ``name``.

    >>> module_of("head.parametrizations.weight.original1"), module_of("head.weight_v"), module_of("weight")
    ('head', 'head', '')
    """
    path = owner(name)
    return "" if path == "model" else path


def normed_growth(parameter: Parameter, drawn: float, gain: float) -> float:
    """How the entries of the normed weight grow from base to target.

    Args:
        drawn: how the parameter itself does, and so a weight that starts with the norm that it was drawn with.
        gain: what the plan multiplies that norm with.
    """
    if parameter.gain is not None:
        return drawn * gain
    first, second = ((s[0], math.prod(s[1:])) for s in parameter.shapes[:2])  # of a random matrix's singular values,
    return sum(map(math.sqrt, first)) / sum(map(math.sqrt, second))  # the largest is as large as this


def _is_first(model: nn.Module, path: str, kind: type[nn.Module]) -> bool:
    layer: Any = model.get_submodule(path)
    chain = layer.parametrizations["weight"] if parametrize.is_parametrized(layer, "weight") else []
    return len(chain) == 1 and isinstance(chain[0], kind)


def _named(model: nn.Module, path: str, gain: str | None) -> NormedWeight:
    return NormedWeight(path, model.get_submodule(path), gain)
