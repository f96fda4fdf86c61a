"""The refined coordinate check: what the update of a module's own parameters does, apart from what reaches it.

On fixed inputs the output h of a module with parameters W and input x changes by

    h_t - h_0 = [h(W_t, x_t) - h(W_0, x_t)] + [h(W_0, x_t) - h(W_0, x_0)],

for a linear one (W_t - W_0) x_t, its effective update, and W_0 (x_t - x_0), what was propagated to it (Haas et al.
2025). The first is the module's own doing, so that a layer whose learning rate is wrong is told from those behind it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from mutransfer.parameterization.measuring.activations import RunModel, evaluating, first_rows, root_mean_square
from mutransfer.parameterization.measuring.buffers import copied_buffers, held_buffers
from mutransfer.parameterization.measuring.own_parameters import own_parameters, put_values, swap_parameters
from mutransfer.parameterization.model.layouts import CONVS, TRANSPOSED, known_axes

ModuleCall = tuple[tuple[Any, ...], dict[str, Any]]  # arguments of a module, before the plan's multipliers


@dataclass(frozen=True)
class Start:
    """A model before its first step: every module's output (at most 64 rows), inputs, parameters and buffers."""

    outputs: Mapping[str, Tensor]  # in the order in which modules finish
    inputs: Mapping[str, ModuleCall]  # empty unless asked for
    input_sizes: Mapping[str, Tensor]  # root-mean-square of the first input, where it is of floats
    weights: Mapping[str, Mapping[str, Tensor]]  # module -> its own parameters
    buffers: Mapping[str, Tensor]  # by name


@dataclass(frozen=True)
class OutputChange:
    """The change of one module's output, as root-mean-squares (scalars on the model's device)."""

    before: Tensor  # of h_0
    size: Tensor  # of h_t
    change: Tensor
    effective: Tensor
    propagated: Tensor
    alignment: tuple[Tensor, Tensor, int] | None  # ||dW x||, ||dW|| ||x|| and fan_in, of modules with a matrix


def start(model: nn.Module, forward: RunModel, *, inputs: bool = False, only: Collection[str] | None = None) -> Start:
    """The state that later ones are compared with.

    ``inputs`` keeps those of every module too; ``only`` are the paths of modules to look at, None: all.
    """
    outputs: dict[str, Tensor] = {}
    calls: dict[str, ModuleCall] = {}
    sizes: dict[str, Tensor] = {}

    def see(path: str, module: nn.Module, call: ModuleCall, received: ModuleCall, output: Any) -> None:
        kept = first_rows(output)
        if kept is None:
            return
        outputs.pop(path, None)  # the last call counts, also for the order
        outputs[path] = kept.clone()
        first = _first_input(call)
        if first is not None:
            sizes[path] = root_mean_square(first)
        if inputs:
            calls[path] = tree_map_only(Tensor, torch.clone, call)

    buffers = copied_buffers(model)
    with held_buffers(model, buffers):  # a forward pass may change them in eval mode too
        _show_calls(model, forward, see, only)
    weights = {
        path: {name: p.detach().clone() for name, p in own_parameters(model.get_submodule(_path(path))).items()}
        for path in outputs
    }
    return Start(outputs, calls, sizes, weights, buffers)


def output_changes(model: nn.Module, before: Start, forward: RunModel) -> dict[str, OutputChange]:
    """Every module's output now against ``before``; the model is left as it is.

    A module whose outputs cannot be compared is left out, and that is logged: an expert that now gets other tokens, or
    code that does not run twice.
    """
    changes: dict[str, OutputChange] = {}

    def see(path: str, module: nn.Module, call: ModuleCall, received: ModuleCall, output: Any) -> None:
        now = first_rows(output)
        if now is None or path not in before.outputs:
            return
        with swap_parameters(module, before.weights[path]):
            untrained = _run_again(path, module, call, like=before.outputs[path])
        if untrained is None or now.shape != untrained.shape:
            return
        first, update = before.outputs[path].float(), now.float() - untrained.float()
        changes[path] = OutputChange(
            before=root_mean_square(first),
            size=root_mean_square(now),
            change=root_mean_square(now.float() - first),
            effective=root_mean_square(update),
            propagated=root_mean_square(untrained.float() - first),
            alignment=_alignment(module, before.weights[path], received, update),
        )

    _show_calls(model, forward, see)
    return changes


