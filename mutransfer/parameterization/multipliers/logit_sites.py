"""Sites on products of activations: which need a factor under a table, and the mechanisms that give it to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mutransfer.parameterization.multipliers.mechanisms import Reach, Trials
from mutransfer.parameterization.multipliers.trials import joined
from mutransfer.parameterization.sites import Mechanism, Site, SiteKind
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.parameterization.tracing.logit_growth import is_bounded, scale_growth
from mutransfer.theory.exponents import Parameterization

Needs = Mapping[str, Mapping[int, float]]  # by path: products by number, and the factor of each


def needs(traces: Traces, table: Parameterization, *, softmax: bool) -> dict[str, dict[int, float]]:
    """What products that sum over a dimension that grows need, those that reach a softmax or the others."""
    found: dict[str, dict[int, float]] = {}
    for i, (base, target) in enumerate(zip(traces.base.products, traces.target.products, strict=False)):
        if base.size == target.size or (base.weighs is not None) is not softmax:
            continue
        scale, grown = scale_growth(base, target), target.size / base.size
        if is_bounded(base, target) and math.isclose(scale * grown, 1.0, rel_tol=1e-6):
            continue  # cosines: of order one under any table
        factor = grown**-table.attention / scale
        if not math.isclose(factor, 1.0, rel_tol=1e-6):
            found.setdefault(base.path if base.weighs is None else base.weighs, {})[i] = factor
    return found


def placed(trials: Trials, needed: Needs) -> tuple[dict[str, Site], list[str]]:
    """The sites that give products what they need, and the paths of those for which none were found.

    Modules of one kind are taken to be alike, unless all multipliers together show that they are not.
    """
    for alike in (True, False) if needed else ():
        known: dict[Any, _Found] = {}
        found: list[tuple[str, Reach, float]] = []
        unreached = []
        for path, factors in needed.items():
            numbers, module = sorted(factors), trials.model.get_submodule(path)
            kind = (type(module), *(type(m) for m in module.modules()), *_pattern(factors)) if alike else path
            if kind not in known:
                known[kind] = _find(trials, path, factors)
            up, reaches, order = known[kind]
            if not reaches:
                unreached.append(path)
            for reach in reaches:
                products = frozenset(numbers[order[number]] for number in reach.products)
                factor = factors[min(products)]
                found.append((_above(path, up), replace(reach, products=products), factor))
        if trials.agree([(path, reach) for path, reach, _ in found]):
            sites = {joined(path, reach.child): _site(reach.mechanism, factor) for path, reach, factor in found}
            return sites, unreached
    return {}, list(needed)


def _find(trials: Trials, path: str, factors: Mapping[int, float]) -> _Found:
    """Mechanisms inside of a module, or of what contains it: a function of queries and keys has no projections."""
    order = {number: i for i, number in enumerate(sorted(factors))}
    pattern = _pattern(factors)
    groups = [[n for n, i in order.items() if pattern[i] == group] for group in sorted(set(pattern))]
    for up in range(path.count(".") + 2 if path else 1):
        reaches = trials.reaches(_above(path, up), groups)
        inside = trials.model.get_submodule(_above(path, up)).parameters()
        if reaches or (up and next(inside, None) is not None):
            return up, reaches or [], order
    return 0, [], order


_Found = tuple[int, list[Reach], dict[int, int]]  # how far above, what there is, and the products by their order


def _above(path: str, up: int) -> str:
    return ".".join(path.split(".")[: -up or None])


def _pattern(factors: Mapping[int, float]) -> list[int]:
    """Which of the products of a module need the same factor as which, in their order."""
    different: list[float] = []
    pattern = []
    for _, factor in sorted(factors.items()):
        same = [i for i, other in enumerate(different) if math.isclose(factor, other, rel_tol=1e-6)]
        pattern += same[:1] or [len(different)]
        different += [] if same else [factor]
    return pattern


def _site(mechanism: Mechanism, factor: float) -> Site:
    return Site(kind=SiteKind.ATTENTION_LOGITS, factor=factor, mechanism=mechanism)
