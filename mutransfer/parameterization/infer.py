"""How a Plan is made: the model is looked at from several sides, and every parameter gets its factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from mutransfer.parameterization.factors import scaling_of
from mutransfer.parameterization.initialisation import infer_law
from mutransfer.parameterization.initialisation.laws import Measured, law_factor
from mutransfer.parameterization.judging.second_look import second_look
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.attention import head_sizes, packed_sites, traced_sites
from mutransfer.parameterization.multipliers.attention_without_softmax import product_sites
from mutransfer.parameterization.multipliers.effects import check_effects
from mutransfer.parameterization.multipliers.mechanisms import Trials
from mutransfer.parameterization.multipliers.tied_readouts import tied_sites
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import ModelSurvey, compare, survey
from mutransfer.parameterization.roles.normed_weights import normed_growth
from mutransfer.parameterization.roles.overrides import Overrides
from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.tracing.examples import Traces, observe
from mutransfer.parameterization.tracing.growing_factors import NONE, own_growth
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.parameterization.uneven_growth import warn_of_uneven_growth
from mutransfer.theory.recipe import Recipe
from mutransfer.widths import Width


def infer(
    builds: Builds,
    recipe: Recipe,
    *,
    overrides: Overrides | None = None,
    example: Example | None = None,
    check: bool = False,
) -> Plan:
    """The plan of ``recipe`` for a factory, from small and meta-device builds; see :meth:`Plan.infer`."""
    builds.skeleton(builds.base)  # what is wrong with the factory is told before what is wrong with an example
    traces = observe(builds, example)
    surveyed = survey(builds, overrides, None if traces is None else traces.base)
    laws = infer_law.measure(builds, surveyed) if recipe.table.corrects_init else None
    builds.check_new()
    if recipe.table.corrects_init:
        warn_of_uneven_growth(builds, surveyed, recipe, None if traces is None else traces.example)
    plan = _plan(surveyed, laws, recipe, traces)
    if traces is not None and recipe.table.corrects_init:
        plan = _with_logits(plan, builds, recipe, traces, head_sizes(surveyed.models[1]))
    return second_look(builds, plan, recipe.table, traces, overrides or ()) if check else plan


def _with_logits(plan: Plan, builds: Builds, recipe: Recipe, traces: Traces, packed: Mapping[str, int]) -> Plan:
    """The plan with sites on attention logits; every multiplier has been tried."""
    trials = Trials(builds, traces.example)
    logits = traced_sites(traces, trials, recipe.table, packed) | product_sites(traces, trials, recipe.table)
    plan = replace(plan, sites={**plan.sites, **logits})
    lone = {path for path, a in traces.base.attention.items() if a.logits.shape[-1] == 1}  # one key: no logits to see
    multiplied = {path: mechanism for path, mechanism, _ in plan.multipliers() if path not in lone}
    check_effects(trials, multiplied)
    return plan


def infer_from_models(
    models: Sequence[nn.Module], widths: Sequence[Width], recipe: Recipe, *, overrides: Overrides | None = None
) -> Plan:
    """The plan of ``recipe`` for ``models[1]``, from itself and ``models[0]`` at base; see :meth:`Plan.from_models`."""
    surveyed = compare(models, widths, overrides)
    laws = infer_law.from_values(models[:2], surveyed) if recipe.table.corrects_init else None
    return _plan(surveyed, laws, recipe, None)


def _plan(surveyed: ModelSurvey, laws: Mapping[str, Measured] | None, recipe: Recipe, traces: Traces | None) -> Plan:
    # Without a target for the init, the model is left as it is.
    growth = own_growth(traces.base, traces.target) if traces and recipe.table.corrects_init else NONE
    scalings: dict[str, Scaling] = {}
    fresh: dict[str, float] = {}
    for name, parameter in sorted(surveyed.parameters.items(), key=lambda item: item[1].normed):  # gains first
        law = laws[name] if laws else None
        own = growth.of(name, traces.base.uses.get(name) if traces else None)
        size = None
        if law is not None and parameter.normed:
            gain = scalings[parameter.gain].init_mult if parameter.gain else 1.0
            size = normed_growth(parameter, law_factor(law.law, parameter, 1), gain)
        scalings[name] = scaling_of(parameter, law, own, recipe, size)
        if law and law.base_rms and not law.law.constant:  # an identity's size depends on its shape
            fresh[name] = law.target_rms or law.base_rms * law_factor(law.law, parameter, 1)
    return Plan(
        parameterization=recipe.table.name,
        optimizer=recipe.optimizer,
        form=str(recipe.form),
        base_width=_frozen(surveyed.widths[0]),
        width=_frozen(surveyed.widths[1]),
        wd_policy=str(recipe.wd_policy),
        scale_eps=recipe.scale_eps,
        scalings={name: scalings[name] for name in surveyed.parameters},
        sites={
            **tied_sites(surveyed, recipe.table, traces, growth),
            **(packed_sites(surveyed.models, recipe.table) if recipe.table.corrects_init else {}),
        },
        shapes={name: p.shapes[1] for name, p in surveyed.parameters.items()},
        fresh_rms=fresh,
    )


def _frozen(width: Width) -> Width:
    """A copy that the user's own mapping cannot change, of a type that JSON knows."""
    return dict(width) if isinstance(width, Mapping) else width
