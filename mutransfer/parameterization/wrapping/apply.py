"""Putting a Plan on a model: rescale what the factory drew, multiply at run time where the plan says so."""

from __future__ import annotations

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.infer import infer
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.factory import Build
from mutransfer.parameterization.model.names import unwrapped
from mutransfer.parameterization.multipliers.install import install, uninstall
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import Overrides
from mutransfer.parameterization.tracing.trace import Example
from mutransfer.parameterization.wrapping.awaited_values import clear_awaiting, is_awaiting, mark_awaiting
from mutransfer.parameterization.wrapping.fit import check_fresh, check_in_place, fitting, has_values
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan, holds_mark, mark, unmark
from mutransfer.theory.recipe import Recipe
from mutransfer.theory.rules import Parameterization
from mutransfer.widths import Width


def parameterize(
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
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[nn.Module, Plan]:
    """Build the model at ``width`` and put it under a parameterization, without editing it.

    The random state afterwards is as after one ``build(width)``, and at ``width == base_width`` the model is
    ``build(width)`` bit for bit. Arguments are those of :meth:`Plan.infer`; ``device`` and ``dtype`` say
    where the finished model goes; on ``device="meta"`` it gets no values, see :func:`apply`.

    >>> from torch import nn
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> model, plan = parameterize(build, width=256, base_width=64, optimizer="adam")
    >>> plan["2.weight"].forward_mult
    0.25
    """
    recipe = Recipe.of(
        parameterization,
        optimizer=optimizer,
        form=form,
        lr_rule=lr_rule,
        wd_policy=wd_policy,
        scale_eps=scale_eps,
        embedding_lr_exponent=embedding_lr_exponent,
    )
    builds = Builds(build, base=base_width, target=width)
    plan = infer(builds, recipe, overrides=overrides, example=example, check=check)
    if device is not None and torch.device(device).type == "meta":
        return apply(builds.skeleton(width).to(device=device, dtype=dtype), plan), plan
    return apply(builds.drawn(width), plan).to(device=device, dtype=dtype), plan


def apply(model: nn.Module, plan: Plan) -> nn.Module:
    """Put ``plan`` on a freshly initialised ``model``, in place; load checkpoints afterwards.

    Parameters may be sharded (``fully_shard``, tensor parallelism): every process calls this. A model on the meta
    device has no values to rescale: it gets its run-time multipliers, and after ``to_empty`` and initialising

    - call ``apply`` again with the same plan, which then rescales what was drawn; or
    - load a checkpoint by ``load_state_dict``, which needs nothing more.

    Until one of the two is done, :func:`~mutransfer.param_groups` refuses the model. Calling ``apply`` only once, after
    the values are there, does the same.

    Raises:
        PlanError: the model's parameters are not the plan's; a plan is on it already; or its weights are not
            as the factory draws them (a checkpoint was loaded), so that rescaling would happen twice.

    >>> import mutransfer as mt
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> plan = mt.Plan.infer(build, width=256, base_width=64)
    >>> with torch.device("meta"):
    ...     model = mt.apply(build(256), plan)
    >>> model = model.to_empty(device="cpu")
    >>> for layer in (model[0], model[2]):
    ...     layer.reset_parameters()
    >>> model = mt.apply(model, plan)
    """
    inner = unwrapped(model)
    if applied_plan(inner) == plan:
        check_in_place(inner, plan)
    resumed = is_awaiting(inner) and applied_plan(inner) == plan
    if not resumed:
        _check_bare(inner)
    parameters = fitting(inner, plan)
    rescaled = {n: p for n, p in parameters.items() if plan[n].init_mult != 1.0}
    drawn = has_values(rescaled.values())
    if drawn and rescaled:  # else nothing is done to any values, whatever they are
        check_fresh({n: p for n, p in parameters.items() if not p.is_meta}, plan)
    elif resumed:
        raise PlanError("a plan is on this model already, which has no values yet: call to_empty and initialise it")
    if not resumed:
        _put(inner, plan)
    if drawn:
        with torch.no_grad():
            for name, parameter in rescaled.items():
                parameter.mul_(plan[name].init_mult)
        clear_awaiting(inner)
    else:
        mark_awaiting(inner)
    return model


def attach(model: nn.Module, plan: Plan) -> nn.Module:
    """Put ``plan`` on a ``model`` whose weights were trained under it, in place, without rescaling them.

    For a checkpoint that is in the model already, or comes into it later; the plan lies beside it
    (:func:`~mutransfer.load_plan`). A fresh model needs :func:`apply`.

    Raises:
        PlanError: the model's parameters are not the plan's, or a plan is on it already.

    >>> import mutransfer as mt
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> trained, plan = mt.parameterize(build, width=256, base_width=64)
    >>> model = build(256)
    >>> _ = model.load_state_dict(trained.state_dict())
    >>> model = mt.attach(model, plan)
    >>> x = torch.ones(1, 8)
    >>> torch.equal(model(x), trained(x))
    True
    """
    inner = unwrapped(model)
    if applied_plan(inner) == plan:
        check_in_place(inner, plan)
        if is_awaiting(inner):
            clear_awaiting(inner)
            return model
    _check_bare(inner)
    fitting(inner, plan)
    _put(inner, plan)
    return model


def remove(model: nn.Module) -> nn.Module:
    """Take the run-time multipliers and the mark of :func:`apply` off again; weights stay as they are."""
    inner = unwrapped(model)
    uninstall(inner)
    for module in inner.modules():
        clear_awaiting(module)
    unmark(inner)
    return model


def _put(inner: nn.Module, plan: Plan) -> None:
    install(inner, plan)
    mark(inner, plan)


def _check_bare(inner: nn.Module) -> None:
    if holds_mark(inner):
        raise PlanError(
            "a plan is on this model already; applying another would rescale it twice. Build a new model first."
        )
