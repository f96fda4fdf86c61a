"""Attention without a softmax: linear, by sigmoids, with capped logits, or any product of two activations.

A product that sums over a dimension that grows is a head's logits, whatever nonlinearity follows, and grows like that
dimension once its two sides are correlated (Tensor Programs V, Appendix B.1).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from mutransfer.parameterization.model.factory import Build, skeleton
from mutransfer.parameterization.multipliers.attention import KIND
from mutransfer.parameterization.multipliers.hooks import Site
from mutransfer.parameterization.multipliers.trials import Unaffected, product_mechanism
from mutransfer.parameterization.tracing.examples import Observed
from mutransfer.theory.exponents import Parameterization
from mutransfer.widths import Width


def product_sites(build: Build, base_width: Width, seen: Observed, table: Parameterization) -> dict[str, Site]:
    """Sites of products of activations over growing dimensions that are not the logits of a softmax.

    A mechanism must be proven on the model at base width: at 2 it does to the outputs what doubling the product does.
    Nothing is needed where the model's own scale grows as it should, or where outputs do not depend on the product's
    size; where neither holds and no mechanism is found, the user is warned.
    """
    sites: dict[str, Site] = {}
    by_class: dict[Any, tuple[str, str] | None] = {}
    model = skeleton(build, base_width)
    unreached = []
    for path, indices in _grown(seen).items():
        factors = {_factor(seen, i, table) for i in indices}
        factor = next(iter(factors))
        same = all(math.isclose(factor, other, rel_tol=1e-6) for other in factors)
        if same and math.isclose(factor, 1.0, rel_tol=1e-6):
            continue
        module = model.get_submodule(path)
        like = (type(module), len(indices), *(type(m) for m in module.modules()))
        try:
            if like not in by_class:
                by_class[like] = product_mechanism(build, base_width, seen.example, path, indices)
        except Unaffected:
            continue
        found = by_class[like] if same else None
        if found is None:
            unreached.append(path)
        else:
            sites[".".join(filter(None, (path, found[0])))] = Site(kind=KIND, factor=factor, mechanism=found[1])
    if unreached:
        warnings.warn(
            f"{', '.join(map(repr, unreached))}: a product of two activations sums over a dimension that grows, no "
            "softmax follows, and nothing outside the model was found that multiplies it alone. If these are attention "
            "logits, divide them by that size yourself",
            stacklevel=3,
        )
    return sites


def _grown(seen: Observed) -> dict[str, list[int]]:
    """By path, which products sum over a dimension that grows."""
    found: dict[str, list[int]] = {}
    for i, (base, target) in enumerate(zip(seen.base.products, seen.target.products, strict=False)):
        if base.size != target.size and base.path not in seen.base.attention:
            found.setdefault(base.path, []).append(i)
    return found


def _factor(seen: Observed, i: int, table: Parameterization) -> float:
    base, target = seen.base.products[i], seen.target.products[i]
    scale = target.scale / base.scale if base.scale else 1.0
    return (target.size / base.size) ** -table.attention / scale
