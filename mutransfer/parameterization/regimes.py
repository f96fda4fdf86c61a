"""From exponents to what happens at infinite width: unstable, trivial, kernel or feature learning.

Pure arithmetic. Conventions: exponents x mean factors n**-x, for (input, hidden, output). SGD: Tensor Programs
IV (arXiv:2011.14522) Definition 3.2 and Theorems 3.3, 3.4, 3.8, with per-layer learning rates. Adam: Tensor
Programs IVb (arXiv:2308.01814) Definition 2.8.5 and Theorems 2.8.12, 2.8.15.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mutransfer.errors import PlanError
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
    """The regime, r (features move by n**-r), and the inequality that decides. Exponents are powers of n."""

    kind: Kind
    r: float
    binding: str
    usable_with_cross_entropy: bool
    change: tuple[float, float, float]  # of the change of (first layer, hidden layers, logits) in training
    logits_at_init: float
    change_by_vectors: float | None = None  # of what biases and gains add to that change; None: not asked
    bottleneck_change: float | None = None
    bottleneck_at_init: float | None = None
    faithful: bool = True  # Adam's eps follows the gradient

    @property
    def predictions(self) -> str:
        """How everything moves with width n, as text."""
        first, hidden, logits = self.change
        moves = {"the first layer": first, "hidden layers": hidden, "the logits": logits}
        if self.bottleneck_change is not None:
            moves["bottlenecks"] = self.bottleneck_change
        listed = ", ".join(f"{name} like n^{x:g}" for name, x in moves.items())
        return f"training changes {listed}; logits at initialisation go like n^{self.logits_at_init:g}"


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
        a, b, c: exponents for (input, hidden, output) weights, or for (input, hidden, output, vector) or (input,
            hidden, output, vector, bottleneck).
        optimizer: lower-case name; decides the family. "muon" takes every entry as a spectral step; where only
            hidden matrices are, see :func:`classify_table`.
        depth: number of hidden layers L; with 1 there is no hidden-to-hidden matrix.
        omega_out: alignment of the readout's initial weights with the change of its input: 1 as in Tensor
            Programs, 1/2 relaxed as in Everett et al.
        eps: exponents of Adam's eps; where they differ from those of the gradient the update is unfaithful
            (Tensor Programs IVb, Lemma 2.8.11) and the binding says so; and so it is, whatever eps, where the readout
            is drawn smaller than it is updated (b > c, Theorem 2.8.12).

    >>> classify((0, 0, 1), (0, 0.5, 0), (0, 1, 0), optimizer="adam", depth=3).kind  # mup, Table 8
    <Kind.FEATURE_LEARNING: 'feature learning'>
    >>> classify((0, 0.5, 0.5), (0, 0, 0), (0, 0, 0), optimizer="sgd", depth=3).kind  # NTK
    <Kind.KERNEL: 'kernel'>
    """
    lengths = {len(a), len(b), len(c), *([] if eps is None else [len(eps)])}
    if len(lengths) != 1 or not lengths <= {3, 4, 5}:
        raise PlanError(
            "a, b, c (and eps) need one exponent each for (input, hidden, output), and then, if you like, vector and "
            f"bottleneck; found {len(a)}, {len(b)}, {len(c)}" + (f" and {len(eps)}" if eps is not None else "")
        )
    return _classify(a, b, c, [rules.family(optimizer)] * len(a), depth, omega_out, eps)


def classify_table(
    table: Parameterization, *, optimizer: str, depth: int, bottlenecks: bool = False, scale_eps: bool = True
) -> Regime:
    """:func:`classify` for one of our tables, with every dimension growing in proportion to n.

    Args:
        bottlenecks: whether the model has any; they too may then make it unstable.
        scale_eps: whether eps follows the table's own exponents or stays as it is.
    """
    kind = rules.family(optimizer)
    roles = _ROLES if bottlenecks else _ROLES[:4]
    # What Muon does not take is trained by AdamW beside it.
    kinds = [rules.family_of(kind, role, 2) for role in roles]
    rows = [table.rows[role] for role in roles]
    eps = [_exponent(row.eps if scale_eps else rules.ONE, role) for row, role in zip(rows, roles, strict=True)]
    return _classify(
        [_exponent(row.forward, role) for row, role in zip(rows, roles, strict=True)],
        [_exponent(row.init, role) for row, role in zip(rows, roles, strict=True)],
        [_exponent(row.rate(k), role) for row, role, k in zip(rows, roles, kinds, strict=True)],
        kinds,
        depth,
        1.0,
        eps if Family.ADAM in kinds else None,
    )


def classify_model(table: Parameterization, roles: Iterable[Role], *, optimizer: str, scale_eps: bool = True) -> Regime:
    """:func:`classify_table` for a model whose parameters have these ``roles``."""
    found = list(roles)
    return classify_table(
        table,
        optimizer=optimizer,
        depth=depth_of(found),
        bottlenecks=Role.BOTTLENECK in found,
        scale_eps=scale_eps,
    )


