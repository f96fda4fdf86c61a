"""Attention without a softmax: linear, by sigmoids, with capped logits, or any product of two activations.

A product that sums over a dimension that grows is a head's logits, whatever nonlinearity follows, and grows like that
dimension once its two sides are correlated (Tensor Programs V, Appendix B.1).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.trials import Unaffected, joined, product_mechanism
from mutransfer.parameterization.sites import Mechanism, Site, SiteKind
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.theory.exponents import Parameterization


def product_sites(builds: Builds, traces: Traces, table: Parameterization) -> dict[str, Site]:
    """Sites of products of activations over growing dimensions that are not the logits of a softmax.

    A mechanism must be proven on the model at base width: at 2 it does to the outputs what doubling the product does.
    Nothing is needed where the model's own scale grows as it should, or where outputs do not depend on the product's
    size; where neither holds and no mechanism is found, the user is warned.
    """
    sites: dict[str, Site] = {}
    by_class: dict[Any, tuple[str, Mechanism] | None] = {}
    model = builds.skeleton(builds.base)
    unreached = []
    for path, indices in _growing_products(traces).items():
        factors = {_factor(traces, i, table) for i in indices}
        factor = next(iter(factors))
        same = all(math.isclose(factor, other, rel_tol=1e-6) for other in factors)
        if same and math.isclose(factor, 1.0, rel_tol=1e-6):
            continue
        module = model.get_submodule(path)
        like = (type(module), len(indices), *(type(m) for m in module.modules()))
        try:
            if like not in by_class:
                by_class[like] = product_mechanism(builds, traces.example, path, indices)
        except Unaffected:
            continue
        reached = by_class[like] if same else None
        if reached is None:
            unreached.append(path)
        else:
            child, mechanism = reached
            place = joined(path, child)
            sites[place] = Site(kind=SiteKind.ATTENTION_LOGITS, factor=factor, mechanism=mechanism)
    if unreached:
        warnings.warn(
            f"{', '.join(map(repr, unreached))}: a product of two activations sums over a dimension that grows, no "
            "softmax follows, and nothing outside the model was found that multiplies it alone. If these are attention "
            "logits, divide them by that size yourself",
            stacklevel=3,
        )
    return sites


def _growing_products(traces: Traces) -> dict[str, list[int]]:
    """Products that sum over a dimension that grows, by path."""
    products: dict[str, list[int]] = {}
    for i, (base, target) in enumerate(zip(traces.base.products, traces.target.products, strict=False)):
        if base.size != target.size and base.path not in traces.base.attention:
            products.setdefault(base.path, []).append(i)
    return products


def _factor(traces: Traces, i: int, table: Parameterization) -> float:
    base, target = traces.base.products[i], traces.target.products[i]
    scale = target.scale / base.scale if base.scale else 1.0
    return (target.size / base.size) ** -table.attention / scale
