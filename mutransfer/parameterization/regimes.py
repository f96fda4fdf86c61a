"""From exponents to what happens at infinite width: unstable, trivial, kernel or feature learning.

Pure arithmetic. Conventions: exponents x mean factors n**-x, for (input, hidden, output). SGD: Tensor Programs
IV (arXiv:2011.14522) Definition 3.2 and Theorems 3.3, 3.4, 3.8, with per-layer learning rates. Adam: Tensor
Programs IVb (arXiv:2308.01814) Definition 2.8.5 and Theorems 2.8.12, 2.8.15.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mutransfer.parameterization import rules
from mutransfer.parameterization.rules import Family, Parameterization, Power, Role

_TIGHT = 1e-9  # exponents are multiples of 1/2; sums of them are exact, user tables may not be


class Kind(StrEnum):
    """The limits of Tensor Programs IV, section 3, and the one that its initial conditions exclude."""

    DEGENERATE = "degenerate"  # activations vanish or blow up at initialisation
    UNSTABLE = "unstable"  # activations or logits blow up in training
    TRIVIAL = "trivial"  # the function does not move
    KERNEL = "kernel"  # the function moves, features do not
    FEATURE_LEARNING = "feature learning"


@dataclass(frozen=True, kw_only=True)
class Regime:
    """The regime, r (features move by n**-r), and the inequality that decides."""

    kind: Kind
    r: float
    binding: str
    usable_with_cross_entropy: bool
    change: tuple[float, float, float]  # exponents of n of the change of (first layer, hidden layers, logits)
    logits_at_init: float  # exponent of n of the logits before training


def classify(
    a: Sequence[float],
    b: Sequence[float],
    c: Sequence[float],
    *,
    optimizer: str,
    depth: int,
    omega_out: float = 1.0,
    eps: Sequence[float] | None = None,
) -> Regime:
    """Classify an abc-parameterization: multiplier n**-a, init std n**-b, learning rate n**-c.

    Args:
        a, b, c: exponents for (input, hidden, output) weights.
        optimizer: lower-case name; decides the family.
        depth: number of hidden layers L; with 1 there is no hidden-to-hidden matrix.
        omega_out: alignment of the readout's initial weights with the change of its input: 1 as in Tensor
            Programs, 1/2 relaxed as in Everett et al.
        eps: exponents of Adam's eps; where they differ from those of the gradient the update is unfaithful
            (Tensor Programs IVb, Lemma 2.8.11) and the binding says so.

    >>> classify((0, 0, 1), (0, 0.5, 0), (0, 1, 0), optimizer="adam", depth=3).kind  # mup, Table 8
    <Kind.FEATURE_LEARNING: 'feature learning'>
    >>> classify((0, 0.5, 0.5), (0, 0, 0), (0, 0, 0), optimizer="sgd", depth=3).kind  # NTK
    <Kind.KERNEL: 'kernel'>
    """
    (a1, ah, ao), (b1, bh, bo), (c1, ch, co) = a, b, c
    deep = depth > 1
    kind_of_step = rules.family(optimizer)
    if kind_of_step is Family.SGD:
        gradient = min(ao + bo, 2 * ao + co)
        r1, rh, ro = gradient + 2 * a1 + c1, gradient + 2 * ah + ch - 1, 2 * ao + co - 1
    elif kind_of_step is Family.ADAM:
        r1, rh, ro = a1 + c1, ah + ch - 1, ao + co - 1
    elif kind_of_step is Family.ADAFACTOR:  # a relative step: Adam's with the weight's own size, n**-b, on the rate
        r1, rh, ro = a1 + b1 + c1, ah + bh + ch - 1, ao + bo + co - 1
    else:  # Muon: an update of spectral norm 1, aligned with its input
        r1, rh, ro = a1 + c1 + 0.5, ah + ch, ao + co - 0.5
    r = min(r1, rh) if deep else r1
    propagated = ao + bo + r - omega_out
    init_ok = abs(a1 + b1) < _TIGHT and (not deep or abs(ah + bh - 0.5) < _TIGHT) and ao + bo >= 0.5 - _TIGHT
    terms = {"first layer": r1, "hidden update": rh, "readout update": ro, "readout propagated": propagated}
    if not deep:
        del terms["hidden update"]
    worst = min(terms, key=lambda name: terms[name])
    only_propagated = min(r, ro) >= -_TIGHT and propagated < -_TIGHT
    if not init_ok:
        kind = Kind.DEGENERATE
        binding = f"a+b = {a1 + b1:g}, {ah + bh:g}, {ao + bo:g}; expected 0, 1/2 and at least 1/2"
    elif terms[worst] < -_TIGHT:
        kind, binding = Kind.UNSTABLE, f"{worst} = {terms[worst]:g} < 0"
    elif ro > _TIGHT and propagated > _TIGHT:
        kind, binding = (
            Kind.TRIVIAL,
            f"readout update = {ro:g} > 0 and readout propagated = {propagated:g} > 0",
        )
    elif r <= _TIGHT:
        kind, binding = Kind.FEATURE_LEARNING, "r = 0"
    else:
        kind, binding = Kind.KERNEL, f"r = {r:g} > 0"
    faithful = _faithful_eps(a, b)
    if eps is not None and rules.family(optimizer) is Family.ADAM and tuple(eps) != faithful:
        binding += f"; eps unfaithful: {tuple(eps)}, the gradient scales as {faithful}"
    return Regime(
        kind=kind,
        r=r,
        binding=binding,
        usable_with_cross_entropy=kind not in (Kind.UNSTABLE, Kind.DEGENERATE)
        or (init_ok and only_propagated and ao + bo + r >= 0.5 - _TIGHT),
        change=(0.0 - r1, 0.0 - r, 0.0 - min(ro, propagated)),
        logits_at_init=0.5 - ao - bo,
    )


def classify_table(table: Parameterization, *, optimizer: str, depth: int) -> Regime:
    """:func:`classify` for one of our tables, with every dimension growing in proportion to n."""
    kind = rules.family(optimizer)
    rows = [table.rows[role] for role in (Role.INPUT, Role.HIDDEN, Role.OUTPUT)]

    def exponents(powers: Sequence[rules.Power]) -> tuple[float, ...]:
        first, hidden, last = powers
        return 0.0 - first.fan_out, 0.0 - hidden.fan_in - hidden.fan_out, 0.0 - last.fan_in

    return classify(
        exponents([row.forward for row in rows]),
        exponents([row.init for row in rows]),
        exponents([row.rate(kind) for row in rows]),
        optimizer=optimizer,
        depth=depth,
        eps=exponents([row.eps for row in rows]) if kind is Family.ADAM else None,
    )


def drift(table: Parameterization, *, optimizer: str, depth: int) -> float:
    """Octaves per doubling by which the largest stable learning rate moves: what an optimum at its edge does.

    The least factor n**-x on every learning rate with which no term is negative, logits relaxed to omega_out
    = 1/2 (Everett et al., arXiv:2407.05872: cross-entropy tolerates growing logits).

    >>> from mutransfer.parameterization.rules import MUP, SP
    >>> drift(MUP, optimizer="adam", depth=3), drift(SP, optimizer="adam", depth=3)
    (0.0, -1.0)
    """
    for quarters in range(-8, 9):
        regime = classify_table(_slowed(table, quarters / 4), optimizer=optimizer, depth=depth)
        if regime.usable_with_cross_entropy:
            return -quarters / 4
    return float("nan")


def _slowed(table: Parameterization, x: float) -> Parameterization:
    """The table with every learning rate multiplied by n**-x."""
    rows = {}
    for role, row in table.rows.items():
        side = Power(fan_in=-x) if role in (Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK) else Power(fan_out=-x)
        rows[role] = replace(row, lr={kind: power * side for kind, power in row.lr.items()})
    return replace(table, rows=rows)


def _faithful_eps(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    # d_l = a_l + a_{L+1} + b_{L+1} for l <= L, d_{L+1} = a_{L+1}; entries of a hidden matrix's gradient carry
    # one more a_l than the first layer's, which is part of a_l itself.
    return a[0] + a[2] + b[2], a[1] + a[2] + b[2], a[2]
