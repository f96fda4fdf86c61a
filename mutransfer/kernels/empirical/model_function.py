"""A model as a function of its weights: every run begins with the same state, whatever runs write to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mutransfer.random_state import preserved_random_state


@dataclass(frozen=True)
class ModelFunction:
    """A model, and what its forward pass overwrites.

    ``written``: parameters and buffers (tables whose rows are renormed, running statistics, a spectral norm's
    vectors), of which every run has copies of its own. ``attributes``: (module, name, value) of plain Python values
    that every run begins with.
    """

    module: nn.Module
    written: Mapping[str, Tensor]
    attributes: tuple[tuple[nn.Module, str, Any], ...]

    @classmethod
    def of(
        cls,
        module: nn.Module,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        state: Mapping[str, Tensor] | None = None,
    ) -> ModelFunction:
        """The function of a model, run once with a copy of its state, or of ``state``, to see what it overwrites."""
        if state is None:
            state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        values = attribute_values(module)
        with torch.no_grad(), preserved_random_state():
            copies = {name: value.detach().clone() for name, value in state.items()}
            versions = {name: value._version for name, value in copies.items()}
            after = dict(copies)
            functional_call(module, after, *arguments)
            written = {
                name: value.detach()
                for name, value in state.items()
                if after[name] is not copies[name]
                or copies[name]._version != versions[name]
                or not _same(copies[name], value)
            }
        changed = [
            (owner, name, value)
            for owner, before in values
            for name, value in before.items()
            if owner.__dict__.get(name) is not value
        ]
        restore_attributes(values)
        return cls(module, written, tuple(changed))

    def state(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model is to be run with: ``weights``, complex where the model has them so, and copies."""
        for owner, name, value in self.attributes:
            owner.__dict__[name] = value
        state = dict(weights)
        parameters = dict(self.module.named_parameters())
        for name, weight in weights.items():
            if parameters[name].is_complex() and not weight.is_complex():
                state[name] = torch.view_as_complex(weight)
        for name, value in self.written.items():
            state[name] = state.get(name, value).clone()
        return state


def attribute_values(module: nn.Module) -> list[tuple[nn.Module, dict[str, Any]]]:
    """The Python attributes of every module, beside its parameters, buffers, submodules and hooks."""
    return [
        (owner, {name: value for name, value in vars(owner).items() if not isinstance(value, dict)})
        for owner in module.modules()
    ]


def restore_attributes(values: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    """Put attributes back; those that came are taken away."""
    for owner, before in values:
        for name in [name for name, value in vars(owner).items() if name not in before and not isinstance(value, dict)]:
            del owner.__dict__[name]
        owner.__dict__.update(before)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
