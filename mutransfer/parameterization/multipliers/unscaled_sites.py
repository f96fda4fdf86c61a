"""Sites of factor 1 for uses that no table scales but a hyperparameter may: attention logits, tied readouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.model.factory import Build
from mutransfer.parameterization.multipliers import attention, tied_readouts
from mutransfer.parameterization.multipliers.hooks import Site
from mutransfer.parameterization.multipliers.trials import check_multipliers, logits_mechanism
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.compare_widths import survey
from mutransfer.parameterization.tracing.examples import fresh
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.parameterization.tracing.tracer import trace


def with_attention(plan: Plan, build: Build, example: Example) -> Plan:
    """The plan with a site for every attention that has none yet, found by trial at base width.

    Raises ClassificationError where nothing outside the model reaches the logits of one alone.
    """
    seen = trace(fresh(build, plan.base_width), example)
    model = fresh(build, plan.base_width)
    sites: dict[str, Site] = {}
    known = [path for path, site in plan.sites.items() if site.kind == attention.KIND]
    by_class: dict[Any, tuple[str, str]] = {}
    for path, found in seen.attention.items():
        inside = any(k == path or k.startswith(f"{path}.") or not path for k in known)
        if inside or found.logits.shape[-1] == 1:  # one key: the softmax gives 1, whatever multiplies its logit
            continue
        if path in seen.shared:
            raise ClassificationError(
                f"{path or 'the model'} computes several attentions in one module: no multiplier reaches each alone. "
                "Put each into a module of its own"
            )
        module = model.get_submodule(path)
        like = (type(module), *(type(m) for m in module.modules()))
        if like not in by_class:
            packed = isinstance(module, nn.MultiheadAttention) and module.bias_k is None and not module.add_zero_attn
            by_class[like] = ("", "key") if packed else logits_mechanism(build, plan.base_width, example, path)
        child, mechanism = by_class[like]
        place = ".".join(filter(None, (path, child)))
        sites[place] = Site(kind=attention.KIND, factor=1.0, mechanism=mechanism)
    check_multipliers(build, plan.base_width, example, {path: site.mechanism for path, site in sites.items()})
    return replace(plan, sites={**plan.sites, **sites})


def with_readouts(plan: Plan, build: Build) -> Plan:
    """The plan with a site for every module that reads out with an embedding's tensor."""
    found = survey(build, plan.base_width, plan.width)
    sites = {path: Site(kind=tied_readouts.KIND, factor=1.0, mechanism="input") for path in found.tied}
    return replace(plan, sites={**sites, **plan.sites})
