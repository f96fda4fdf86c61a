"""Attention without a softmax: linear, by sigmoids, with capped logits, or any product of two activations.

A product that sums over a dimension that grows is a head's logits, whatever nonlinearity follows, and grows like that
dimension once its two sides are correlated (Tensor Programs V, Appendix B.1).
"""

from __future__ import annotations

import warnings

from mutransfer.parameterization.multipliers.logit_sites import needs, placed
from mutransfer.parameterization.multipliers.mechanisms import Trials
from mutransfer.parameterization.sites import Site
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.theory.exponents import Parameterization


def product_sites(traces: Traces, trials: Trials, table: Parameterization) -> dict[str, Site]:
    """Sites of products of activations over growing dimensions that are not the logits of a softmax.

    Nothing is needed where the model's own scale grows as it should, or where outputs do not depend on the product's
    size; where neither holds and no mechanism is found, the user is warned.
    """
    needed = needs(traces, table, softmax=False)
    sites, unreached = placed(trials, {path: found for path, found in needed.items() if trials.matters(path, found)})
    if unreached:
        warnings.warn(
            f"{', '.join(map(repr, unreached))}: a product of two activations sums over a dimension that grows, no "
            "softmax follows, and nothing outside the model was found that multiplies it alone. If these are attention "
            "logits, divide them by that size yourself",
            stacklevel=3,
        )
    return sites
