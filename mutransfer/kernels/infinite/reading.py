"""A torch network read as the steps of the infinite-width recursion."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mutransfer.errors import KernelError
from mutransfer.kernels.infinite.gaussian.elementwise import is_elementwise, split_linear
from mutransfer.kernels.infinite.gaussian.nonlinearities import nonlinearity, times_slope
from mutransfer.kernels.infinite.layers import (
    CONVOLUTIONS,
    INSTEAD,
    NORMS,
    POSITIONS,
    LayerPlace,
    Shape,
    reader_of,
    refuse,
)
from mutransfer.kernels.infinite.nonlinear_steps import Elementwise, Normalize
from mutransfer.kernels.infinite.program import Program, Sum, resolve_pairs
from mutransfer.kernels.infinite.steps import Factor, Prior, RecursionStep
from mutransfer.kernels.modules import Residual

_DROPOUTS = (nn.modules.dropout._DropoutNd, nn.RReLU)
Named = tuple[str, nn.Module]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A network, read: what is done to the inputs before the first weight, and the recursion from there on."""

    before: nn.Sequential
    channels_first: bool
    program: Program
    full: bool  # whether the recursion needs every pair of positions

    def features(self, x: Tensor) -> Tensor:
        """(N, ...) inputs as (N, positions, channels), float64."""
        x = self.before(x)
        return x.flatten(2).mT if self.channels_first else x.reshape(len(x), -1, x.shape[-1])


def read(network: nn.Module, shape: tuple[int, ...], prior: Prior) -> Reading:
    """The recursion of ``network`` on examples of ``shape``; raises KernelError naming the module that has none."""
    modules = list(_flat("network", network))
    count = next((i for i, (_, m) in enumerate(modules) if _has_weights(m)), None)
    if count is None:
        raise KernelError("the network has no Linear or Conv layer, so nothing in it is random or trained")
    before, shape = _before(modules[:count], shape)
    where, first = modules[count]
    if isinstance(first, Residual):
        raise refuse(where, first, f"adds to the inputs, whose width stays finite: put a layer before it. {INSTEAD}")
    channels_first = isinstance(first, CONVOLUTIONS)
    channels = shape[0] if channels_first else shape[-1]
    positions = shape[1:] if channels_first else shape[:-1]
    signal = Shape(channels=channels, positions=positions, channels_first=channels_first)
    reader = _Reader(prior=prior)
    steps, signal = reader.steps(modules[count:], signal, raw=True)
    if signal.flattened or any(p != 1 for p in signal.positions):
        raise KernelError(
            f"the network ends in outputs of shape {signal.shape}: end with a Linear behind Flatten or pooling"
        )
    program, full = resolve_pairs(steps, full=False)
    return Reading(before=before, channels_first=channels_first, program=program, full=full)


def _flat(where: str, module: nn.Module) -> Iterator[Named]:
    """The modules of nested Sequentials, in order."""
    if module._forward_hooks or module._forward_pre_hooks:
        raise refuse(where, module, f"carries forward hooks, which may change what it computes. {INSTEAD}")
    if parametrize.is_parametrized(module):
        raise refuse(where, module, f"computes its weights from others (a parametrization). {INSTEAD}")
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module._modules.items():  # named_children() leaves out what stands twice
            if child is not None:
                yield from _flat(f"{where}.{name}", child)
    else:
        yield where, module


def _has_weights(module: nn.Module) -> bool:
    """Whether anything but the gains of norms is in it."""
    return any(m._parameters and not isinstance(m, NORMS) for m in module.modules())


