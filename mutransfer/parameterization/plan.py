"""The Plan: parameter name -> Scaling, what a parameterization asks of a model, in plain numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.factory import Build
from mutransfer.parameterization.plan_json import plan_fields
from mutransfer.parameterization.plan_table import show
from mutransfer.parameterization.roles.normed_weights import module_of
from mutransfer.parameterization.roles.overrides import Overrides
from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.sites import Mechanism, On, Site
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.theory.recipe import Recipe
from mutransfer.theory.rules import Parameterization
from mutransfer.widths import Width, show_width


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
    measurement: str = field(default="", compare=False)  # on which small models it was tried, and what was seen

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
        check: bool = True,
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
            check: whether to measure the plan where there is an example: the model is built at two or three small
                widths, and sizes and the first update are compared with what the parameterization predicts. Takes at
                most 2 s or a tenth of the time to build the model at ``width``.

        Raises:
            ClassificationError: a parameter whose role or init law cannot be known.
            BuildError: the factory fails at ``width`` or ``base_width``, or what it returns is not a new, plain model
                whose parameters have their shapes.
            PlanMeasurementError: small models under the plan do not do what the parameterization predicts.
        """
        from mutransfer.parameterization.infer import infer  # which makes plans, and so stands above them

        recipe = Recipe.of(
            parameterization,
            optimizer=optimizer,
            form=form,
            lr_rule=lr_rule,
            wd_policy=wd_policy,
            scale_eps=scale_eps,
            embedding_lr_exponent=embedding_lr_exponent,
        )
        return infer(
            Builds(build, base=base_width, target=width), recipe, overrides=overrides, example=example, check=check
        )

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
        from mutransfer.parameterization.infer import infer_from_models  # as above

        recipe = Recipe.of(
            parameterization,
            optimizer=optimizer,
            form=form,
            lr_rule=lr_rule,
            wd_policy=wd_policy,
            scale_eps=scale_eps,
            embedding_lr_exponent=embedding_lr_exponent,
        )
        models = [base, model] if delta is None else [base, model, delta]
        return infer_from_models(models, [base_width, width, -1][: len(models)], recipe, overrides=overrides)

    def recipe(self, table: Parameterization) -> Recipe:
        """What the plan was made by; it holds the name of the ``table``, and no exponent of its embeddings."""
        return Recipe.of(
            table,
            optimizer=self.optimizer,
            form=self.form,
            wd_policy=self.wd_policy,
            scale_eps=self.scale_eps,
        )

    def multipliers(self) -> Iterator[tuple[str, Mechanism, float]]:
        """What is multiplied at run time: path of a module, mechanism and factor, where that is not 1."""
        for name, scaling in self.items():
            if scaling.forward_mult != 1.0:
                yield module_of(name), Mechanism(On.INPUT), scaling.forward_mult
        for path, site in self.sites.items():
            if site.factor != 1.0:
                yield path, site.mechanism, site.factor

    def to_dict(self) -> dict[str, Any]:
        """All fields as values that JSON knows."""
        data = asdict(self)
        if not self.measurement:
            del data["measurement"]
        for path, site in self.sites.items():
            data["sites"][path]["mechanism"] = str(site.mechanism)
        return data

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that :meth:`to_json` wrote.

        Raises:
            PlanError: it is no such plan, naming the field that is missing, unknown or out of its bounds.
        """
        return cls(**plan_fields(text))

    def __str__(self) -> str:
        widths = f"width {show_width(self.base_width)} -> {show_width(self.width)}"
        head = f"{self.parameterization} for {self.optimizer}, {self.form} form, {widths}"
        table = show(head, self.scalings, self.sites, self.shapes)
        return f"{table}\n{self.measurement}" if self.measurement else table
