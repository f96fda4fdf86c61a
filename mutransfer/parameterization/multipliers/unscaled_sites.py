"""Sites of factor 1 for uses that no table scales but a hyperparameter may: attention logits, tied readouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.trials import check_effects, joined, logits_mechanism
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import survey
from mutransfer.parameterization.sites import Mechanism, On, Site, SiteKind
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.parameterization.tracing.trace import Example


def with_attention(plan: Plan, builds: Builds, example: Example) -> Plan:
    """The plan with a site for every attention that has none yet, found by trial at base width.

    Raises ClassificationError where nothing outside the model reaches the logits of one alone.
    """
    base = trace(builds.fresh(builds.base), example)
    model = builds.skeleton(builds.base)
    sites: dict[str, Site] = {}
    placed = [path for path, site in plan.sites.items() if site.kind is SiteKind.ATTENTION_LOGITS]
    by_class: dict[Any, tuple[str, Mechanism]] = {}
    for path, attention in base.attention.items():
        inside = any(place == path or place.startswith(f"{path}.") or not path for place in placed)
        if inside or attention.logits.shape[-1] == 1:  # one key: the softmax gives 1, whatever multiplies its logit
            continue
        if path in base.shared:
            raise ClassificationError(
                f"{path or 'the model'} computes several attentions in one module: no multiplier reaches each alone. "
                "Put each into a module of its own"
            )
        module = model.get_submodule(path)
        like = (type(module), *(type(m) for m in module.modules()))
        if like not in by_class:
            packed = isinstance(module, nn.MultiheadAttention) and module.bias_k is None and not module.add_zero_attn
            by_class[like] = ("", Mechanism(On.KEY)) if packed else logits_mechanism(builds, example, path)
        child, mechanism = by_class[like]
        place = joined(path, child)
        sites[place] = Site(kind=SiteKind.ATTENTION_LOGITS, factor=1.0, mechanism=mechanism)
    check_effects(builds, example, {path: site.mechanism for path, site in sites.items()})
    return replace(plan, sites={**plan.sites, **sites})


def with_readouts(plan: Plan, builds: Builds) -> Plan:
    """The plan with a site for every module that reads out with an embedding's tensor."""
    readout = Site(kind=SiteKind.TIED_READOUT, factor=1.0, mechanism=Mechanism(On.INPUT))
    sites = dict.fromkeys(survey(builds).tied, readout)
    return replace(plan, sites={**sites, **plan.sites})
