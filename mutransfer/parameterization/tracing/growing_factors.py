"""How the factors that the user's own ``forward`` puts on its parameters grow, and which parameter makes up for each.

A factor between two matrices, ``head(h * c)`` say, could be made up for in either. It goes to what computed ``h``, the
embedding in Gemma's ``embed(x) * sqrt(width)``, unless that is used elsewhere with another factor: then to the matrix
that reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.tracing.trace import Feed, Taken, Trace, Use

_Key = tuple[str, bool]  # parameter, and whether its rows are meant
_Feed = tuple[str, dict[_Key, float], float]  # matrix, growth of the factor on each of its sources, or else on all


@dataclass(frozen=True)
class Growth:
    """Growth of the user's own factors from base to target."""

    logits: Mapping[str, float]  # on the product with a matrix
    rows: Mapping[str, float]  # on what is looked up, added, or used elementwise

    def of(self, name: str, use: Use | None) -> float:
        """Growth on the parameter in its main use; of a tied tensor the rows: its readout is multiplied at its site."""
        matrix = use is not None and use.matrix and not use.lookup
        return (self.logits if matrix else self.rows).get(name, 1.0)


NONE = Growth({}, {})


def own_growth(base: Trace, target: Trace) -> Growth:
    """The growth of the user's own factors between two traces of the same model at two widths.

    Raises ClassificationError where one parameter is used with factors that grow differently, and nothing that the plan
    rescales can make up for the difference.
    """
    taken: dict[_Key, list[tuple[float, bool]]] = {}
    feeds: list[_Feed] = []
    on_matrix: dict[str, float] = {}
    for name, use in base.uses.items():
        if (other := target.uses.get(name)) is None:
            continue
        taken[name, False] = _pairs(use.outputs, other.outputs)
        taken[name, True] = _pairs(use.rows, other.rows)
        feeds += [(name, *_fed(a, b)) for a, b in zip(use.feeds, other.feeds, strict=False)]
        on_matrix[name] = _grown(use.factor, other.factor)
    own: dict[_Key, float] = {}
    for key, found in taken.items():
        if free := [g for g, by_matrix in found if not by_matrix]:
            own[key] = _one(free, key[0])
    _settle(own, feeds)
    into: dict[str, list[float]] = {}
    for name, parts, grown in feeds:
        into.setdefault(name, []).append(_one([g / own[key] for key, g in parts.items()] or [grown], name))
    return Growth(
        logits={n: own.get((n, False), 1.0) * _one(into.get(n, [1.0]), n) * on_matrix[n] for n in on_matrix},
        rows={n: own.get((n, True), 1.0) for n in on_matrix},
    )


def _settle(own: dict[_Key, float], feeds: Sequence[_Feed]) -> None:
    """Give every source that only matrices read the growth of its factor, as long as all of a sum take the same.

    In ``head(c * (f(x) + g(x)))`` where f's growth is known to be c's: g's must be c's as well, and head is left
    nothing. Where neither is known, both take all of c's, so that head is left nothing again.
    """
    for free in (False, True):  # first what follows from what is known, then what is free to take any factor
        for _ in feeds:
            before = len(own)
            for name, parts, _ in feeds:
                left = [g / own[key] for key, g in parts.items() if key in own] or ([1.0] if free else [])
                for key, g in parts.items() if left else ():
                    own.setdefault(key, g / _one(left, name))
            if len(own) == before:
                break


def _pairs(base: list[Taken], target: list[Taken]) -> list[tuple[float, bool]]:
    return [(_grown(a.factor, b.factor), a.by is not None) for a, b in zip(base, target, strict=False)]


def _fed(base: Feed, target: Feed) -> tuple[dict[_Key, float], float]:
    if any(a.size != b.size for a, b in zip(base.products, target.products, strict=False)):
        return {}, 1.0  # a factor on logits, which are multiplied as a whole
    pairs = zip(base.sources, target.sources, strict=False)
    return {(a.name, a.rows): _grown(a.factor, b.factor) for a, b in pairs}, _grown(base.factor, target.factor)


def _grown(before: float, after: float) -> float:
    grown = after / before if before else 1.0
    return grown if grown > 0 and math.isfinite(grown) else 1.0  # a factor of the data's, a NaN in them say, is none


def _one(growths: Iterable[float], name: str) -> float:
    first, *others = growths
    if all(math.isclose(first, other, rel_tol=1e-6) for other in others):
        return first
    shown = " and ".join(f"{g:.4g}" for g in sorted({first, *others}))
    raise ClassificationError(
        f"{name} is used more than once, and your own factors on its uses grow differently with width (by {shown} from "
        "base to target), so that no one scaling of it is right. Multiply all its uses by the same factor, or give "
        "each use a parameter of its own"
    )
