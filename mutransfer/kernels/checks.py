"""Whether an assembled kernel agrees with plain backward passes, parameter by parameter."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import torch
from torch import Tensor

from mutransfer.kernels.assembly import Probe, Side, Tangents


def failures(tangents: Tangents, sides: list[Side], probe: Probe, assembled: Mapping[str, float]) -> set[str]:
    """Parameters whose u^T K v, ``assembled``, is not (J^T u) . (J^T v).

    A difference counts beyond a thousandth (1e-8 where every number in the model is float64) of |J^T u| |J^T v| of
    this parameter; where that is rounding beside the whole gradient, as for the bias of attention keys, whose gradient
    is zero, beyond that rounding.
    """
    if len(sides) == 1:
        left, right = tangents.pulled(sides[0], [(probe.left_at, probe.left), (probe.right_at, probe.right)])
    else:
        (left,) = tangents.pulled(sides[0], [(probe.left_at, probe.left)])
        (right,) = tangents.pulled(sides[1], [(probe.right_at, probe.right)])
    precision = max(side.survey.precision for side in sides)
    tolerance = max(1e-3, 16 * precision) if precision > 1e-10 else 1e-8
    sizes = {name: _norm(left[name]) * _norm(right[name]) for name in left}

    def whole(gradients: Mapping[str, Tensor]) -> float:
        return sum(_norm(g) ** 2 for g in gradients.values()) ** 0.5

    floor = precision * whole(left) * whole(right)
    failed = set()
    for name, size in sizes.items():
        expected = float(left[name].flatten().double() @ right[name].flatten().double())
        difference = abs(assembled[name] - expected)
        if not (isfinite(difference) and difference <= tolerance * size + floor):
            failed.add(name)
    return failed


def _norm(gradient: Tensor) -> float:
    return float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
