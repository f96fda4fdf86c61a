"""The Plan: parameter name -> Scaling, what a parameterization asks of a model, in plain numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.initialisation import infer_law
from mutransfer.parameterization.initialisation.laws import Measured, law_factor
from mutransfer.parameterization.model.factory import Build, check_factory
from mutransfer.parameterization.multipliers.attention import packed_sites, traced_sites
from mutransfer.parameterization.multipliers.attention_without_softmax import product_sites
from mutransfer.parameterization.multipliers.hooks import Site
from mutransfer.parameterization.multipliers.tied_readouts import tied_sites
from mutransfer.parameterization.multipliers.trials import check_multipliers
from mutransfer.parameterization.plan_table import show
from mutransfer.parameterization.roles.compare_widths import Overrides, Survey, compare, survey
from mutransfer.parameterization.scaling import Scaling, scaling_of
from mutransfer.parameterization.tracing.examples import Observed, observe
from mutransfer.parameterization.tracing.growing_factors import NONE, own_growth
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.theory import rules
from mutransfer.theory.rules import Parameterization, Role
from mutransfer.widths import Width, check_width


@dataclass(frozen=True, kw_only=True, eq=True)
class Plan(Mapping[str, Scaling]):
    """A mapping from parameter name to :class:`Scaling`, with what it was made from. Frozen, JSON, printable.

    >>> from torch import nn
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> plan = Plan.infer(build, width=256, base_width=64, parameterization="mup", optimizer="adam")
    >>> plan["2.weight"].role, plan["2.weight"].forward_mult
    (<Role.OUTPUT: 'output'>, 0.25)
    """

    parameterization: str
    optimizer: str
    form: str
    base_width: Width
    width: Width
    wd_policy: str
    scale_eps: bool
    scalings: Mapping[str, Scaling]
    sites: Mapping[str, Site]
    shapes: Mapping[str, tuple[int, ...]]  # at width
    fresh_rms: Mapping[str, float]  # root-mean-square that the factory draws at width, where known

    def __getitem__(self, name: str) -> Scaling:
        return self.scalings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scalings)

    def __len__(self) -> int:
        return len(self.scalings)

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    @classmethod
    def infer(
        cls,
        build: Build,
        *,
        width: Width,
        base_width: Width,
        parameterization: str | Parameterization = "mup",
        optimizer: str = "adamw",
        form: str = "forward",
        overrides: Overrides | None = None,
        lr_rule: str | None = None,
        wd_policy: str = "independent",
        scale_eps: bool = True,
        embedding_lr_exponent: float = 0.0,
        example: Example | None = None,
    ) -> Plan:
        """The plan for ``build(width)``, from small and meta-device builds; random state untouched.

        Args:
            build: a factory, called with exactly ``width`` (an int, or a mapping of names to ints).
            base_width: where every parameterization is the user's own model.
            parameterization: "sp", "as_is", "ntk", "mf", "mup", a variant ("mup_t3", "mup_t9", "sp_kernel",
                "sp_global_stable", "mf_integrable"), or a Parameterization of your own.
            optimizer: lower-case name of the torch optimizer; "muon" means Muon for hidden matrices and AdamW for
                the rest (see :func:`~mutransfer.muon_groups`).
            form: "forward" (multipliers at run time) or "absorbed" (folded into init, learning rate and eps).
            overrides: {fnmatch pattern over parameter names: Role or Axes}, for what cannot be inferred.
            lr_rule: "full_alignment" or "no_alignment": Everett et al.'s per-layer rates for sp and ntk.
            wd_policy: "independent" (lr * wd constant in width), "sqrt" or "standard".
            scale_eps: whether Adam's eps follows the size of the gradient.
            embedding_lr_exponent: embeddings train at m**-x times what the table says; published evidence disagrees
                with mup's 0 and finds about 1/2 where the vocabulary is large (Hayou & Liu 2025).
            example: inputs that the model runs on at any width (a tensor, a tuple or a mapping of arguments), or a
                function that calls the model. With it, one forward pass shows what shapes alone do not: what a bare
                parameter is contracted with, a factor of your own that grows with width, attention whose heads grow;
                and every run-time multiplier is checked to change the output. None: a Hugging Face model's config
                says what it takes, and otherwise inputs that fit the first layer are tried.

        Raises:
            ClassificationError: a parameter whose role or init law cannot be known.
            BuildError: the factory fails at ``width`` or ``base_width``, or what it returns is not a new, plain model
                whose parameters have their shapes.
        """
        check_width(width, "width")
        check_width(base_width, "base_width")
        if isinstance(width, Mapping) != isinstance(base_width, Mapping) or (
            isinstance(width, Mapping) and isinstance(base_width, Mapping) and width.keys() != base_width.keys()
        ):
            raise PlanError(
                f"width {width!r} and base_width {base_width!r} must be two ints, or two mappings with the same keys"
            )
        table = rules.parameterization(parameterization, lr_rule)
        check_factory(build, base_width)
        seen = observe(build, base_width, width, example)
        found = survey(build, base_width, width, overrides, None if seen is None else seen.base)
        laws = infer_law.measure(build, found) if table.corrects_init else None
        plan = _plan(found, laws, table, optimizer, form, wd_policy, scale_eps, embedding_lr_exponent, seen)
        if seen is None or not table.corrects_init:
            return plan
        logits = {
            **traced_sites(build, base_width, seen, table),
            **product_sites(build, base_width, seen, table),
        }
        plan = replace(plan, sites={**plan.sites, **logits})
        lone = {path for path, a in seen.base.attention.items() if a.logits.shape[-1] == 1}  # one key: no logits to see
        multiplied = {path: how for path, how, _ in multipliers(plan) if path not in lone}
        check_multipliers(build, base_width, seen.example, multiplied)
        return plan

    @classmethod
    def from_models(
        cls,
        model: nn.Module,
        *,
        base: nn.Module,
        delta: nn.Module | None = None,
        width: Width = 0,
        base_width: Width = 0,
        parameterization: str | Parameterization = "mup",
        optimizer: str = "adamw",
        form: str = "forward",
        overrides: Overrides | None = None,
        lr_rule: str | None = None,
        wd_policy: str = "independent",
        scale_eps: bool = True,
        embedding_lr_exponent: float = 0.0,
    ) -> Plan:
        """The plan for an existing freshly initialised ``model``, from its own class at base width.

        ``delta`` is a third model at yet another width; it shows growth that ``base`` and ``model`` hide
        because their sizes agree. Modules may be on the meta device; their init law is then taken to be
        torch's default (checked against whichever of the two has values, and against the model that the plan is
        applied to).
        """
        models = [base, model] if delta is None else [base, model, delta]
        found = compare(models, [base_width, width, -1][: len(models)], overrides)
        table = rules.parameterization(parameterization, lr_rule)
        laws = infer_law.from_values(models[:2], found) if table.corrects_init else None
        return _plan(found, laws, table, optimizer, form, wd_policy, scale_eps, embedding_lr_exponent, None)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        data: dict[str, Any] = json.loads(text)
        data["scalings"] = {n: Scaling(**(s | {"role": Role(s["role"])})) for n, s in data["scalings"].items()}
        data["sites"] = {n: Site(**s) for n, s in data["sites"].items()}
        data["shapes"] = {n: tuple(s) for n, s in data["shapes"].items()}
        return cls(**data)

    def __str__(self) -> str:
        return show(self)


def _plan(
    found: Survey,
    laws: Mapping[str, Measured] | None,
    table: Parameterization,
    optimizer: str,
    form: str,
    wd_policy: str,
    scale_eps: bool,
    embedding_lr_exponent: float,
    seen: Observed | None,
) -> Plan:
    if form not in rules.FORMS:
        raise PlanError(f"unknown form {form!r}: expected one of {', '.join(rules.FORMS)}")
    kind = rules.family(optimizer)
    # Without a target for the init, the model is left as it is.
    growth = own_growth(seen.base, seen.target) if seen and table.corrects_init else NONE
    scalings, fresh = {}, {}
    for name, parameter in found.parameters.items():
        law = laws[name] if laws else None
        own = growth.of(name, seen.base.uses.get(name) if seen else None)
        scalings[name] = scaling_of(parameter, law, table, kind, form, wd_policy, scale_eps, embedding_lr_exponent, own)
        if law and law.base_rms and not law.law.constant:  # an identity's size depends on its shape
            fresh[name] = law.base_rms * law_factor(law.law, parameter, 1)
    return Plan(
        parameterization=table.name,
        optimizer=optimizer.lower(),
        form=form,
        base_width=_frozen(found.widths[0]),
        width=_frozen(found.widths[1]),
        wd_policy=wd_policy,
        scale_eps=scale_eps,
        scalings=scalings,
        sites={
            **tied_sites(found, table, seen, growth),
            **(packed_sites(found.models, table) if table.corrects_init else {}),
        },
        shapes={name: p.shapes[1] for name, p in found.parameters.items()},
        fresh_rms=fresh,
    )


def _frozen(width: Width) -> Width:
    """A copy that the user's own mapping cannot change, of a type that JSON knows."""
    return dict(width) if isinstance(width, Mapping) else width


def multipliers(plan: Plan) -> Iterator[tuple[str, str, float]]:
    """Where ``plan`` multiplies at run time: path of a module, mechanism and factor, where that is not 1."""
    for name, scaling in plan.items():
        if scaling.forward_mult != 1.0:
            yield name.rpartition(".")[0], "input", scaling.forward_mult
    for path, site in plan.sites.items():
        if site.factor != 1.0:
            yield path, site.mechanism, site.factor
