"""From a torch network to the steps of the infinite-width recursion."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mutransfer.errors import KernelError
from mutransfer.kernels.blocks import Residual
from mutransfer.kernels.infinite import layers
from mutransfer.kernels.infinite.gaussian.elementwise import is_elementwise, split_linear
from mutransfer.kernels.infinite.gaussian.nonlinearities import nonlinearity, times_slope
from mutransfer.kernels.infinite.layers import CONVOLUTIONS, INSTEAD, NORMS, POSITIONS, Shape, refuse
from mutransfer.kernels.infinite.program import Program, Sum
from mutransfer.kernels.infinite.steps import (
    Dense,
    Diagonal,
    Elementwise,
    Factor,
    Normalize,
    Positions,
    Prior,
    RecursionStep,
)

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
    program, full = _resolve(steps, full=False)
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
    """What comes before the first weight acts on the inputs themselves, as torch does it."""
    kept = nn.Sequential()
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
        kept.append(module)
    return kept, shape


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
        found: list[RecursionStep | Sum] = []
        chain: list[Named] = []  # elementwise modules met in a row: one function
        for where, module in modules:
            _check_mode(where, module)
            if not isinstance(module, (nn.Flatten, *POSITIONS, *NORMS)) and is_elementwise(module):
                chain.append((where, module))
                continue
            signal = self._elementwise(chain, signal, found)
            chain = []
            signal = self._layer(where, module, signal, found, raw=raw)
            raw = False
        return found, self._elementwise(chain, signal, found)

    def _layer(
        self, where: str, module: nn.Module, signal: Shape, found: list[RecursionStep | Sum], *, raw: bool
    ) -> Shape:
        own = type(module)
        for parameter in [] if isinstance(module, Residual) else module.parameters():
            other = self.met.setdefault(id(parameter), where)
            if other != where:
                raise refuse(where, module, f"shares its weights with {other}: the two do not become independent")
        if isinstance(module, nn.Linear) and own.forward is nn.Linear.forward:
            step, signal = layers.dense(where, module, signal, self.prior)
        elif own in CONVOLUTIONS:
            step, signal = layers.convolution(where, module, signal, self.prior, raw=raw)
        elif own in POSITIONS:
            step, signal = layers.positions(where, module, signal)
        elif isinstance(module, NORMS) and own in NORMS:
            step, signal = layers.norm(where, module, signal)
        elif isinstance(module, nn.Flatten) and own is nn.Flatten:
            return layers.flatten(where, module, signal)
        elif isinstance(module, Residual) and own is Residual:
            step, signal = self._sum(where, module, signal)
        else:
            raise _no_closed_form(where, module)
        found.append(step)
        return signal

    def _elementwise(self, chain: list[Named], signal: Shape, found: list[RecursionStep | Sum]) -> Shape:
        before, nonlinear, after = split_linear([m for _, m in chain])
        if before != 1:
            found.append(Factor(factor=before))
        if nonlinear:
            if not signal.gaussian:
                where, module = chain[0]
                reason = "is a nonlinear function of what is not Gaussian any more (another nonlinearity came before, "
                raise refuse(where, module, reason + f"with no layer between): no closed form. {INSTEAD}")
            function, last = nonlinearity(nonlinear), found[-1] if found else None
            if isinstance(last, Normalize) and last.gain:
                found[-1] = replace(last, gain=False)
                gain = times_slope(nonlinear, function)
                step = Elementwise(function=function, gain=gain, gain_per_position=last.per_position)
            elif signal.gained:
                where, module = chain[0]
                raise refuse(where, module, f"comes behind a norm's gains, but not at once: no closed form. {INSTEAD}")
            else:
                step = Elementwise(function=function)
            found.append(step)
            signal = replace(signal, gaussian=False, gained=False)
        if after != 1:
            found.append(Factor(factor=after))
        return signal

    def _sum(self, where: str, module: Residual, signal: Shape) -> tuple[Sum, Shape]:
        branch, out = self.steps(list(_flat(f"{where}.layers", module.layers)), signal)
        skip, kept = self.steps(list(_flat(f"{where}.shortcut", module.shortcut)), signal)
        if not (_has_weights(module.layers) or _has_weights(module.shortcut)):
            raise refuse(where, module, f"adds two summands without weights of their own, which correlate. {INSTEAD}")
        if (out.shape, out.positions, out.flattened) != (kept.shape, kept.positions, kept.flattened):
            raise refuse(where, module, f"adds shapes {kept.shape} and {out.shape}")
        return Sum(skip=Program(steps=tuple(skip)), branch=Program(steps=tuple(branch)), scale=module.scale), replace(
            kept, gaussian=out.gaussian and kept.gaussian
        )


def _resolve(steps: list[RecursionStep | Sum], *, full: bool) -> tuple[Program, bool]:
    """Which steps need every pair of positions, told backwards: whether the output does (``full``) tells the input."""
    resolved: list[RecursionStep | Sum] = []
    for step in reversed(steps):
        if isinstance(step, Sum):
            skip, skip_full = _resolve(list(step.skip.steps), full=full)
            branch, branch_full = _resolve(list(step.branch.steps), full=full)
            full = skip_full or branch_full
            step = replace(step, skip=_reduced(skip, full, skip_full), branch=_reduced(branch, full, branch_full))
        elif isinstance(step, Positions):
            step = replace(step, full_output=full)
            full = full or bool((step.matrix != 0).sum(1).max() > 1)
        elif isinstance(step, Dense) and step.over_positions:
            full = False
        resolved.append(step)
    return Program(steps=tuple(reversed(resolved))), full


def _reduced(program: Program, given: bool, needed: bool) -> Program:
    return Program(steps=(Diagonal(), *program.steps)) if given and not needed else program
