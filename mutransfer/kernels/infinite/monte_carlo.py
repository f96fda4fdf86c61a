"""Kernels of finite networks averaged over initialisations: for what has no closed form, and against what has one."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.infinite_width import PARAMETERIZATIONS
from mutransfer.parameterization.model.layouts import NORMS, known_axes

_NUMBERS = 2**23  # in the Jacobians of the initialisations that are done at once


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """Means over initialisations, (N1, N2), and their standard errors."""

    nngp: Tensor
    ntk: Tensor
    nngp_error: Tensor
    ntk_error: Tensor
    samples: int


def monte_carlo(
    network: nn.Module,
    x1: Any,
    x2: Any = None,
    *,
    weight_std: float = 2**0.5,
    bias_std: float | None = 0.0,
    parameterization: str = "ntk",
    samples: int = 100,
    seed: int = 0,
) -> MonteCarlo:
    """Mean kernels of ``network`` at its own width over ``samples`` initialisations, per output unit, in float64.

    Arguments as in ``infinite_width``, for any module that treats the examples of a batch separately: convolutions,
    attention, max pooling. Weights of known layers are drawn as there; norms keep gain 1 and bias 0, and embeddings
    are standard normal times weight_std. The result differs from the infinite-width kernel by its standard error and
    by a bias of order 1 / width: compare two widths. Cost: samples * N * outputs backward passes, and the memory of one
    initialisation's Jacobian, N * outputs * parameters numbers.

    Raises KernelError naming a parameter of unknown layout, or a BatchNorm in train mode.

    >>> network = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))
    >>> estimate = monte_carlo(network, torch.eye(2) * 2**0.5, samples=50)
    >>> bool(abs(estimate.ntk[0, 0] - 4) < 4 * estimate.ntk_error[0, 0])
    True
    """
    if parameterization not in PARAMETERIZATIONS:
        raise KernelError(f"parameterization is {parameterization!r}; it must be one of {', '.join(PARAMETERIZATIONS)}")
    if samples < 2:
        raise KernelError(f"samples is {samples}; a standard error needs at least 2")
    network = copy.deepcopy(network).double().cpu().requires_grad_(False)
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in network.modules()):
        raise KernelError("BatchNorm in train mode mixes the examples of a batch: call network.eval()")
    laws = dict(_laws(network, weight_std, bias_std))
    left, right = (None if x is None else _inputs(x) for x in (x1, x2))
    assert left is not None
    generator = torch.Generator().manual_seed(seed)
    ntk_parameterization = parameterization == "ntk"
    scales = {  # of what is trained: the gradient is multiplied by it
        name: law if ntk_parameterization and law is not None else 1.0
        for name, (_, law) in laws.items()
        if not (bias_std is None and _is_plain_bias(network, name))
    }

    def draw() -> dict[str, Tensor]:
        return {
            name: network.get_parameter(name).detach()  # a norm's gain or bias
            if law is None
            else law * torch.randn(shape, generator=generator, dtype=torch.float64)
            for name, (shape, law) in laws.items()
        }

    with torch.no_grad():
        outputs = functional_call(network, draw(), (left[:1],)).numel()
    size = outputs * max(len(left), 0 if right is None else len(right)) * sum(s.numel() for s, _ in laws.values())
    draws: list[tuple[Tensor, Tensor]] = []
    while len(draws) < samples:
        together = [draw() for _ in range(min(samples - len(draws), max(1, _NUMBERS // size)))]
        parameters = {name: torch.stack([d[name] for d in together]) for name in laws}
        nngp, ntk = vmap(lambda p: _kernels(network, p, scales, left, right))(parameters)
        draws += list(zip(nngp, ntk, strict=True))
    stacked = [torch.stack(kernels) for kernels in zip(*draws, strict=True)]
    (nngp, ntk), errors = [s.mean(0) for s in stacked], [s.std(0) / math.sqrt(samples) for s in stacked]
    return MonteCarlo(nngp=nngp, ntk=ntk, nngp_error=errors[0], ntk_error=errors[1], samples=samples)


def _kernels(
    network: nn.Module, parameters: dict[str, Tensor], scales: dict[str, float], left: Tensor, right: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One network's f f^T and tangent kernel, averaged over outputs. Private to this file: any module, small widths."""
    trained = {name: parameters[name] for name in scales}
    buffers = dict(network.named_buffers())

    def outputs(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(network, {**parameters, **buffers, **values}, (x[None],)).flatten()

    def features(x: Tensor) -> tuple[Tensor, Tensor]:
        f = vmap(outputs, (None, 0))(trained, x)
        jacobian = vmap(jacrev(outputs), (None, 0))(trained, x)
        return f, torch.cat([scales[name] * j.flatten(2) for name, j in jacobian.items()], 2)

    f1, j1 = features(left)
    f2, j2 = (f1, j1) if right is None else features(right)
    return f1 @ f2.T / f1.shape[1], torch.einsum("aop,bop->ab", j1, j2) / f1.shape[1]


def _laws(
    network: nn.Module, weight_std: float, bias_std: float | None
) -> Iterator[tuple[str, tuple[torch.Size, float | None]]]:
    """The shape and standard deviation that each parameter is drawn with; None for what is not drawn."""
    for name, parameter in network.named_parameters():
        owner, attribute = _owner(network, name)
        axes = known_axes(owner, attribute)
        if isinstance(owner, NORMS):
            yield name, (parameter.shape, None)
        elif axes is not None:
            fan_in = math.prod(parameter.shape[axis] for axis in axes.fan_in)
            yield name, (parameter.shape, weight_std / math.sqrt(fan_in))
        elif _is_plain_bias(network, name):
            yield name, (parameter.shape, bias_std or 0.0)
        else:
            raise KernelError(
                f"{name}, shape {tuple(parameter.shape)}, of {type(owner).__name__}: it is not known how to draw it. "
                "Build it from torch's own layers"
            )


def _is_plain_bias(network: nn.Module, name: str) -> bool:
    owner, attribute = _owner(network, name)
    if isinstance(owner, nn.MultiheadAttention):
        return attribute == "in_proj_bias"
    return attribute.endswith("bias") and not isinstance(owner, NORMS) and known_axes(owner, "weight") is not None


def _owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return network.get_submodule(path), attribute


def _inputs(x: Any) -> Tensor:
    tensor = torch.as_tensor(x).detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor
