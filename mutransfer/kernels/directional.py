"""Directional derivatives of a model in its parameters, by whichever of torch's ways is right for its operations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from mutransfer.errors import KernelError
from mutransfer.random_state import preserved_random_state

# Of parameters by name; any structure of tensors
Function = Callable[[dict[str, Tensor]], Any]
Derivative = Callable[[Function, dict[str, Tensor], dict[str, Tensor]], tuple[Any, Any]]


def forward_mode(function: Function, origin: dict[str, Tensor], step: dict[str, Tensor]) -> tuple[Any, Any]:
    """``(f, J step)`` beside each other, in one pass."""
    return jvp(function, (origin,), (step,))[:2]


def double_backward(function: Function, origin: dict[str, Tensor], step: dict[str, Tensor]) -> tuple[Any, Any]:
    """``(f, J step)``; J^T u is linear in u, and its derivative the other way is J again."""
    values, pull = vjp(function, origin)[:2]
    leaves, spec = tree_flatten(values)
    zeros = [torch.zeros_like(leaf) for leaf in leaves]
    push = vjp(lambda cotangents: pull(tree_unflatten(cotangents, spec))[0], zeros)[1]
    return values, tree_unflatten(push(step)[0], spec)


def output_by_output(function: Function, origin: dict[str, Tensor], step: dict[str, Tensor]) -> tuple[Any, Any]:
    """``(f, J step)`` from a plain backward pass for every single output: slow, and all that some operations allow."""
    points = {name: value.detach().requires_grad_() for name, value in origin.items()}
    with torch.enable_grad():
        leaves, spec = tree_flatten(function(points))
        rows = [leaf.flatten().unbind() if leaf.requires_grad else () for leaf in leaves]
    tangents = [torch.zeros(leaf.shape, dtype=leaf.dtype, device=leaf.device) for leaf in leaves]
    for outputs, tangent in zip(rows, tangents, strict=True):
        for i, output in enumerate(outputs):
            row = torch.autograd.grad(output, list(points.values()), retain_graph=True, allow_unused=True)
            pairs = zip(row, step.values(), strict=True)
            tangent.view(-1)[i] = sum(_product(g, s.detach()) for g, s in pairs if g is not None)
    return tree_unflatten([leaf.detach() for leaf in leaves], spec), tree_unflatten(tangents, spec)


@dataclass(frozen=True)
class Linear:
    """``(f, J step)`` by ``derivative``, whose gradient in ``step`` is J^T by one plain backward pass of f.

    It needs no derivative of the derivative, which torch lacks more often than the derivative itself. There is no
    second one, nor a gradient in anything but ``step``.
    """

    derivative: Derivative

    def __call__(self, function: Function, origin: dict[str, Tensor], step: dict[str, Tensor]) -> tuple[Any, Any]:
        with torch.no_grad():
            _, tangents = self.derivative(function, origin, step)
        first = {name: _Once.apply(s) for name, s in step.items()}
        values = function({name: origin[name] + (s - s.detach()) for name, s in first.items()})
        rises = tree_map(lambda value: value - value.detach(), values)  # zero, with the gradient of f
        tangents = tree_map(lambda tangent, rise: tangent.detach() + rise, tangents, rises)
        return tree_map(torch.Tensor.detach, values), tangents


class _Last(torch.autograd.Function):
    """The identity, without a derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise KernelError(
            "this linearised model has first derivatives in its parameters alone: torch lacks second derivatives of "
            "an operation in it"
        )


