"""How an initialisation scales with the sizes of a parameter: laws with exact exponents, and torch's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod

from mutransfer.parameterization.roles.parameter import Parameter


@dataclass(frozen=True)
class InitLaw:
    """The model's own std follows ``fan_in**-fan_in * fan_out**-fan_out``, or Glorot's law."""

    fan_in: float = 0.0
    fan_out: float = 0.0
    glorot: bool = False
    width: float = 0.0  # of a finite parameter, whose own shape says nothing: T5's position biases
    constant: bool = False  # the same values whatever the seed: zeros, ones, tables
    to_target: float | None = None  # no power holds all the way: how the std changes from base to target, as measured

    def __str__(self) -> str:
        if self.to_target is not None:
            return f"x {self.to_target:.3g} from base to target, by no law"
        if self.constant:
            return "constant"
        if self.glorot:
            return "(fan_in + fan_out)^-1/2"
        powers = {"fan_in": self.fan_in, "fan_out": self.fan_out, "width": self.width}
        if not any(powers.values()):
            return "width-independent"
        return " ".join(f"{side}^-{_fraction(x)}" for side, x in powers.items() if x)


CONSTANT = InitLaw(constant=True)
LAWS = (InitLaw(), InitLaw(0.5), InitLaw(1.0), InitLaw(0, 0.5), InitLaw(0, 1.0), InitLaw(glorot=True))
FINITE_LAWS = (InitLaw(), InitLaw(width=0.5), InitLaw(width=1.0))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The law of one parameter, and its root-mean-square at base and at target width (None: not measured)."""

    law: InitLaw
    base_rms: float | None
    target_rms: float | None = None


def law_factor(law: InitLaw, parameter: Parameter, which: int) -> float:
    """How the model's own std changes from ``parameter.shapes[0]`` to ``parameter.shapes[which]``.

    What was measured from base to target is known there alone.
    """
    if law.to_target is not None:
        return law.to_target
    if law.constant:
        return 1.0
    if law.glorot:
        return math.sqrt(_fan_sum(parameter.shapes[0]) / _fan_sum(parameter.shapes[which]))
    if law.width:
        return parameter.growth[which] ** -law.width
    m_in, m_out = parameter.multiplier("fan_in", which), parameter.multiplier("fan_out", which)
    if parameter.bias_fan_in is not None:
        m_in = parameter.bias_fan_in[which] / parameter.bias_fan_in[0]
    return float(m_in**-law.fan_in * m_out**-law.fan_out)


def default_law(parameter: Parameter) -> InitLaw:
    """The law of the torch module that owns ``parameter``: Linear and Conv 1/sqrt(fan_in), others none."""
    if parameter.bias_fan_in is not None:
        return InitLaw(0.5)
    if parameter.axes is None or not parameter.axes.fan_in:
        return InitLaw()
    # torch counts all dimensions but the first as fan_in, also where the first is the contracted one.
    return InitLaw(0, 0.5) if 0 in parameter.axes.fan_in else InitLaw(0.5)


def _fan_sum(shape: tuple[int, ...]) -> int:
    return (shape[0] + shape[1]) * prod(shape[2:])  # as torch.nn.init counts fan_in and fan_out of any tensor


def default_rms(parameter: Parameter, which: int) -> float | None:
    """Root-mean-square under torch's own reset_parameters, where that is random."""
    if parameter.bias_fan_in is not None:
        return 1 / math.sqrt(3 * parameter.bias_fan_in[which])
    if parameter.axes is None:
        return None
    if not parameter.axes.fan_in:
        return 1.0  # nn.Embedding: N(0, 1)
    return 1 / math.sqrt(3 * prod(parameter.shapes[which][1:]))


def _fraction(x: float) -> str:
    return "1/2" if x == 0.5 else f"{x:g}"
