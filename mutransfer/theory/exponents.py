"""The vocabulary of the tables: roles, optimizer families, powers of the width multipliers, and rows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from mutransfer.errors import PlanError


class Role(StrEnum):
    """What a parameter is to the width limit, by which of its dimensions grow."""

    INPUT = "input"  # fan_out grows, fan_in is finite: embeddings, first layers
    HIDDEN = "hidden"  # both grow
    OUTPUT = "output"  # fan_in grows, fan_out is finite: readouts
    BOTTLENECK = "bottleneck"  # like output, but inside the network: routers, low-rank down-projections
    VECTOR = "vector"  # one growing dimension that is not contracted: biases, gains, depthwise kernels
    SCALAR = "scalar"  # nothing grows: a readout's bias, a temperature


class Family(StrEnum):
    """Optimizers that share a row: what the size of one step depends on."""

    SGD = "sgd"  # step proportional to the gradient
    ADAM = "adam"  # step independent of the gradient's size
    ADAFACTOR = "adafactor"  # relative step: independent of the gradient's size, proportional to the weight's
    MUON = "muon"  # orthogonalised step of spectral norm 1; matrices only


@dataclass(frozen=True)
class Power:
    """The factor ``m_in**fan_in * m_out**fan_out``; a negative exponent shrinks with width.

    >>> (Power(fan_out=1) / Power(fan_in=1))(4.0, 2.0)
    0.5
    """

    fan_in: float = 0.0
    fan_out: float = 0.0

    def __call__(self, m_in: float, m_out: float) -> float:
        return float(m_in**self.fan_in * m_out**self.fan_out)

    def __mul__(self, other: Power) -> Power:
        return Power(self.fan_in + other.fan_in, self.fan_out + other.fan_out)

    def __truediv__(self, other: Power) -> Power:
        return Power(self.fan_in - other.fan_in, self.fan_out - other.fan_out)

    def __pow__(self, k: int) -> Power:
        return Power(self.fan_in * k, self.fan_out * k)


ONE = Power()
IN = Power(fan_in=1)
OUT = Power(fan_out=1)
HALF_IN = Power(fan_in=0.5)
HALF_OUT = Power(fan_out=0.5)


# The power of f that divides a learning rate when the forward multiplier is multiplied and the weight divided by f:
# Tensor Programs IV Eq. (5) for SGD and IVb Eq. (2.5) for Adam; an orthogonalised step is as free of the gradient's
# size as Adam's; a relative step follows the weight.
SHIFT: Mapping[Family, int] = {Family.SGD: 2, Family.ADAM: 1, Family.ADAFACTOR: 0, Family.MUON: 1}


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one role grows: forward multiplier, init std, learning rate per family, and eps for the Adam family."""

    forward: Power = ONE
    init: Power = ONE
    lr: Mapping[Family, Power]
    eps: Power = ONE
    constant: Power = ONE  # on weights that start as constants, which init leaves alone: only shifts reach them
    source: str

    def rate(self, family: Family) -> Power:
        """The learning rate's power for a family; PlanError where the table has none."""
        if family not in self.lr:
            raise PlanError(f"the row [{self.source}] has no learning rate for {family}, only for {', '.join(self.lr)}")
        return self.lr[family]

    def shifted(self, f: Power) -> Row:
        """The same training with the forward multiplier times ``f``, which everything else makes up for."""
        if f == ONE:
            return self
        return Row(
            forward=self.forward * f,
            init=self.init / f,
            lr={family: power / f ** SHIFT[family] for family, power in self.lr.items()},
            eps=self.eps * f,
            constant=self.constant / f,
            source=self.source,
        )

    def absorbed(self) -> Row:
        """The same training with no forward multiplier."""
        if self.forward == ONE:
            return self
        return replace(self.shifted(ONE / self.forward), source=f"{self.source}, multiplier absorbed")


@dataclass(frozen=True, kw_only=True)
class Parameterization:
    """A named table: one :class:`Row` per role. A user's own table is a value of this type.

    ``corrects_init=False`` leaves the model's own initialisation as it is, whatever its law.
    """

    name: str
    title: str
    rows: Mapping[Role, Row]
    corrects_init: bool = True
    attention: float = 0.5  # logits are divided by head_size**attention where heads grow

    def __post_init__(self) -> None:
        missing = [role for role in Role if role not in self.rows]
        if missing:
            raise PlanError(f"parameterization {self.name!r} has no row for {', '.join(missing)}")


def row(
    source: str,
    *,
    sgd: Power | None = None,
    adam: Power | None = None,
    adafactor: Power | None = None,
    muon: Power | None = None,
    forward: Power = ONE,
    init: Power = ONE,
    eps: Power = ONE,
) -> Row:
    """A row with the learning rates of the families that the table covers."""
    rates = {Family.SGD: sgd, Family.ADAM: adam, Family.ADAFACTOR: adafactor, Family.MUON: muon}
    lr = {family: power for family, power in rates.items() if power is not None}
    return Row(forward=forward, init=init, lr=lr, eps=eps, source=source)


UNSCALED = row("no width rule", sgd=ONE, adam=ONE, adafactor=ONE, muon=ONE)
SCALAR = row("finite: no width rule (Tensor Programs V, Appendix B)", sgd=ONE, adam=ONE, adafactor=ONE, muon=ONE)
