"""Interchange with the ``mup`` package (Yang et al., version 1.0.0): base-shape files, and models that it has marked.

What ``mup`` does is kept where it is right and not reproduced where it is not: its SGD ignores ``main_idx``, a tensor
learning rate is changed for all groups at once, a user's own groups are changed in place, and Adam's eps is not scaled.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import mup
import torch
import yaml
from mup.infshape import InfShape
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.model.factory import Build, skeleton
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.scaling import Scaling
from mutransfer.theory.rules import MUP, Family, Role, family, wd_factor
from mutransfer.widths import Width, scaled


def write_base_shapes(build: Build, base_width: Width, file: Path | str) -> None:
    """Write the ``.bsh`` file of a factory, as ``mup.make_base_shapes`` would; nothing is allocated.

    Dimensions that grow from ``base_width`` to twice that are the infinite ones.
    """
    wider = scaled(base_width, 2)
    assert wider is not None  # doubling a whole number gives one
    mup.make_base_shapes(skeleton(build, base_width), skeleton(build, wider), savefile=str(file))


def plan_from_base_shapes(model: nn.Module, file: Path | str, **options: Any) -> Plan:
    """The plan for a freshly initialised ``model`` that knows its base from a ``.bsh`` file.

    ``options`` are those of :meth:`Plan.from_models`. A base-shape file holds no values, so the initialisation is
    taken to be torch's default, checked against the model's values.

    Raises:
        PlanError: the file is for another model, or no base-shape file.
    """
    base_shapes = _base_shapes(file)
    base = copy.deepcopy(model).to("meta")
    parameters = dict(base.named_parameters())
    odd = sorted(parameters.keys() ^ base_shapes.keys())
    if odd:
        raise PlanError(f"{file} is for another model: {', '.join(odd[:6])} in only one of them")
    for name, parameter in parameters.items():
        dims = base_shapes[name]
        if len(dims) != parameter.ndim:
            raise PlanError(f"{file}: {name} has {len(dims)} dimensions, the model's has {parameter.ndim}")
        shape = [own if given is None else given for own, given in zip(parameter.shape, dims, strict=True)]
        parameter.data = torch.empty(shape, device="meta", dtype=parameter.dtype)
    for module in base.modules():
        _follow_weight(module)
    return Plan.from_models(model, base=base, **options)


def plan_from_marked(
    model: nn.Module, *, optimizer: str = "adamw", wd_policy: str = "independent", scale_eps: bool = True
) -> Plan:
    """The plan of a model that ``mup.set_base_shapes`` has marked and rescaled; it is on the model already.

    Only groups are left to be made: :func:`~mutransfer.param_groups` then gives every parameter the learning rate and
    weight decay of MuSGD, MuAdam and MuAdamW. ``scale_eps=False`` is what these do with eps.

    Raises:
        PlanError: a parameter carries no ``infshape``, or has more than two infinite dimensions.
    """
    kind = family(optimizer)
    readouts = {id(m.weight) for m in model.modules() if isinstance(m, mup.MuReadout)}
    scalings, shapes = {}, {}
    for name, parameter in model.named_parameters():
        infshape = getattr(parameter, "infshape", None)
        if infshape is None:
            raise PlanError(f"{name} carries no infshape: call mup.set_base_shapes(model, base) first")
        role, m_in, m_out = _role(name, infshape, id(parameter) in readouts)
        row = MUP.rows[role]
        lr = row.rate(kind)(m_in, m_out)
        scalings[name] = Scaling(
            role=role,
            reason=f"infshape {tuple(infshape.base_shape())} -> {tuple(infshape.shape())} [{row.source}]",
            m_in=m_in,
            m_out=m_out,
            lr_mult=lr,
            wd_mult=wd_factor(wd_policy, role, lr, m_in),
            eps_mult=row.eps(m_in, m_out) if kind is Family.ADAM and scale_eps else 1.0,
            norm_mult=row.rate(Family.SGD)(m_in, m_out),
        )
        shapes[name] = tuple(parameter.shape)
    return Plan(
        parameterization="mup",
        optimizer=optimizer,
        form="forward",
        base_width=0,
        width=0,
        wd_policy=wd_policy,
        scale_eps=scale_eps,
        scalings=scalings,
        sites={},
        shapes=shapes,
        fresh_rms={},
    )


def _base_shapes(file: Path | str) -> dict[str, list[int | None]]:
    """Base sizes of every parameter, None for a dimension that is no width; PlanError where the file holds else."""
    try:
        data = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{file} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PlanError(f"{file} is no base-shape file: not valid YAML ({reason})") from None
    if not isinstance(data, dict) or not data:
        raise PlanError(f"{file} is no base-shape file: expected a shape for every parameter")
    for name, dims in data.items():
        if not isinstance(name, str) or not isinstance(dims, list):
            raise PlanError(
                f"{file}: {str(name)[:80]}: expected a list of sizes and nulls, found {type(dims).__name__}"
            )
        for i, size in enumerate(dims):
            # type, since a bool is an int in Python.
            if size is not None and not (type(size) is int and 0 < size < 2**63):
                shown = size if isinstance(size, int | float | str) else type(size).__name__
                raise PlanError(
                    f"{file}: {name}.{i}: expected a positive whole number or null, found {str(shown)[:80]}"
                )
    return data


def _follow_weight(module: nn.Module) -> None:
    """Make the sizes that a layer states agree with its weight again: the law of its bias is read from them."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.conv._ConvNd):
        first, second = module.weight.shape[:2]
        if module.transposed:
            module.in_channels, module.out_channels = first, second * module.groups
        else:
            if module.groups == module.in_channels:  # depthwise: a group per channel, however many there are
                module.groups = first
            module.in_channels, module.out_channels = second * module.groups, first


def _role(name: str, infshape: InfShape, is_readout: bool) -> tuple[Role, float, float]:
    mult = float(infshape.width_mult())
    if infshape.ninf() == 0:
        return Role.SCALAR, 1.0, 1.0
    if infshape.ninf() == 1:
        if is_readout:
            return Role.OUTPUT, mult, 1.0
        return (Role.VECTOR if len(infshape) == 1 else Role.INPUT), 1.0, mult
    if infshape.ninf() > 2:
        raise PlanError(f"{name} has {infshape.ninf()} infinite dimensions: give its Axes to Plan.infer instead")
    infinite = [i for i, dim in enumerate(infshape) if dim.isinf()]
    fan_in = int(infshape.main_idx or 0)  # mup's own way of saying which dimension is contracted
    fan_out = next(i for i in infinite if i != fan_in)
    mults = [float(dim.width_mult()) for dim in infshape]
    return Role.HIDDEN, mults[fan_in], mults[fan_out]
