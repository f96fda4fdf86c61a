"""The inequalities of Tensor Programs on exponents, and the limit that they decide.

Conventions and sources are those of ``regimes``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mutransfer.theory.limits import Kind, Regime
from mutransfer.theory.rules import Family, Role

TIGHT = 1e-9  # exponents are multiples of 1/2; sums of them are exact, user tables may not be
ROLES = (Role.INPUT, Role.HIDDEN, Role.OUTPUT, Role.VECTOR, Role.BOTTLENECK)


def _update(kind: Family, role: Role, gradient: float, a: float, b: float, c: float) -> float:
    """r of one layer: its update changes what it computes by n**-r, where dL/dh has entries n**-gradient.

    A contracted dimension aligns with the input and gives a factor n; a finite one, and a vector's, does not.
    """
    contracts = 0.0 if role in (Role.INPUT, Role.VECTOR) else 1.0
    if kind is Family.SGD:
        return gradient + 2 * a + c - contracts
    if kind is Family.ADAM:
        return a + c - contracts
    if kind is Family.ADAFACTOR:  # a relative step: Adam's with the weight's own size, n**-b, on the rate
        return a + b + c - contracts
    # Muon's update has spectral norm 1 and is aligned with its input: sqrt(fan_in / fan_out) per coordinate.
    return a + c + {Role.INPUT: 0.5, Role.VECTOR: 0.5, Role.HIDDEN: 0.0}.get(role, -0.5)


def classify_exponents(
    a: Sequence[float],
    b: Sequence[float],
    c: Sequence[float],
    kinds: Sequence[Family],
    depth: int,
    omega_out: float,
    eps: Sequence[float] | None,
) -> Regime:
    """The regime of exponents for the first of ``ROLES``, each trained by one of ``kinds``."""
    deep = depth > 1
    first, hidden, readout = a[0] + b[0], a[1] + b[1], a[2] + b[2]
    # Of the loss by the last features: by the readout as it is drawn, or by what its updates have made of it since.
    gradient = readout
    if kinds[2] is Family.SGD and 2 * a[2] + c[2] >= 1 - TIGHT:
        gradient = min(readout, 2 * a[2] + c[2])
    # Else the readout's own update makes the logits blow up, and no power of n describes "since". The first step has
    # one, by the readout as drawn. For sp at a constant rate dL/dh is like n**-1/2, and so is the first layer's move; a
    # hidden one sums n aligned terms of n**-1/2; the logits move by n from the readout's own update and by
    # n * n**-1/2 * n**1/2 from what reaches it: (-1/2, 1/2, 1).
    if kinds[2] is Family.ADAM:
        gradient = min(readout, a[2] + c[2])
    gradients = [gradient, gradient, 0.0, gradient][: len(a)]
    terms = dict(
        zip(
            ("first layer", "hidden update", "readout update", "vector update"),
            (_update(*x) for x in zip(kinds, ROLES, gradients, a, b, c, strict=False)),
            strict=False,
        )
    )
    r1, ro = terms["first layer"], terms["readout update"]
    own = dict(zip(map(str, ROLES), terms.values(), strict=False))
    if not deep:
        del terms["hidden update"]
    r = min(r1, terms.get("hidden update", r1))
    terms["readout propagated"] = propagated = readout + r - omega_out
    if len(a) > 4:
        # Gradients at a bottleneck sum over the n units that read it: as sqrt(n) by chance, as n once the weights
        # that read it (an input layer's, moving by n**-r1) have aligned with them.
        summed = min(gradient - 0.5, gradient - 1 + r1)
        terms["bottleneck update"] = _update(kinds[4], Role.BOTTLENECK, summed, a[4], b[4], c[4])
        own[str(Role.BOTTLENECK)] = terms["bottleneck update"]
        gradients.append(summed)
    init_ok = abs(first) < TIGHT and (not deep or abs(hidden - 0.5) < TIGHT) and readout >= 0.5 - TIGHT
    shown = f"a+b = {first:g}, {hidden:g}, {readout:g}; expected 0, 1/2 and at least 1/2"
    for i, name, least in ((3, "vectors", 0.0), (4, "bottlenecks", 0.5)):
        if len(a) > i and a[i] + b[i] < least - TIGHT:
            init_ok, shown = False, f"a+b = {a[i] + b[i]:g} for {name}, expected at least {least:g}"
    worst = min(terms, key=lambda name: terms[name])
    only_propagated = all(x >= -TIGHT for name, x in terms.items() if name != "readout propagated")
    if not init_ok:
        kind, binding = Kind.DEGENERATE, shown
    elif terms[worst] < -TIGHT:
        kind, binding = Kind.UNSTABLE, f"{worst} = {terms[worst]:g} < 0"
    elif ro > TIGHT and propagated > TIGHT:
        kind = Kind.TRIVIAL
        binding = f"readout update = {ro:g} > 0 and readout propagated = {propagated:g} > 0"
    elif r <= TIGHT:
        kind, binding = Kind.FEATURE_LEARNING, "r = 0"
    else:
        kind, binding = Kind.KERNEL, f"r = {r:g} > 0"
    unfaithful = _unfaithful(a, kinds, gradients, eps, readout - gradient)
    return Regime(
        kind=kind,
        r=r,
        binding=binding + unfaithful,
        usable_with_cross_entropy=init_ok and only_propagated and readout + r >= 0.5 - TIGHT,
        change=(0.0 - r1, 0.0 - r, 0.0 - min(ro, propagated)),
        logits_at_init=0.5 - readout,
        change_by_vectors=0.0 - terms["vector update"] if len(a) > 3 else None,
        bottleneck_change=0.0 - terms["bottleneck update"] if len(a) > 4 else None,
        bottleneck_at_init=0.5 - a[4] - b[4] if len(a) > 4 else None,
        faithful=not unfaithful,
        updates={role: 0.0 - x for role, x in own.items()},
    )


def _unfaithful(
    a: Sequence[float], kinds: Sequence[Family], gradients: Sequence[float], eps: Sequence[float] | None, jump: float
) -> str:
    """What to say of an eps that does not follow the gradient of its weight, a factor n**-a of dL/dh (IVb, 2.8.11).

    ``jump``: by what power of n the gradients grow once the readout's updates have outgrown its initialisation
    (b > c): then no eps follows them from the first step on, which is why Theorem 2.8.12 asks for b <= c.
    """
    if eps is None:
        return ""
    expected = [x + y for x, y in zip(a, gradients, strict=True)]
    odd = any(k is Family.ADAM and abs(x - y) > TIGHT for k, x, y in zip(kinds, eps, expected, strict=True))
    given, found = (", ".join(f"{x:g}" for x in xs) for xs in (eps, expected))
    said = [f"eps unfaithful: ({given}), the gradient scales as ({found})"] if odd else []
    if jump > TIGHT and any(k is Family.ADAM for k in kinds):
        said.append(
            f"{'' if odd else 'eps unfaithful: '}the readout is drawn smaller than its updates (b > c), so gradients "
            f"grow by n^{jump:g} in the first step and no eps follows both"
        )
    return "".join(f"; {text}" for text in said)
