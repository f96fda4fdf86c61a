"""Named variants of the tables: mup's other forms, per-layer learning rates for sp and ntk, sp's stable limits.

Everett et al. 2024 (arXiv:2407.05872) solve for the largest stable per-layer learning rates under two assumptions
on how updates align with activations: full (alpha = u = 1, omega = 1/2) and none (all 1/2). Under full alignment
logits of sp and ntk may still grow like sqrt(n), which cross-entropy tolerates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mutransfer.theory.exponents import (
    HALF_IN,
    HALF_OUT,
    IN,
    ONE,
    OUT,
    SCALAR,
    Family,
    Parameterization,
    Power,
    Role,
    row,
)
from mutransfer.theory.tables import MUP, NTK, SP

_Rates = Mapping[Family, Power]


def _with_rates(
    table: Parameterization, name: str, title: str, source: str, rates: Mapping[Role, _Rates]
) -> Parameterization:
    """``table`` with other learning rates and an eps that follows the gradient at initialisation."""
    rows = dict(table.rows)
    for role, lr in rates.items():
        base = table.rows[role]
        gradient = NTK.rows[role].eps if table is NTK else ONE / HALF_OUT
        rows[role] = replace(base, lr=dict(lr), eps=gradient, source=f"{base.source}; {source}")
    return Parameterization(name=name, title=title, rows=rows)


def _rates(sgd: Power, adam: Power, adafactor: Power, muon: Power | None = None) -> _Rates:
    found = {Family.SGD: sgd, Family.ADAM: adam, Family.ADAFACTOR: adafactor}
    return found if muon is None else {**found, Family.MUON: muon}


def _per_layer(first: _Rates, hidden: _Rates, last: _Rates) -> dict[Role, _Rates]:
    return {
        Role.INPUT: first,
        Role.VECTOR: first,
        Role.HIDDEN: hidden,
        Role.OUTPUT: last,
        Role.BOTTLENECK: last,
    }


_SQRT_OUT_OVER_IN = HALF_OUT / HALF_IN

SP_FULL = _with_rates(
    SP,
    "sp_full_alignment",
    "standard parameterization, per-layer learning rates under full alignment",
    "Everett et al., SP full alignment",
    _per_layer(
        _rates(HALF_OUT, ONE, ONE),
        _rates(HALF_OUT / IN, ONE / IN, ONE / HALF_IN, muon=_SQRT_OUT_OVER_IN),
        _rates(ONE / IN, ONE / IN, ONE / HALF_IN),
    ),
)
SP_NONE = _with_rates(
    SP,
    "sp_no_alignment",
    "standard parameterization, per-layer learning rates under no alignment",
    "Everett et al., SP no alignment",
    _per_layer(
        _rates(HALF_OUT, ONE, ONE),
        _rates(HALF_OUT / HALF_IN, ONE / HALF_IN, ONE),
        _rates(ONE / HALF_IN, ONE / HALF_IN, ONE),
    ),
)
NTK_FULL = _with_rates(
    NTK,
    "ntk_full_alignment",
    "neural tangent parameterization, per-layer learning rates under full alignment",
    "Everett et al., NTK full alignment",
    _per_layer(
        _rates(HALF_OUT, ONE, ONE),
        _rates(HALF_OUT, ONE / HALF_IN, ONE / HALF_IN, muon=HALF_OUT),
        _rates(ONE, ONE / HALF_IN, ONE / HALF_IN),
    ),
)
NTK_NONE = _with_rates(
    NTK,
    "ntk_no_alignment",
    "neural tangent parameterization, per-layer learning rates under no alignment",
    "Everett et al., NTK no alignment",
    _per_layer(_rates(HALF_OUT, ONE, ONE), _rates(HALF_OUT * HALF_IN, ONE, ONE), _rates(HALF_IN, ONE, ONE)),
)

# What gradient descent in the NTK parameterization does, on standard weights: the shift of ntk to forward 1.
SP_KERNEL = _with_rates(
    SP,
    "sp_kernel",
    "standard parameterization with the learning rates of its kernel limit",
    "Tensor Programs IV Table 1 SP; IVb NTP, multiplier absorbed",
    {
        role: {**NTK.rows[role].absorbed().lr, Family.MUON: ONE / HALF_IN}
        for role in (Role.INPUT, Role.VECTOR, Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK)
    },
)


def _three_halves(side: Power) -> Power:
    return Power(side.fan_in * 1.5, side.fan_out * 1.5)


SP_GLOBAL_STABLE = _with_rates(
    SP,
    "sp_global_stable",
    "standard parameterization, one learning rate small enough for every layer",
    "Tensor Programs IV Theorem 4.1 (SGD 1/n); Adam n^-3/2 strictly, by IVb Theorem 2.8.12",
    _per_layer(
        _rates(ONE / OUT, _three_halves(ONE / OUT), ONE / OUT),
        _rates(ONE / IN, _three_halves(ONE / IN), ONE / IN),
        _rates(ONE / IN, _three_halves(ONE / IN), ONE / IN),
    ),
)

MUP_T3 = Parameterization(
    name="mup_t3",
    attention=1.0,
    title="maximal update parameterization, Table 3: no multipliers",
    rows={role: replace(r.absorbed(), source="Tensor Programs V Table 3") for role, r in MUP.rows.items()},
)
MUP_T9 = Parameterization(
    name="mup_t9",
    attention=1.0,
    title="maximal update parameterization, Table 9: one SGD learning rate",
    rows={
        role: replace(MUP.rows[role].shifted(f), source="Tensor Programs V Table 9")
        for role, f in {
            Role.INPUT: HALF_OUT,
            Role.VECTOR: HALF_OUT,
            Role.HIDDEN: ONE,
            Role.OUTPUT: HALF_IN,
            Role.BOTTLENECK: ONE / HALF_IN,
            Role.SCALAR: ONE,
        }.items()
    },
)

# For study: from three layers that average over weights on, the signal fades like n^-1/2 per layer and nothing
# moves (Hajjar, Chizat & Giraud 2021, arXiv:2110.15596, "IP").
MF_INTEGRABLE = Parameterization(
    name="mf_integrable",
    attention=1.0,
    title="integrable deep mean field (trivial from three weight-averaging layers on)",
    rows={
        Role.INPUT: row("Hajjar et al., IP l=1", sgd=OUT),
        Role.VECTOR: row("Hajjar et al., IP l=1", sgd=OUT),
        Role.HIDDEN: row("Hajjar et al., IP l>=2", forward=ONE / IN, sgd=IN * OUT),
        Role.OUTPUT: row("Hajjar et al., IP L+1", forward=ONE / IN, sgd=IN * OUT),
        Role.BOTTLENECK: row("Hajjar et al., IP L+1", forward=ONE / IN, sgd=IN * OUT),
        Role.SCALAR: SCALAR,
    },
)

LR_RULES: Mapping[tuple[str, str], Parameterization] = {
    ("sp", "full_alignment"): SP_FULL,
    ("sp", "no_alignment"): SP_NONE,
    ("ntk", "full_alignment"): NTK_FULL,
    ("ntk", "no_alignment"): NTK_NONE,
}
VARIANTS: Mapping[str, Parameterization] = {
    table.name: table for table in (MUP_T3, MUP_T9, SP_KERNEL, SP_GLOBAL_STABLE, MF_INTEGRABLE, *LR_RULES.values())
}
