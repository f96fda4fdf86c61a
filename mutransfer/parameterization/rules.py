"""The table of width exponents per (parameterization, role, optimizer family). Pure data, no torch.

Every entry is a :class:`Power` of the two width multipliers of a tensor,

    m_in = fan_in / fan_in_base      m_out = fan_out / fan_out_base,

where dimensions that do not grow count 1. A layer computes ``h = forward * (w @ x)`` with
``w ~ (init * sigma)^2``, trained with ``lr * eta`` and, in the Adam family, ``eps * epsilon``. At base width
every factor is exactly 1, so that every parameterization is the user's own model there.

Sources: Yang & Hu 2021 (Tensor Programs IV, arXiv:2011.14522) Table 1; Yang & Littwin 2023 (Tensor Programs
IVb, arXiv:2308.01814) section 2.2 for NTK with Adam and the scaling of eps; Yang et al. 2022 (Tensor Programs
V, arXiv:2203.03466) Tables 3 and 8; Everett et al. 2024 (arXiv:2407.05872) Table 1 for the deep mean field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


OPTIMIZERS: Mapping[str, Family] = {"sgd": Family.SGD, "adam": Family.ADAM, "adamw": Family.ADAM}


@dataclass(frozen=True)
class Power:
    """The factor ``m_in**fan_in * m_out**fan_out``; a negative exponent shrinks with width."""

    fan_in: float = 0.0
    fan_out: float = 0.0

    def __call__(self, m_in: float, m_out: float) -> float:
        return float(m_in**self.fan_in * m_out**self.fan_out)

    def __mul__(self, other: Power) -> Power:
        return Power(self.fan_in + other.fan_in, self.fan_out + other.fan_out)

    def __truediv__(self, other: Power) -> Power:
        return Power(self.fan_in - other.fan_in, self.fan_out - other.fan_out)


ONE = Power()


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one role grows: forward multiplier, init std, and per family learning rate; eps for Adam."""

    forward: Power = ONE
    init: Power = ONE
    lr: Mapping[Family, Power]
    eps: Power = ONE
    source: str

    def absorbed(self) -> Row:
        """The same training with the forward multiplier folded into init, learning rate and eps.

        Shift theta = -a of Tensor Programs IV Eq. (5) for SGD (lr times forward^2) and IVb Eq. (2.5) for Adam
        (lr times forward, eps over forward).
        """
        f = self.forward
        if f == ONE:
            return self
        lr = {Family.SGD: self.lr[Family.SGD] * f * f, Family.ADAM: self.lr[Family.ADAM] * f}
        return Row(init=self.init * f, lr=lr, eps=self.eps / f, source=f"{self.source}, multiplier absorbed")


@dataclass(frozen=True, kw_only=True)
class Parameterization:
    """A named table: one :class:`Row` per role. A user's own table is a value of this type.

    ``corrects_init=False`` leaves the model's own initialisation as it is, whatever its law.
    """

    name: str
    title: str
    rows: Mapping[Role, Row]
    corrects_init: bool = True

    def __post_init__(self) -> None:
        missing = [role for role in Role if role not in self.rows]
        if missing:
            raise PlanError(f"parameterization {self.name!r} has no row for {', '.join(missing)}")


def _row(source: str, *, sgd: Power, adam: Power, forward: Power = ONE, init: Power = ONE, eps: Power = ONE) -> Row:
    return Row(forward=forward, init=init, lr={Family.SGD: sgd, Family.ADAM: adam}, eps=eps, source=source)


IN = Power(fan_in=1)
OUT = Power(fan_out=1)
HALF_IN = Power(fan_in=0.5)
HALF_OUT = Power(fan_out=0.5)

_UNSCALED = _row("no width rule", sgd=ONE, adam=ONE)
_SCALAR = _row("finite: no width rule (Tensor Programs V, Appendix B)", sgd=ONE, adam=ONE)


def _sp(source: str, init: Power = ONE) -> Row:
    return _row(source, init=init, sgd=ONE, adam=ONE)


SP = Parameterization(
    name="sp",
    title="standard parameterization, one learning rate",
    rows={
        Role.INPUT: _sp("Everett et al. Table 1, STP embedding"),
        Role.HIDDEN: _sp("Everett et al. Table 1, STP hidden", init=ONE / HALF_IN),
        Role.OUTPUT: _sp("Everett et al. Table 1, STP readout", init=ONE / HALF_IN),
        Role.BOTTLENECK: _sp("Everett et al. Table 1, STP readout", init=ONE / HALF_IN),
        Role.VECTOR: _sp("Everett et al. Table 1, STP embedding (fan_in 1)"),
        Role.SCALAR: _SCALAR,
    },
)

AS_IS = Parameterization(
    name="as_is",
    title="the model untouched, one learning rate",
    rows=dict.fromkeys(Role, _UNSCALED),
    corrects_init=False,
)


def _ntk(source: str, forward: Power = ONE) -> Row:
    # Gradient descent on unit-variance weights with a 1/sqrt(fan_in) multiplier has one learning rate; Adam's
    # step must also carry the gradient's own size, (m_in m_out)^-1/2.
    gradient = ONE / HALF_IN / HALF_OUT
    return _row(source, forward=forward, sgd=ONE, adam=gradient, eps=gradient)


