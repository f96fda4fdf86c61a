"""Activations of every module that holds parameters, on a fixed batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

RunModel = Callable[[], Any]  # a forward pass on inputs that stay the same

MAX_EXAMPLES = 64  # rows kept of each activation: sizes are means over rows, more only cost memory


@torch.no_grad()
def activations(model: nn.Module, forward: RunModel) -> dict[str, Tensor]:
    """Outputs of the modules with parameters of their own while ``forward()`` runs, in eval mode.

    Returns {module path: tensor (at most 64 rows, ...)}; a module called several times keeps its last output,
    the model itself is called "model".
    """
    outputs: dict[str, Tensor] = {}
    handles = []
    for path, module in model.named_modules():
        if "parametrizations" in path.split("."):  # makes a weight: its output is no activation
            continue
        if is_parametrized(module) or next(module.parameters(recurse=False), None) is not None:
            handles.append(module.register_forward_hook(_keeper(outputs, path or "model")))
    try:
        with evaluating(model):
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return outputs


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Eval mode; afterwards every submodule is in the mode that it was in before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def rms(x: Tensor) -> float:
    """Root-mean-square over all entries."""
    return float(root_mean_square(x))


def root_mean_square(x: Tensor) -> Tensor:
    """Root-mean-square as a scalar on the tensor's device."""
    return x.float().pow(2).mean().sqrt()


def changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """Root-mean-square of the change of each activation."""
    names = [name for name in before if name in after]
    return dict(zip(names, floats([_change(before[name], after[name]) for name in names]), strict=True))


def relative_changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """The change of each activation over its size before: ||h_t - h_0|| / ||h_0||."""
    names = [name for name in before if name in after]
    values = floats([f for name in names for f in (_change(before[name], after[name]), root_mean_square(before[name]))])
    pairs = zip(names, values[::2], values[1::2], strict=True)
    return {name: change / size for name, change, size in pairs if size > 0}


def _change(before: Tensor, after: Tensor) -> Tensor:
    return root_mean_square(after.float() - before.float())


def first_rows(output: Any) -> Tensor | None:
    """At most 64 rows of what a module returned, of the first tensor in a tuple; None where that is no activation.

    An empty one is none: an expert to which no token went.
    """
    tensor = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.numel():
        return None
    return (tensor[:MAX_EXAMPLES] if tensor.ndim else tensor).detach()


def floats(scalars: list[Tensor]) -> list[float]:
    """Numbers of scalars, all in one wait for the device."""
    return torch.stack([s.to(scalars[0].device) for s in scalars]).tolist() if scalars else []


def _keeper(outputs: dict[str, Tensor], path: str) -> Callable[..., None]:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        rows = first_rows(output)
        if rows is not None:
            outputs[path] = rows.clone()

    return keep
