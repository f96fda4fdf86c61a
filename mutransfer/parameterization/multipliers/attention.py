"""The scale of attention logits where the size of a head grows: 1/d instead of 1/sqrt(d) under mup, without edits.

Tensor Programs V, Appendix B.1: after training, queries and keys are correlated, so that their product grows like the
head's size d and not like its root. Where heads grow in number and not in size, nothing needs to change.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.trials import joined, logits_mechanism
from mutransfer.parameterization.sites import Mechanism, On, Site, SiteKind
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.theory.exponents import Parameterization


def head_sizes(model: nn.Module) -> dict[str, int]:
    """Head size of every nn.MultiheadAttention, by path."""
    return {
        path: module.embed_dim // module.num_heads
        for path, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    }


def packed_sites(models: Sequence[nn.Module], table: Parameterization) -> dict[str, Site]:
    """Sites of nn.MultiheadAttention, from its attributes at base (``models[0]``) and target width."""
    sites = {}
    for path, size in head_sizes(models[1]).items():
        growth = size / head_sizes(models[0])[path]
        if growth == 1.0:
            continue
        module = models[1].get_submodule(path)
        assert isinstance(module, nn.MultiheadAttention)
        if module.bias_k is not None or module.add_zero_attn:
            raise ClassificationError(
                f"the heads of {path} grow from size {size / growth:g} to {size}, and its logits cannot be rescaled "
                "beside add_bias_kv or add_zero_attn; let the number of heads grow with width instead of their size"
            )
        sites[path] = _site(growth ** (0.5 - table.attention), Mechanism(On.KEY))
    return sites


def traced_sites(builds: Builds, traces: Traces, table: Parameterization) -> dict[str, Site]:
    """Sites of every other attention with a softmax, as forward passes at base and target width showed it.

    The mechanism is found by trial on the model at base width: a multiplier of 2 must double the logits, exactly.

    Raises ClassificationError where heads grow and nothing outside the model reaches their logits alone.
    """
    sites: dict[str, Site] = {}
    by_class: dict[Any, tuple[str, Mechanism]] = {}
    grows = {
        path: attention.head_size / first.head_size
        for path, attention in traces.target.attention.items()
        if (first := traces.base.attention.get(path)) is not None and attention.head_size != first.head_size
    }
    _warn_of_groups(traces)
    model = builds.skeleton(builds.base)
    for path, growth in grows.items():
        module, first, attention = model.get_submodule(path), traces.base.attention[path], traces.target.attention[path]
        if isinstance(module, nn.MultiheadAttention):
            continue
        factor = growth**-table.attention / (attention.scale / first.scale)
        if math.isclose(factor, 1.0):  # the model's own scale grows as it should
            continue
        if path in traces.base.shared:
            raise ClassificationError(
                f"{path or 'the model'} computes several attentions in one module, and their heads grow: no multiplier "
                "reaches each alone. Put each into a module of its own, or let the number of heads grow"
            )
        like = (type(module), *(type(m) for m in module.modules()))
        if like not in by_class:
            by_class[like] = logits_mechanism(builds, traces.example, path)
        child, mechanism = by_class[like]
        sites[joined(path, child)] = _site(factor, mechanism)
    return sites


def _warn_of_groups(traces: Traces) -> None:
    """Keys that more and more heads of queries share."""
    changed = {
        path: (first.shared_by, attention.shared_by)
        for path, attention in traces.target.attention.items()
        if (first := traces.base.attention.get(path)) is not None and first.shared_by != attention.shared_by
    }
    if changed:
        path, (before, after) = next(iter(changed.items()))
        warnings.warn(
            f"{path or 'the model'}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''}: each head of keys "
            f"serves {before:g} heads of queries at base width and {after:g} at the target. What is scaled here keeps "
            "activations and their change bounded, but that hyperparameters transfer across this ratio is not known "
            "(arXiv:2605.15290 has rules of its own for it): let the number of key-value heads grow like that of "
            "query heads",
            stacklevel=4,
        )


def _site(factor: float, mechanism: Mechanism) -> Site:
    return Site(kind=SiteKind.ATTENTION_LOGITS, factor=factor, mechanism=mechanism)