NTK = Parameterization(
    name="ntk",
    title="neural tangent parameterization, kernel limit",
    rows={
        Role.INPUT: _ntk("Tensor Programs IV Table 1 NTP l=1; IVb NTP c=1/2"),
        Role.HIDDEN: _ntk("Tensor Programs IV Table 1 NTP l>=2; IVb NTP c=1", forward=ONE / HALF_IN),
        Role.OUTPUT: _ntk("Tensor Programs IV Table 1 NTP L+1; IVb NTP c=1/2", forward=ONE / HALF_IN),
        Role.BOTTLENECK: _ntk("Tensor Programs IV Table 1 NTP L+1; IVb NTP c=1/2", forward=ONE / HALF_IN),
        Role.VECTOR: _ntk("Tensor Programs IV Table 1 NTP l=1 (fan_in 1); IVb NTP c=1/2"),
        Role.SCALAR: _SCALAR,
    },
)

MUP = Parameterization(
    name="mup",
    title="maximal update parameterization",
    rows={
        Role.INPUT: _row("Tensor Programs V Table 8, input", sgd=OUT, adam=ONE, eps=ONE / OUT),
        Role.HIDDEN: _row(
            "Tensor Programs V Table 8, hidden",
            init=ONE / HALF_IN,
            sgd=OUT / IN,
            adam=ONE / IN,
            eps=ONE / OUT,
        ),
        Role.OUTPUT: _row(
            "Tensor Programs V Table 8, output", forward=ONE / IN, sgd=IN * OUT, adam=ONE, eps=ONE / IN / OUT
        ),
        # Inside the network the update must stay right while the output at init may fade like m^-1/2.
        Role.BOTTLENECK: _row(
            "Tensor Programs V Table 3, output", init=ONE / IN, sgd=OUT / IN, adam=ONE / IN, eps=ONE / OUT
        ),
        Role.VECTOR: _row("Tensor Programs V Table 8, biases", sgd=OUT, adam=ONE, eps=ONE / OUT),
        Role.SCALAR: _SCALAR,
    },
)

MF = Parameterization(
    name="mf",
    title="mean-field parameterization",
    rows={
        Role.INPUT: _row("Everett et al. Table 1, MFP embedding", sgd=OUT, adam=ONE, eps=ONE / OUT),
        Role.HIDDEN: _row(
            "Everett et al. Table 1, MFP hidden",
            forward=ONE / HALF_IN,
            sgd=OUT,
            adam=ONE / HALF_IN,
            eps=ONE / HALF_IN / OUT,
        ),
        Role.OUTPUT: _row(
            "Everett et al. Table 1, MFP readout",
            forward=ONE / IN,
            sgd=IN * OUT,
            adam=ONE,
            eps=ONE / IN / OUT,
        ),
        Role.BOTTLENECK: _row(
            "Everett et al. Table 1, MFP readout",
            forward=ONE / IN,
            sgd=IN * OUT,
            adam=ONE,
            eps=ONE / IN / OUT,
        ),
        Role.VECTOR: _row("Everett et al. Table 1, MFP embedding (fan_in 1)", sgd=OUT, adam=ONE, eps=ONE / OUT),
        Role.SCALAR: _SCALAR,
    },
)

PARAMETERIZATIONS: Mapping[str, Parameterization] = {p.name: p for p in (SP, AS_IS, NTK, MF, MUP)}

WD_POLICIES = ("independent", "sqrt", "standard")
FORMS = ("forward", "absorbed")


def parameterization(which: str | Parameterization) -> Parameterization:
    """The table named ``which``, or ``which`` itself when it is a table already."""
    if isinstance(which, Parameterization):
        return which
    if which not in PARAMETERIZATIONS:
        raise PlanError(
            f"unknown parameterization {which!r}: expected one of {', '.join(PARAMETERIZATIONS)}, "
            "or a mutransfer.Parameterization of your own"
        )
    return PARAMETERIZATIONS[which]


def family(optimizer: str) -> Family:
    """The family of a torch optimizer's lower-case name.

    >>> family("adamw")
    <Family.ADAM: 'adam'>
    """
    name = optimizer.lower()
    if name not in OPTIMIZERS:
        raise PlanError(f"no rule for optimizer {optimizer!r}: expected one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def wd_factor(policy: str, role: Role, lr_factor: float, m_in: float) -> float:
    """The factor on weight decay, for optimizers that decay by ``lr * wd * w``.

    ``independent``: lr * wd constant in width (Wang & Aitchison, arXiv:2405.13698; what MuAdamW does).
    ``sqrt``: lr * wd ~ m^-1/2 for hidden matrices, none for the rest (Fan et al., arXiv:2510.15262).
    ``standard``: weight decay untouched; it then weakens or grows with the learning rate.
    """
    if policy == "independent":
        return 1.0 / lr_factor
    if policy == "sqrt":
        return m_in**-0.5 / lr_factor if role is Role.HIDDEN else 0.0
    if policy == "standard":
        return 1.0
    raise PlanError(f"unknown wd_policy {policy!r}: expected one of {', '.join(WD_POLICIES)}")
