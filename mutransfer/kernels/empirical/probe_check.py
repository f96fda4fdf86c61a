"""Whether an assembled kernel agrees with plain backward passes, parameter by parameter."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt

from mutransfer.kernels.empirical.passes.sides import Side
from mutransfer.kernels.empirical.passes.tangents import Tangents
from mutransfer.kernels.empirical.probe import Probe


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
    # Sums in the gradients' own precision: what they round away is far below the tolerance, and they take a moment.
    squares = [{name: float(g.flatten() @ g.flatten()) for name, g in side.items()} for side in (left, right)]
    floor = precision * sqrt(sum(squares[0].values())) * sqrt(sum(squares[1].values()))
    failed = set()
    for name in left:
        difference = abs(assembled[name] - float(left[name].flatten() @ right[name].flatten()))
        size = sqrt(squares[0][name]) * sqrt(squares[1][name])
        if not (isfinite(difference) and difference <= tolerance * size + floor):
            failed.add(name)
    return failed
