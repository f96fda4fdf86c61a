"""Growth that one factor per tensor cannot follow, told when a plan is made: fixed columns, layers that grow apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from mutransfer.errors import BuildError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.parameterization.roles.parameter import Parameter
from mutransfer.parameterization.tracing.trace import Example, call
from mutransfer.random_state import preserved_random_state
from mutransfer.theory.equivalence import same_training
from mutransfer.theory.recipe import Recipe
from mutransfer.theory.rules import MUP, Family, Role
from mutransfer.widths import Width

APART = 0.1  # powers of the width: less is rounding of sizes


def warn_of_uneven_growth(builds: Builds, surveyed: ModelSurvey, recipe: Recipe, example: Example | None) -> None:
    """Warn of layers that read fixed columns beside growing ones, and under SGD of layers that grow apart."""
    mixed = dict(_mixed(surveyed))
    for name, count in mixed.items():
        if not _constant_beside_a_bias(builds, surveyed, name, count, example):
            warnings.warn(_of_fixed_columns(name, count, surveyed.parameters[name]), stacklevel=4)
    if recipe.family is Family.SGD and same_training(recipe.table, MUP, optimizer="sgd"):
        for name, count in _split(surveyed):
            warnings.warn(_of_fixed_outputs(name, count, surveyed.parameters[name]), stacklevel=4)
        _warn_of_growth_apart({n: p for n, p in surveyed.parameters.items() if n not in mixed})


def _mixed(surveyed: ModelSurvey) -> Iterator[tuple[str, int]]:
    """Matrices that contract a number of fixed columns beside growing ones, and that number.

    Their fan_in is a growing part and a constant, at all widths exactly, and no layer puts out features of that size.
    """
    made = {sizes for p in surveyed.parameters.values() for sizes in _sizes(p, "fan_out")}
    for name, parameter in surveyed.parameters.items():
        if parameter.role not in (Role.HIDDEN, Role.OUTPUT, Role.BOTTLENECK):
            continue
        for sizes in _sizes(parameter, "fan_in"):
            fixed = _constant_part(sizes, surveyed.widths)
            if fixed > 0 and sizes not in made:
                yield name, fixed


def _split(surveyed: ModelSurvey) -> Iterator[tuple[str, int]]:
    """Hidden matrices that put out a number of fixed features beside growing ones, which no layer reads together."""
    read = {sizes for p in surveyed.parameters.values() for sizes in _sizes(p, "fan_in")}
    for name, parameter in surveyed.parameters.items():
        for sizes in _sizes(parameter, "fan_out") if parameter.role is Role.HIDDEN else ():
            fixed = _constant_part(sizes, surveyed.widths)
            if fixed > 0 and sizes not in read:
                yield name, fixed


def _sizes(parameter: Parameter, side: str) -> list[tuple[int, ...]]:
    dims = getattr(parameter.axes, side) if parameter.axes else ()
    return [tuple(shape[d] for shape in parameter.shapes) for d in dims]


def _constant_part(sizes: tuple[int, ...], widths: tuple[Width, ...]) -> int:
    """The constant in a size that is a multiple of each width and a constant; 0 where it is not, or cannot be told."""
    rows = [(1, *(w.values() if isinstance(w, Mapping) else (w,))) for w in widths]
    if len(set(sizes)) == 1 or len(set(rows)) < 3 or np.linalg.matrix_rank(np.array(rows)) == len(set(rows)):
        return 0
    found, *_ = np.linalg.lstsq(np.array(rows, float), np.array(sizes, float), rcond=None)
    exact = bool(np.abs(np.array(rows) @ found - sizes).max() < 1e-6 * max(sizes))
    return round(float(found[0])) if exact else 0


def _of_fixed_columns(name: str, count: int, parameter: Parameter) -> str:
    where = owner(name)
    return (
        f"{where}: {name} reads {count} fixed inputs beside growing ones (shapes {parameter.shapes[0]} -> "
        f"{parameter.shapes[1]}) and is planned as {parameter.role} as a whole. What it makes of the fixed inputs "
        "fades like n^-1/2 at initialisation, and since one tensor has one learning rate, they are learned at n^-1 of "
        "the rate that an input weight has. Split it: one layer for the growing features and another, without bias, "
        f"for the {count} fixed ones, whose outputs are added"
    )


def _of_fixed_outputs(name: str, count: int, parameter: Parameter) -> str:
    return (
        f"{owner(name)}: {name} puts out {count} fixed features beside growing ones (shapes {parameter.shapes[0]} -> "
        f"{parameter.shapes[1]}) and is planned as {parameter.role} as a whole. The fixed ones' gradient is a sum over "
        "all that grows behind them, and since one tensor has one learning rate, what a step of SGD does to them grows "
        "like n^+1/2. Split it into one layer for the growing features and another for the fixed ones, or take Adam or "
        "AdamW, whose steps do not depend on the gradient's size"
    )


def _constant_beside_a_bias(
    builds: Builds, surveyed: ModelSurvey, name: str, count: int, example: Example | None
) -> bool:
    """Whether the fixed columns hold the same numbers whatever the input: a second bias, which fades unnoticed."""
    where = name.rpartition(".")[0]
    if example is None or f"{where}.bias".lstrip(".") not in surveyed.parameters:
        return False
    seen: list[torch.Tensor] = []
    with preserved_random_state(), torch.no_grad():
        model = builds.fresh(builds.base)
        module: Any = model.get_submodule(where)
        module.register_forward_pre_hook(lambda module, args: seen.extend(args[:1]))
        try:
            call(model.eval(), example)
        except (BuildError, RuntimeError):
            return False
    if not seen or not isinstance(seen[0], torch.Tensor):
        return False
    dim = 1 if surveyed.parameters[name].owner.startswith("Conv") else -1
    columns = seen[0].movedim(dim, 0).flatten(1)
    constant = (columns == columns[:, :1]).all(1) & (columns[:, 0] != 0)  # what a ReLU has cut off is not
    return int(constant.sum()) == count


def _warn_of_growth_apart(parameters: Mapping[str, Parameter]) -> None:
    """Gradients that pass a layer are off by the root of the ratio in which its sides grow."""
    apart = {
        name: (p.m_in, p.m_out)
        for name, p in parameters.items()
        if p.role is Role.HIDDEN and abs(math.log(p.m_in / p.m_out)) > APART * abs(math.log(max(p.m_in, p.m_out)))
    }
    if not apart:
        return
    name, (m_in, m_out) = next(iter(apart.items()))
    more = f" (and {len(apart) - 1} more)" if len(apart) > 1 else ""
    warnings.warn(
        f"{name}{more}: its input grows by {m_in:.4g} and its output by {m_out:.4g} from base to target. SGD's rates "
        "under mup are right where all layers grow alike; the gradient behind this one is off by (m_in / m_out)^1/2 = "
        f"{math.sqrt(m_in / m_out):.3g}, and so is what the layers before it learn. Let all layers grow by the same "
        "factor, or take Adam or AdamW, whose steps do not depend on the gradient's size",
        stacklevel=5,
    )
