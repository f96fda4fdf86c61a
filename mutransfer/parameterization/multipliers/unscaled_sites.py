"""Sites of factor 1 for uses that no table scales but a hyperparameter may: attention logits, tied readouts."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.effects import check_effects
from mutransfer.parameterization.multipliers.logit_sites import placed
from mutransfer.parameterization.multipliers.mechanisms import Trials
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import survey
from mutransfer.parameterization.sites import Mechanism, On, Site, SiteKind
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.parameterization.tracing.trace import Example


def with_attention(plan: Plan, builds: Builds, example: Example) -> Plan:
    """The plan with a site for every attention that has none yet, found by trial at base width.

    Raises ClassificationError where nothing outside the model reaches the logits of one alone.
    """
    base, trials = trace(builds.fresh(builds.base), example), Trials(builds, example)
    placed_already = [path for path, site in plan.sites.items() if site.kind is SiteKind.ATTENTION_LOGITS]
    sites: dict[str, Site] = {}
    wanted: dict[str, dict[int, float]] = {}
    for path, attention in base.attention.items():
        inside = any(place == path or place.startswith(f"{path}.") or not path for place in placed_already)
        if inside or attention.logits.shape[-1] == 1:  # one key: the softmax gives 1, whatever multiplies its logit
            continue
        module = trials.model.get_submodule(path)
        if isinstance(module, nn.MultiheadAttention) and module.bias_k is None and not module.add_zero_attn:
            sites[path] = Site(kind=SiteKind.ATTENTION_LOGITS, factor=1.0, mechanism=Mechanism(On.KEY))
        else:
            wanted[path] = {i: 1.0 for i, product in enumerate(base.products) if product.weighs == path}
    found, unreached = placed(trials, wanted)
    if unreached:
        raise ClassificationError(
            f"the attention logits of {unreached[0] or 'the model'} cannot be reached: no float attribute, norm or "
            "projection of it multiplies them alone"
        )
    sites |= found
    check_effects(trials, {path: site.mechanism for path, site in sites.items()})
    return replace(plan, sites={**plan.sites, **sites})


def with_readouts(plan: Plan, builds: Builds) -> Plan:
    """The plan with a site for every module that reads out with an embedding's tensor."""
    readout = Site(kind=SiteKind.TIED_READOUT, factor=1.0, mechanism=Mechanism(On.INPUT))
    sites = dict.fromkeys(survey(builds).tied, readout)
    return replace(plan, sites={**sites, **plan.sites})
