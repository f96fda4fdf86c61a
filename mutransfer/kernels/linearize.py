"""The frozen-feature twin of a model: its Taylor expansion in the parameters, and the lazy scaling."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from math import factorial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_unflatten

from mutransfer.errors import ConfigError, KernelError
from mutransfer.kernels.anchored import Anchored
from mutransfer.kernels.checkpointing import without_checkpoints
from mutransfer.kernels.directional import FIRST_ORDER, SMOOTH, Derivative, Function, can_compare, right_derivative
from mutransfer.kernels.empirical.model_function import ModelFunction


def linearize(model: nn.Module, *, order: int = 1) -> Anchored:
    """f(x; th0) + J(x; th0) (th - th0): the model that trains with the features that ``model`` has now.

    >>> _ = torch.manual_seed(0)
    >>> model, x = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(5, 3)
    >>> linear = linearize(model)
    >>> torch.allclose(linear(x), model(x)), [name for name, _ in linear.named_parameters()]
    (True, ['0.weight', '0.bias', '2.weight', '2.bias'])

    The result is an nn.Module for any loop: parameters are named as the model's and begin at its values, so that a
    Plan's parameter groups apply to it; th0 is kept in buffers ``origin.*`` (``origin_.*`` where the model has that
    name), so that it is saved, moved, copied and stacked (torch.func.stack_module_state) with the rest. ``model``
    itself is not changed. Training mode and hooks act as in the model; running statistics stay as they are. A model
    that returns several tensors has each expanded; whatever else it returns is as at th0. A loss that the model
    computes itself would be expanded too: compute it from the outputs.

    Args:
        order: of the Taylor expansion; beyond 1, the terms D^k f(th0) [th - th0]^k / k! up to this one, at a cost that
            doubles with each.

    Fused attention has no forward derivative: attention runs in torch's plain implementation. Which of torch's
    derivatives is right for the model's operations is tried when it is first called (see ``directional.py``): forward
    mode, two backward passes, or, at order 1 alone and slowly, a backward pass for every output.

    Raises ConfigError for an order below 1; KernelError, when it is called, where torch has no derivative that serves.

    Source: Lee et al. 2019, "Wide neural networks of any depth evolve as linear models under gradient descent".
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ConfigError(f"order must be a whole number from 1 on, found {order!r}")
    return Taylor(model, order)


def lazy(model: nn.Module, alpha: float) -> Anchored:
    """alpha * (f(x; th) - f(x; th0)): the centred model, scaled; as alpha grows, training becomes lazy.

    >>> _ = torch.manual_seed(0)
    >>> model, x = nn.Linear(3, 1), torch.randn(5, 3)
    >>> lazy(model, 8.0)(x).abs().max().item()
    0.0

    Train it on loss / alpha**2, so that its outputs move as fast for every alpha; parameters then move like 1 / alpha.
    Parameters, th0 and the rest are kept as in :func:`linearize`. Dropout, where active, would differ between the two
    terms.

    Raises ConfigError for an alpha that is not positive and finite.

    Source: Chizat, Oyallon & Bach 2019, "On lazy training in differentiable programming", section 1.1.
    """
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"alpha must be positive and finite, found {alpha!r}")
    return Lazy(model, float(alpha))


class Taylor(Anchored):
    """The Taylor expansion of the model in its parameters, up to ``order``."""

    def __init__(self, model: nn.Module, order: int) -> None:
        super().__init__(model)
        self._order = order
        # Found at the first call
        self._derivative: Derivative | None = None
        self._written: tuple[str, ...] = ()
        self._attributes: tuple[tuple[nn.Module, str, Any], ...] = ()
        with warnings.catch_warnings():  # torch compiles some of its own derivatives in a way that it has deprecated
            warnings.simplefilter("ignore")
            import_module("torch._decomp.decompositions_for_jvp")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        origin = self.origin_values()
        step = {name: p - origin[name] for name, p in self.named_parameters()}
        others: list[Any] = []

        def outputs(parameters: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], ...]:
            for owner, name, value in self._attributes:
                owner.__dict__[name] = value
            copies = {name: parameters[name].clone() for name in self._written}
            leaves, spec = tree_flatten(self.outputs_at({**parameters, **copies}, args, kwargs, keep=True))
            chosen = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
            others[:] = [leaves, spec, chosen]
            return (tuple(leaves[i] for i in chosen),)

        with _differentiable_attention(), without_checkpoints():
            if self._derivative is None:
                self._derivative = self._tried(outputs, origin, (args, kwargs))
            terms = _derivatives(outputs, origin, step, self._order, self._derivative)
        leaves, spec, chosen = others
        leaves = list(leaves)
        for place, *values in zip(chosen, *terms, strict=True):
            leaves[place] = sum((v / factorial(k) for k, v in enumerate(values) if k), start=values[0])
        return tree_unflatten(leaves, spec)

    def _tried(
        self, function: Function, origin: dict[str, Tensor], inputs: tuple[tuple[Any, ...], dict[str, Any]]
    ) -> Derivative:
        """The derivative to use: one that can be differentiated again if torch has it."""
        gradients = any(p.requires_grad for p in self.parameters())
        modes = [(module, module.training) for module in self._frame.modules()]
        if all(can_compare(value.sum()) for value in origin.values()):
            self._find_writes(origin, inputs)
        else:
            self._frame.eval()  # members of a stack draw their dropout from streams that must stay where they are
        try:
            return right_derivative(function, origin, SMOOTH, gradients)
        except KernelError:
            if self._order > 1 or any(isinstance(t, Tensor) and t.requires_grad for t in tree_flatten(inputs)[0]):
                raise
            return right_derivative(function, origin, FIRST_ORDER, gradients=False)
        finally:
            for module, mode in modes:
                module.training = mode

    def _find_writes(self, origin: dict[str, Tensor], inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        """Note what the forward pass overwrites: every run of it has copies of that."""
        state = {**origin, **self.own_buffers()}
        function = ModelFunction.of(self._frame, inputs, state)
        self._written = tuple(name for name in function.written if name in origin)
        self._attributes = function.attributes


def _derivatives(
    function: Callable[[dict[str, Tensor]], tuple[tuple[Tensor, ...], ...]],
    origin: dict[str, Tensor],
    step: dict[str, Tensor],
    order: int,
    derivative: Derivative,
) -> tuple[tuple[Tensor, ...], ...]:
    """(f, Df[step], D^2 f[step, step], ...): each order differentiates the last of those before."""
    if order == 0:
        return function(origin)

    def lower(parameters: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], ...]:
        return _derivatives(function, parameters, step, order - 1, derivative)

    values, tangents = derivative(lower, origin, step)
    return (*values, tangents[-1])


class Lazy(Anchored):
    """The change of the model's output since its origin, ``alpha`` times."""

    def __init__(self, model: nn.Module, alpha: float) -> None:
        super().__init__(model)
        self._alpha = alpha

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        moved, spec = tree_flatten(self.outputs_at(dict(self.named_parameters()), args, kwargs, keep=False))
        with torch.no_grad():
            start, _ = tree_flatten(self.outputs_at(self.origin_values(), args, kwargs, keep=True))
        pairs = zip(moved, start, strict=True)
        return tree_unflatten([self._alpha * (a - b) if _is_float(a) else a for a, b in pairs], spec)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


@contextmanager
def _differentiable_attention() -> Generator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
