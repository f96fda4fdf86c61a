"""The scale of attention logits where the size of a head grows: 1/d instead of 1/sqrt(d) under mup, without edits.

Tensor Programs V, Appendix B.1: after training, queries and keys are correlated, so that their product grows like the
head's size d and not like its root. Where heads grow in number and not in size, nothing needs to change.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.multipliers.logit_sites import needs, placed
from mutransfer.parameterization.multipliers.mechanisms import Trials
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
        factor = growth ** (0.5 - table.attention)
        sites[path] = Site(kind=SiteKind.ATTENTION_LOGITS, factor=factor, mechanism=Mechanism(On.KEY))
    return sites


def traced_sites(traces: Traces, trials: Trials, table: Parameterization, packed: Collection[str]) -> dict[str, Site]:
    """Sites of every attention with a softmax but those at ``packed``, as forward passes at two widths showed it.

    Where its logits are a sum of several products, or a module is called several times, all get their factor.

    Raises ClassificationError where heads grow and nothing outside the model reaches their logits alone.
    """
    _warn_of_groups(traces)
    _warn_of_keys(traces)
    needed = {path: found for path, found in needs(traces, table, softmax=True).items() if path not in packed}
    sites, unreached = placed(trials, needed)
    if unreached:
        path = unreached[0]
        number = len(needed[path])
        several = f", {number} products of queries and keys," if number > 1 else ""
        raise ClassificationError(
            f"the heads of {path or 'the model'} grow with width, and its logits{several} cannot be reached: no float "
            "attribute, norm or projection of it multiplies them alone. Let the number of heads grow instead of their "
            "size, or divide the logits by the head's size in the model"
        )
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


def _warn_of_keys(traces: Traces) -> None:
    """A softmax over more and more, channels say, by which values are averaged that have signs at random at first."""
    changed = {
        path: (first.keys, attention.keys)
        for path, attention in traces.target.attention.items()
        if (first := traces.base.attention.get(path)) is not None
        if first.keys != attention.keys and attention.values is not None
    }
    if changed:
        path, (before, after) = next(iter(changed.items()))
        warnings.warn(
            f"{path or 'the model'}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''}: the softmax of its "
            f"attention runs over {before} entries at base width and {after} at the target, as over channels. Each "
            "weighs less the more there are, so that their mean starts at n^-1/2 in width, and what it adds to the "
            "model with it. No factor is right for it, since its change does not fade: it catches up while training. "
            "Let the number of heads grow instead of their size",
            stacklevel=4,
        )