def depth_of(roles: Iterable[Role]) -> int:
    """Layers of features: the first and one for every hidden matrix. Only whether there are any matters."""
    return 1 + sum(role is Role.HIDDEN for role in roles)


_ROLES = (Role.INPUT, Role.HIDDEN, Role.OUTPUT, Role.VECTOR, Role.BOTTLENECK)


def _exponent(power: Power, role: Role) -> float:
    """x of n**-x where all that grows does so like n."""
    grows_in = role in (Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK)
    grows_out = role in (Role.INPUT, Role.HIDDEN, Role.VECTOR)
    return 0.0 - grows_in * power.fan_in - grows_out * power.fan_out


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


def _classify(
    a: Sequence[float],
    b: Sequence[float],
    c: Sequence[float],
    kinds: Sequence[Family],
    depth: int,
    omega_out: float,
    eps: Sequence[float] | None,
) -> Regime:
    deep = depth > 1
    first, hidden, readout = a[0] + b[0], a[1] + b[1], a[2] + b[2]
    # Of the loss by the last features: by the readout as it is drawn, or by what its updates have made of it since.
    gradient = min(readout, 2 * a[2] + c[2]) if kinds[2] is Family.SGD else readout
    if kinds[2] is Family.ADAM:
        gradient = min(readout, a[2] + c[2])
    gradients = [gradient, gradient, 0.0, gradient][: len(a)]
    terms = dict(
        zip(
            ("first layer", "hidden update", "readout update", "vector update"),
            (_update(*x) for x in zip(kinds, _ROLES, gradients, a, b, c, strict=False)),
            strict=False,
        )
    )
    r1, ro = terms["first layer"], terms["readout update"]
    if not deep:
        del terms["hidden update"]
    r = min(r1, terms.get("hidden update", r1))
    terms["readout propagated"] = propagated = readout + r - omega_out
    if len(a) > 4:
        # Gradients at a bottleneck sum over the n units that read it: as sqrt(n) by chance, as n once the weights
        # that read it (an input layer's, moving by n**-r1) have aligned with them.
        summed = min(gradient - 0.5, gradient - 1 + r1)
        terms["bottleneck update"] = _update(kinds[4], Role.BOTTLENECK, summed, a[4], b[4], c[4])
        gradients.append(summed)
    init_ok = abs(first) < _TIGHT and (not deep or abs(hidden - 0.5) < _TIGHT) and readout >= 0.5 - _TIGHT
    shown = f"a+b = {first:g}, {hidden:g}, {readout:g}; expected 0, 1/2 and at least 1/2"
    for i, name, least in ((3, "vectors", 0.0), (4, "bottlenecks", 0.5)):
        if len(a) > i and a[i] + b[i] < least - _TIGHT:
            init_ok, shown = False, f"a+b = {a[i] + b[i]:g} for {name}, expected at least {least:g}"
    worst = min(terms, key=lambda name: terms[name])
    only_propagated = all(x >= -_TIGHT for name, x in terms.items() if name != "readout propagated")
    if not init_ok:
        kind, binding = Kind.DEGENERATE, shown
    elif terms[worst] < -_TIGHT:
        kind, binding = Kind.UNSTABLE, f"{worst} = {terms[worst]:g} < 0"
    elif ro > _TIGHT and propagated > _TIGHT:
        kind = Kind.TRIVIAL
        binding = f"readout update = {ro:g} > 0 and readout propagated = {propagated:g} > 0"
    elif r <= _TIGHT:
        kind, binding = Kind.FEATURE_LEARNING, "r = 0"
    else:
        kind, binding = Kind.KERNEL, f"r = {r:g} > 0"
    unfaithful = _unfaithful(a, kinds, gradients, eps, readout - gradient)
    return Regime(
        kind=kind,
        r=r,
        binding=binding + unfaithful,
        usable_with_cross_entropy=init_ok and only_propagated and readout + r >= 0.5 - _TIGHT,
        change=(0.0 - r1, 0.0 - r, 0.0 - min(ro, propagated)),
        logits_at_init=0.5 - readout,
        change_by_vectors=0.0 - terms["vector update"] if len(a) > 3 else None,
        bottleneck_change=0.0 - terms["bottleneck update"] if len(a) > 4 else None,
        bottleneck_at_init=0.5 - a[4] - b[4] if len(a) > 4 else None,
        faithful=not unfaithful,
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
    odd = any(k is Family.ADAM and abs(x - y) > _TIGHT for k, x, y in zip(kinds, eps, expected, strict=True))
    given, found = (", ".join(f"{x:g}" for x in xs) for xs in (eps, expected))
    said = [f"eps unfaithful: ({given}), the gradient scales as ({found})"] if odd else []
    if jump > _TIGHT and any(k is Family.ADAM for k in kinds):
        said.append(
            f"{'' if odd else 'eps unfaithful: '}the readout is drawn smaller than its updates (b > c), so gradients "
            f"grow by n^{jump:g} in the first step and no eps follows both"
        )
    return "".join(f"; {text}" for text in said)


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
