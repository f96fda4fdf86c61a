"""The five main tables of width exponents, a row per role. Pure data.

Every entry is a power of the two width multipliers of a tensor,

    m_in = fan_in / fan_in_base      m_out = fan_out / fan_out_base,

where dimensions that do not grow count 1. A layer computes ``h = forward * (w @ x)`` with w drawn at ``init``
times the base std, trained at ``lr`` times the base rate and, in the Adam family, with ``eps`` times the base
eps. At base width every factor is exactly 1: every parameterization is the user's own model there.

Sources: Yang & Hu 2021 (Tensor Programs IV, arXiv:2011.14522) Table 1; Yang & Littwin 2023 (Tensor Programs
IVb, arXiv:2308.01814) section 2.2 for NTK with Adam, Lemma 2.8.11 for eps; Yang et al. 2022 (Tensor Programs V,
arXiv:2203.03466) Tables 3 and 8; Everett et al. 2024 (arXiv:2407.05872) Table 1 for the deep mean field and
Adafactor. Muon's rates follow from the spectral condition ||dW|| ~ sqrt(fan_out / fan_in) (Yang, Simon & Bernstein
2023, arXiv:2310.17813); they are those of the plain orthogonalised step, before torch's ``adjust_lr_fn``.
"""

from __future__ import annotations

from dataclasses import replace

from mutransfer.theory.exponents import (
    HALF_IN,
    HALF_OUT,
    IN,
    ONE,
    OUT,
    SCALAR,
    UNSCALED,
    Parameterization,
    Power,
    Role,
    Row,
    row,
)


def _sp(source: str, init: Power = ONE) -> Row:
    return row(source, init=init, sgd=ONE, adam=ONE, adafactor=ONE, muon=ONE)


SP = Parameterization(
    name="sp",
    title="standard parameterization, one learning rate",
    rows={
        Role.INPUT: _sp("Everett et al. Table 1, STP embedding"),
        Role.HIDDEN: _sp("Everett et al. Table 1, STP hidden", init=ONE / HALF_IN),
        Role.OUTPUT: _sp("Everett et al. Table 1, STP readout", init=ONE / HALF_IN),
        Role.BOTTLENECK: _sp("Everett et al. Table 1, STP readout", init=ONE / HALF_IN),
        Role.VECTOR: _sp("Everett et al. Table 1, STP embedding (fan_in 1)"),
        Role.SCALAR: SCALAR,
    },
)

AS_IS = Parameterization(
    name="as_is",
    title="the model untouched, one learning rate",
    rows=dict.fromkeys(Role, UNSCALED),
    corrects_init=False,
)


def _ntk(source: str, forward: Power = ONE) -> Row:
    # Gradient descent on unit-variance weights with a 1/sqrt(fan_in) multiplier has one learning rate; Adam's
    # step must also carry the gradient's own size, (m_in m_out)^-1/2.
    gradient = ONE / HALF_IN / HALF_OUT
    return row(source, forward=forward, sgd=ONE, adam=gradient, adafactor=gradient, muon=ONE, eps=gradient)


NTK = Parameterization(
    name="ntk",
    title="neural tangent parameterization, kernel limit",
    rows={
        Role.INPUT: _ntk("Tensor Programs IV Table 1 NTP l=1; IVb NTP c=1/2"),
        Role.HIDDEN: _ntk("Tensor Programs IV Table 1 NTP l>=2; IVb NTP c=1", forward=ONE / HALF_IN),
        Role.OUTPUT: _ntk("Tensor Programs IV Table 1 NTP L+1; IVb NTP c=1/2", forward=ONE / HALF_IN),
        Role.BOTTLENECK: _ntk("Tensor Programs IV Table 1 NTP L+1; IVb NTP c=1/2", forward=ONE / HALF_IN),
        Role.VECTOR: _ntk("Tensor Programs IV Table 1 NTP l=1 (fan_in 1); IVb NTP c=1/2"),
        Role.SCALAR: SCALAR,
    },
)

_SPECTRAL = HALF_OUT / HALF_IN  # sqrt(fan_out / fan_in)

MUP = Parameterization(
    name="mup",
    attention=1.0,
    title="maximal update parameterization",
    rows={
        Role.INPUT: row(
            "Tensor Programs V Table 8, input", sgd=OUT, adam=ONE, adafactor=ONE, muon=HALF_OUT, eps=ONE / OUT
        ),
        Role.HIDDEN: row(
            "Tensor Programs V Table 8, hidden",
            init=ONE / HALF_IN,
            sgd=OUT / IN,
            adam=ONE / IN,
            adafactor=ONE / HALF_IN,
            muon=_SPECTRAL,
            eps=ONE / OUT,
        ),
        Role.OUTPUT: row(
            "Tensor Programs V Table 8, output",
            forward=ONE / IN,
            sgd=IN * OUT,
            adam=ONE,
            adafactor=ONE,
            muon=_SPECTRAL * IN,
            eps=ONE / IN / OUT,
        ),
        # Inside the network the update must stay right while the init output may fade like m^-1/2: init std 1/m_in.
        Role.BOTTLENECK: row(
            "Tensor Programs V Table 3, output",
            init=ONE / IN,
            sgd=OUT / IN,
            adam=ONE / IN,
            adafactor=ONE,
            muon=_SPECTRAL,
            eps=ONE / OUT,
        ),
        Role.VECTOR: row(
            "Tensor Programs V Table 8, biases", sgd=OUT, adam=ONE, adafactor=ONE, muon=HALF_OUT, eps=ONE / OUT
        ),
        Role.SCALAR: SCALAR,
    },
)


def _shift(which: Role, f: Power, source: str) -> Row:
    """A row of mup's with another forward multiplier: the same training by the symmetry of abc-parameterizations."""
    return replace(MUP.rows[which].shifted(f), source=source)


MF = Parameterization(
    name="mf",
    attention=1.0,
    title="mean-field parameterization",
    rows={
        Role.INPUT: _shift(Role.INPUT, ONE, "Everett et al. Table 1, MFP embedding"),
        Role.HIDDEN: _shift(Role.HIDDEN, ONE / HALF_IN, "Everett et al. Table 1, MFP hidden"),
        Role.OUTPUT: _shift(Role.OUTPUT, ONE, "Everett et al. Table 1, MFP readout"),
        Role.BOTTLENECK: _shift(Role.BOTTLENECK, ONE / IN, "Everett et al. Table 1, MFP readout"),
        Role.VECTOR: _shift(Role.VECTOR, ONE, "Everett et al. Table 1, MFP embedding (fan_in 1)"),
        Role.SCALAR: SCALAR,
    },
)