def _before(modules: list[Named], shape: tuple[int, ...]) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The modules before the first weight, which act on the inputs themselves, and the shape behind them."""
    before = nn.Sequential()
    for where, module in modules:
        if any(True for _ in module.parameters()):
            raise refuse(where, module, "trains gains of the inputs themselves: build it without an affine part")
        _check_mode(where, module)
        if not isinstance(module, (nn.Flatten, *NORMS, *POSITIONS)) and not is_elementwise(module):
            raise _no_closed_form(where, module)
        module = copy.deepcopy(module).double()
        try:
            with torch.no_grad():
                shape = tuple(module(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])
        except (RuntimeError, ValueError, IndexError) as error:
            raise refuse(where, module, f"does not take inputs of shape {shape}: {error}") from error
        before.append(module)
    return before, shape


def _check_mode(where: str, module: nn.Module) -> None:
    if isinstance(module, _DROPOUTS) and module.training and getattr(module, "p", 1.0) > 0:
        raise refuse(where, module, "draws at random in train mode: call network.eval()")


def _no_closed_form(where: str, module: nn.Module) -> KernelError:
    return refuse(where, module, f"has no closed form at infinite width, or none known here. {INSTEAD}")


@dataclass(kw_only=True)
class _Reader:
    """Turns modules into steps; remembers which weights it has met."""

    prior: Prior
    met: dict[int, str] = field(default_factory=dict)

    def steps(
        self, modules: list[Named], signal: Shape, *, raw: bool = False
    ) -> tuple[list[RecursionStep | Sum], Shape]:
        steps: list[RecursionStep | Sum] = []
        chain: list[Named] = []  # elementwise modules met in a row: one function
        for where, module in modules:
            _check_mode(where, module)
            if not isinstance(module, (nn.Flatten, *POSITIONS, *NORMS)) and is_elementwise(module):
                chain.append((where, module))
                continue
            signal = self._elementwise(chain, signal, steps)
            chain = []
            step, signal = self._layer(where, module, signal, raw=raw)
            if step is not None:
                steps.append(step)
            raw = False
        return steps, self._elementwise(chain, signal, steps)

    def _layer(
        self, where: str, module: nn.Module, signal: Shape, *, raw: bool
    ) -> tuple[RecursionStep | Sum | None, Shape]:
        """The step of one layer, None where only the shape changes, and the shape behind it."""
        if type(module) is Residual:
            return self._sum(where, module, signal)
        for parameter in module.parameters():
            other = self.met.setdefault(id(parameter), where)
            if other != where:
                raise refuse(where, module, f"shares its weights with {other}: the two do not become independent")
        reader = reader_of(module)
        if reader is None:
            raise _no_closed_form(where, module)
        return reader(LayerPlace(where=where, prior=self.prior, raw=raw), module, signal)

    def _elementwise(self, chain: list[Named], signal: Shape, steps: list[RecursionStep | Sum]) -> Shape:
        before, nonlinear, after = split_linear([m for _, m in chain])
        if before != 1:
            steps.append(Factor(factor=before))
        if nonlinear:
            if not signal.gaussian:
                where, module = chain[0]
                reason = "is a nonlinear function of what is not Gaussian any more (another nonlinearity came before, "
                raise refuse(where, module, reason + f"with no layer between): no closed form. {INSTEAD}")
            function, last = nonlinearity(nonlinear), steps[-1] if steps else None
            if isinstance(last, Normalize) and last.gain:
                steps[-1] = replace(last, gain=False)
                gain = times_slope(nonlinear, function)
                step = Elementwise(function=function, gain=gain, gain_per_position=last.per_position)
            elif signal.gained:
                where, module = chain[0]
                raise refuse(where, module, f"comes behind a norm's gains, but not at once: no closed form. {INSTEAD}")
            else:
                step = Elementwise(function=function)
            steps.append(step)
            signal = replace(signal, gaussian=False, gained=False)
        if after != 1:
            steps.append(Factor(factor=after))
        return signal

    def _sum(self, where: str, module: Residual, signal: Shape) -> tuple[Sum, Shape]:
        branch, out = self.steps(list(_flat(f"{where}.layers", module.layers)), signal)
        skip, direct = self.steps(list(_flat(f"{where}.shortcut", module.shortcut)), signal)
        if not (_has_weights(module.layers) or _has_weights(module.shortcut)):
            raise refuse(where, module, f"adds two summands without weights of their own, which correlate. {INSTEAD}")
        if (out.shape, out.positions, out.flattened) != (direct.shape, direct.positions, direct.flattened):
            raise refuse(where, module, f"adds shapes {direct.shape} and {out.shape}")
        return Sum(skip=Program(steps=tuple(skip)), branch=Program(steps=tuple(branch)), scale=module.scale), replace(
            direct, gaussian=out.gaussian and direct.gaussian
        )