class _Once(_Last):
    """The identity; what is differentiated through it cannot be differentiated again."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _Last.apply(gradients[0])


# Both can be differentiated again, as often as torch knows how to, and in anything.
SMOOTH: tuple[Derivative, ...] = (forward_mode, double_backward)
FIRST_ORDER: tuple[Derivative, ...] = (Linear(forward_mode), Linear(double_backward), Linear(output_by_output))


def right_derivative(
    function: Function, origin: dict[str, Tensor], candidates: tuple[Derivative, ...], gradients: bool
) -> Derivative:
    """The first of ``candidates`` that torch has for ``function`` and that agrees with its plain backward pass.

    With arbitrary u and s, u^T (J s) must be (J^T u)^T s, and with ``gradients`` J s must have the gradient J^T u in s
    (as what is :class:`Linear` has by construction).
    Inside torch.func.vmap numbers cannot be compared, and that it runs is enough.

    Raises KernelError where none does.
    """
    origin = {name: value.detach() for name, value in origin.items()}
    with preserved_random_state():
        plain = _plain_backward(function, origin)
    reasons = []
    for candidate in candidates:
        try:
            with preserved_random_state(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "there is a performance drop", also of a candidate that is not taken
                if _agrees(function, origin, plain, candidate, gradients):
                    return candidate
            reasons.append("torch's derivatives forwards and backwards differ")
        except (NotImplementedError, RuntimeError) as error:
            reasons.append(str(error).strip().partition("\n")[0])
    raise KernelError(f"the model cannot be linearised: torch has no forward derivative here ({reasons[0]})")


def _agrees(
    function: Function,
    origin: dict[str, Tensor],
    plain_backward: tuple[Any, dict[str, Tensor]],
    derivative: Derivative,
    gradients: bool,
) -> bool:
    cotangents, plain = plain_backward
    # Only where training can go: forward mode moves the row of a padding token, which has no gradient.
    step = {name: _scattered(value) * plain[name].ne(0) for name, value in origin.items()}
    if gradients:
        tangents, pull_step = vjp(lambda s: derivative(function, origin, s)[1], step)[:2]
        pulled = pull_step(cotangents)[0]
    else:
        tangents, pulled = derivative(function, origin, step)[1], plain
    leaves = [leaf.detach() for leaf in tree_flatten(tangents)[0]]
    ends = [leaf.detach() for leaf in tree_flatten(cotangents)[0]]
    forwards = sum(_product(u, t) for u, t in zip(ends, leaves, strict=True))
    sizes = sum(_product(u, u) for u in ends) * sum(_product(t, t) for t in leaves)
    scale = sum((_product(plain[name], step[name]).abs() for name in plain), start=sizes**0.5)
    coarsest = max((torch.finfo(leaf.dtype).eps for leaf in leaves), default=0.0)
    tolerance = 1e-3 if coarsest > 1e-10 else 1e-8
    backwards = sum(_product(plain[name], step[name]) for name in plain)
    error = abs(forwards - backwards) - tolerance * scale
    finite = torch.isfinite(scale)
    for name in plain if gradients else ():
        off = (pulled[name] - plain[name]).norm() - tolerance * plain[name].norm()
        floor = tolerance * sum(gradient.norm() for gradient in plain.values()) / 16
        error = torch.maximum(error, off - floor)
    if not can_compare(error):
        return True
    return bool((error <= 0) | ~finite)  # a model that is not finite itself is not this check's concern


def can_compare(number: Tensor) -> bool:
    """Whether Python can branch on ``number``, which it cannot inside torch.func.vmap."""
    try:
        bool(number > 0)
    except RuntimeError:
        return False
    return True


def _plain_backward(function: Function, origin: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """``(u, J^T u)``, by plain autograd for functions that torch.func does not take."""
    try:
        values, pull = vjp(function, origin)[:2]
        cotangents = tree_map(_scattered, values)
        return cotangents, pull(cotangents)[0]
    except RuntimeError:
        points = {name: value.detach().requires_grad_() for name, value in origin.items()}
        with torch.enable_grad():
            values = function(points)
        cotangents = tree_map(_scattered, values)
        pairs = zip(tree_flatten(values)[0], tree_flatten(cotangents)[0], strict=True)
        outputs, ends = zip(*[(v, u) for v, u in pairs if v.requires_grad], strict=True)
        gradients = torch.autograd.grad(outputs, list(points.values()), ends, allow_unused=True)
        named = zip(origin.items(), gradients, strict=True)
        return cotangents, {name: torch.zeros_like(value) if g is None else g for (name, value), g in named}


def _scattered(like: Tensor) -> Tensor:
    """Numbers of the shape of ``like`` without a pattern, and without random numbers, which vmap refuses."""
    places = torch.arange(1, like.numel() + 1, dtype=torch.float64, device="cpu")
    return torch.sin(places * places * 0.7391 + places).view(like.shape).to(like)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).sum().real
