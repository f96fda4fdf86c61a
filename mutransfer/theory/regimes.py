"""The limit that exponents lead to at infinite width: unstable, trivial, kernel or feature learning.

Pure arithmetic. Conventions: exponents x mean factors n**-x, for (input, hidden, output). SGD: Tensor Programs
IV (arXiv:2011.14522) Definition 3.2 and Theorems 3.3, 3.4, 3.8, with per-layer learning rates. Adam: Tensor
Programs IVb (arXiv:2308.01814) Definition 2.8.5 and Theorems 2.8.12, 2.8.15.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from mutransfer.errors import PlanError
from mutransfer.theory import rules
from mutransfer.theory.inequalities import ROLES, classify_exponents
from mutransfer.theory.limits import Kind as Kind
from mutransfer.theory.limits import Regime as Regime
from mutransfer.theory.rules import Family, Parameterization, Power, Role


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
    return classify_exponents(a, b, c, [rules.family(optimizer)] * len(a), depth, omega_out, eps)


def classify_table(
    table: Parameterization, *, optimizer: str, depth: int, bottlenecks: bool = False, scale_eps: bool = True
) -> Regime:
    """:func:`classify` for one of our tables, with every dimension growing in proportion to n.

    Args:
        bottlenecks: whether the model has any; they too may then make it unstable.
        scale_eps: whether eps follows the table's own exponents or stays as it is.
    """
    kind = rules.family(optimizer)
    roles = ROLES if bottlenecks else ROLES[:4]
    # What Muon does not take is trained by AdamW beside it.
    kinds = [rules.family_of(kind, role, 2) for role in roles]
    rows = [table.rows[role] for role in roles]
    eps = [_exponent(row.eps if scale_eps else rules.ONE, role) for row, role in zip(rows, roles, strict=True)]
    return classify_exponents(
        [_exponent(row.forward, role) for row, role in zip(rows, roles, strict=True)],
        [_exponent(row.init, role) for row, role in zip(rows, roles, strict=True)],
        [_exponent(row.rate(k), role) for row, role, k in zip(rows, roles, kinds, strict=True)],
        kinds,
        depth,
        1.0,
        eps if Family.ADAM in kinds else None,
    )


class Scaled(Protocol):
    """Anything that has the role of a parameter: a Scaling of a Plan."""

    @property
    def role(self) -> Role: ...


class Planned(Protocol):
    """What a regime depends on besides the table; a Plan has it."""

    @property
    def optimizer(self) -> str: ...

    @property
    def scale_eps(self) -> bool: ...

    def values(self) -> Iterable[Scaled]: ...


def regime_of(plan: Planned, table: Parameterization) -> Regime | None:
    """The regime of a planned model under ``table``, by its roles, optimizer and whether eps is scaled.

    None where the table leaves the model's own initialisation as it is: its law was not measured, and nothing can be
    predicted.
    """
    if not table.corrects_init:
        return None
    roles = [parameter.role for parameter in plan.values()]
    return classify_table(
        table,
        optimizer=plan.optimizer,
        depth=depth_of(roles),
        bottlenecks=Role.BOTTLENECK in roles,
        scale_eps=plan.scale_eps,
    )


def depth_of(roles: Iterable[Role]) -> int:
    """Layers of features: the first and one for every hidden matrix. Only whether there are any matters."""
    return 1 + sum(role is Role.HIDDEN for role in roles)


def _exponent(power: Power, role: Role) -> float:
    """x of n**-x where all that grows does so like n."""
    grows_in = role in (Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK)
    grows_out = role in (Role.INPUT, Role.HIDDEN, Role.VECTOR)
    return 0.0 - grows_in * power.fan_in - grows_out * power.fan_out


def drift(table: Parameterization, *, optimizer: str, depth: int) -> float:
    """Octaves per doubling by which the largest stable learning rate moves: what an optimum at its edge does.

    The least factor n**-x on every learning rate with which no term is negative, logits relaxed to omega_out
    = 1/2 (Everett et al., arXiv:2407.05872: cross-entropy tolerates growing logits).

    >>> from mutransfer.theory.rules import MUP, SP
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
