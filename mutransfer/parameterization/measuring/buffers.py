"""Buffers of a model (running statistics, power iterations, averages of a model's own), held while it is measured."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


def copied_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all buffers, by name."""
    return {name: buffer.detach().clone() for name, buffer in model.named_buffers(remove_duplicate=False)}


@contextmanager
def held_buffers(model: nn.Module, values: Mapping[str, Tensor]) -> Generator[None]:
    """Give buffers ``values`` inside the context, and put back what they were, whatever forward passes do to them.

    A step of training changes buffers beside parameters. Were they left as they are, what a parameter's update does
    to an output would be measured together with what new running statistics do to it. A buffer without a value, one
    that the first forward pass makes, keeps its own.
    """
    present = [
        (module, name, f"{path}.{name}" if path else name, buffer)
        for path, module in model.named_modules(remove_duplicate=False)
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    inside: dict[int, Tensor] = {}  # a buffer that several modules share stays one
    for module, name, path, buffer in present:
        if id(buffer) not in inside:
            inside[id(buffer)] = values.get(path, buffer).detach().clone()
        setattr(module, name, inside[id(buffer)])
    try:
        yield
    finally:
        for module, name, _, buffer in present:
            setattr(module, name, buffer)
