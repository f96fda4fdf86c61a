"""Putting a Plan on a model: rescale what the factory drew, multiply at run time where the plan says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.axes import Overrides
from mutransfer.parameterization.building import Build, Width, build_at
from mutransfer.parameterization.names import canonical, unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.rules import Parameterization

# A plain attribute of the module: deepcopy and pickle keep it, state_dict never sees it.
_MARK = "_mutransfer_plan"
_HOOK = "_mutransfer_hook"


@dataclass(frozen=True)
class InputMultiplier:
    """A forward pre-hook on a module's first input: (W f) x + b for every linear map, bias untouched."""

    factor: float

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (args[0] * self.factor, *args[1:]), kwargs
        return args, {**kwargs, "input": kwargs["input"] * self.factor}


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
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[nn.Module, Plan]:
    """Build the model at ``width`` and put it under a parameterization, without editing it.

    The random state afterwards is as after one ``build(width)``, and at ``width == base_width`` the model is
    ``build(width)`` bit for bit. Arguments are those of :meth:`Plan.infer`; ``device`` and ``dtype`` say
    where the finished model goes.

    >>> from torch import nn
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> model, plan = parameterize(build, width=256, base_width=64, optimizer="adam")
    >>> plan["2.weight"].forward_mult
    0.25
    """
    plan = Plan.infer(
        build,
        width=width,
        base_width=base_width,
        parameterization=parameterization,
        optimizer=optimizer,
        form=form,
        overrides=overrides,
        lr_rule=lr_rule,
        wd_policy=wd_policy,
        scale_eps=scale_eps,
        embedding_lr_exponent=embedding_lr_exponent,
    )
    model = apply(build_at(build, width), plan)
    return model.to(device=device, dtype=dtype), plan


def apply(model: nn.Module, plan: Plan) -> nn.Module:
    """Put ``plan`` on a freshly initialised ``model``, in place; load checkpoints afterwards.

    Raises:
        PlanError: the model's parameters are not the plan's; a plan is on it already; or its weights are not
            as the factory draws them (a checkpoint was loaded), so that rescaling would happen twice.
    """
    inner = unwrapped(model)
    if any(_MARK in vars(m) for m in inner.modules()):
        raise PlanError(
            "a plan is on this model already; applying another would rescale it twice. Build a new model first."
        )
    parameters = {canonical(n, plan.scalings.keys()): p for n, p in inner.named_parameters()}
    _check_fits(parameters, plan)
    _check_fresh(parameters, plan)
    multiplied = _multiplied(inner, plan)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if plan[name].init_mult != 1.0:
                parameter.mul_(plan[name].init_mult)
    for module, factor in multiplied:
        hook = module.register_forward_pre_hook(InputMultiplier(factor), with_kwargs=True)
        # Kept with the module: unpickling it reserves the hook's id, which another hook would otherwise take.
        setattr(module, _HOOK, hook)
    setattr(inner, _MARK, plan)
    return model


def remove(model: nn.Module) -> None:
    """Take the run-time multipliers and the mark of :func:`apply` off again; weights stay as they are."""
    for module in unwrapped(model).modules():
        vars(module).pop(_MARK, None)
        hook = vars(module).pop(_HOOK, None)
        if hook is not None:
            hook.remove()


def applied_plan(model: nn.Module) -> Plan | None:
    """The plan that :func:`apply` put on ``model``, or None."""
    return vars(unwrapped(model)).get(_MARK)


def _multiplied(inner: nn.Module, plan: Plan) -> list[tuple[nn.Module, float]]:
    """The modules whose input is multiplied at every forward pass, and by what."""
    factors = {name.rpartition(".")[0]: s.forward_mult for name, s in plan.items() if s.forward_mult != 1.0}
    factors |= {path: site.factor for path, site in plan.sites.items() if site.factor != 1.0}
    modules = dict(inner.named_modules())
    found = {path: modules.get(canonical(path, modules.keys())) for path in factors}
    if odd := sorted(path for path, module in found.items() if module is None):
        raise PlanError(f"the plan is for another model: it multiplies {', '.join(odd)}, which this one lacks")
    return [(module, factors[path]) for path, module in found.items() if module is not None]


def _check_fits(parameters: dict[str, nn.Parameter], plan: Plan) -> None:
    odd = sorted(parameters.keys() ^ plan.keys())
    if odd:
        raise PlanError(
            f"the plan is for another model: {', '.join(odd[:6])} {'are' if len(odd) > 1 else 'is'} in only one of them"
        )
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != plan.shapes[name]:
            raise PlanError(
                f"the plan is for another width: {name} has shape {tuple(parameter.shape)}, "
                f"the plan (width {plan.width}) expects {plan.shapes[name]}"
            )


def _check_fresh(parameters: dict[str, nn.Parameter], plan: Plan) -> None:
    for name, expected in plan.fresh_rms.items():
        parameter = parameters[name]
        if plan[name].init_mult == 1.0 or parameter.is_meta:
            continue
        rms = float(parameter.detach().double().pow(2).mean().sqrt())
        # Six standard deviations of a sample's root-mean-square, or 16/n where all n elements may be small by
        # chance (probability e^-16), and 5 % for what the plan's own estimate is off.
        n = parameter.numel()
        slack = max(6 / math.sqrt(2 * n), 16 / n) + 0.05
        if not rms or abs(math.log(rms / expected)) > slack:
            raise PlanError(
                f"{name} is not as the factory draws it: root-mean-square {rms:.4g}, expected "
                f"{expected:.4g}. Was a checkpoint loaded, or the model trained? Apply the plan to a fresh "
                "model first and load the checkpoint afterwards; loading never rescales."
            )