@torch.no_grad()
def own_updates(model: nn.Module, before: Start) -> dict[str, Tensor]:
    """Changes of each module's initial output by the update of one parameter alone, by parameter name.

    Root-mean-square of h(p_t, rest_0; x_0) - h_0: neither other updates nor changed inputs or buffers (a norm's running
    statistics) take part. ``before`` must hold inputs. A parameter of several modules counts where its name says; its
    other uses under ``module:parameter``.
    """
    modules = {path: model.get_submodule(_path(path)) for path in before.outputs}
    now = {path: {n: p.data for n, p in own_parameters(m).items()} for path, m in modules.items()}
    names = {id(p): name for name, p in model.named_parameters()}
    sizes: dict[str, Tensor] = {}
    with evaluating(model), held_buffers(model, before.buffers):
        for path, module in modules.items():  # everything back to the start
            put_values(module, before.weights[path])
        try:
            for path, module in modules.items():
                for attribute, values in now[path].items():
                    args, kwargs = before.inputs[path]
                    with swap_parameters(module, {attribute: values}):
                        output = _run_again(path, module, (args, kwargs), like=before.outputs[path])
                    if output is None:
                        continue
                    name = names[id(own_parameters(module)[attribute])]
                    at_home = name == ".".join(filter(None, (_path(path), attribute)))
                    sizes[name if at_home else f"{path}:{name}"] = root_mean_square(
                        output.float() - before.outputs[path].float()
                    )
        finally:
            for path, module in modules.items():
                put_values(module, now[path])
    return sizes


def alignment_exponent(norms: tuple[float, float], fan_in: int) -> float:
    """Everett et al.'s alignment exponent: log of ||dW x|| / (||dW|| ||x||) to the base fan_in, norms by entry.

    1 where the update and its input are aligned, 1/2 where they are independent (2024, arXiv:2407.05872, section 3).

    >>> alignment_exponent((16.0, 1.0), 16), alignment_exponent((4.0, 1.0), 16)
    (1.0, 0.5)
    """
    product, bound = norms
    if not (product > 0 and bound > 0 and fan_in > 1):
        return math.nan
    return math.log(product / bound) / math.log(fan_in)


@torch.no_grad()
def _show_calls(
    model: nn.Module, forward: RunModel, see: Callable[..., None], only: Collection[str] | None = None
) -> None:
    """Run ``forward`` in eval mode and show ``see`` every call of a module (in ``only``) with parameters of its own."""
    handles = []
    busy = False  # while a module is called again to look at it

    def hooks(path: str) -> tuple[Callable[..., None], Callable[..., None]]:
        calls: list[ModuleCall] = []

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not busy:
                calls.append((args, kwargs))

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            nonlocal busy
            if not busy:
                busy = True
                try:
                    see(path, module, calls.pop(), (args, kwargs), output)
                finally:
                    busy = False

        return enter, leave

    for name, module in model.named_modules():
        if "parametrizations" in name.split(".") or not own_parameters(module):
            continue
        if only is not None and name not in only:
            continue
        enter, leave = hooks(name or "model")
        handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))
    try:
        with evaluating(model):
            forward()
    finally:
        for handle in handles:
            handle.remove()


def _run_again(path: str, module: nn.Module, call: ModuleCall, *, like: Tensor) -> Tensor | None:
    """The output of one module by itself; None, with the reason logged, where it is not of the shape of ``like``."""
    try:
        output = first_rows(module(*call[0], **call[1]))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the user's code does when it is called outside its model
        reason = f"{type(error).__name__}: {error}"
    else:
        if output is not None and output.shape == like.shape:
            return output
        found = None if output is None else tuple(output.shape)
        reason = f"its output was {tuple(like.shape)} before the first step and is {found} now"
    logging.getLogger("mutransfer").info("the update of %s is not measured: %s", path, reason)
    return None


def _alignment(
    module: nn.Module, weights: Mapping[str, Tensor], received: ModuleCall, update: Tensor
) -> tuple[Tensor, Tensor, int] | None:
    """The norms and fan_in for :func:`alignment_exponent`, of a module that multiplies its input with one matrix."""
    axes = known_axes(module, "weight") if "weight" in weights else None
    first = _first_input(received)
    if axes is None or not axes.fan_in or first is None:
        return None
    weight = own_parameters(module)["weight"]
    change = weight.detach().float() - weights["weight"].float()
    if "bias" in weights:
        shift = own_parameters(module)["bias"].detach().float() - weights["bias"].float()
        if isinstance(module, CONVS + TRANSPOSED):
            shift = shift.view(-1, *[1] * len(module.kernel_size))
        update = update - shift
    fan_in = math.prod(weight.shape[d] for d in axes.fan_in)
    return root_mean_square(update), root_mean_square(change) * root_mean_square(first), fan_in


def _first_input(received: ModuleCall) -> Tensor | None:
    args, kwargs = received
    first = args[0] if args else next(iter(kwargs.values()), None)
    return first_rows(first)


def _path(name: str) -> str:
    return "" if name == "model" else name
