"""Laws held against what the factory draws at the target, or at the largest widths that can be afforded.

A law that is measured near the base need not hold further out: orthogonal rows become orthogonal columns where the
width passes the number of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from mutransfer.errors import BuildError
from mutransfer.parameterization.initialisation.drawn_sizes import ENOUGH, Samples, chance_deviation
from mutransfer.parameterization.initialisation.laws import (
    CONSTANT,
    FINITE_LAWS,
    LAWS,
    InitLaw,
    Measured,
    law_factor,
)
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.layouts import bias_fan_ins
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.parameterization.roles.parameter import Parameter
from mutransfer.widths import Width, growth, scaled, width_size

AFFORDABLE = 2**23  # elements of a model that is drawn for this
MAX_DRAWS = 128  # beside the first
CHEAP, MAX_ELEMENTS = 2**20, 2**25  # elements drawn far away before only doubts are followed up, and in all
MANY_SEEDS = 10_000  # beyond those by which the law was found
DOUBT, CERTAIN = 3.0, 6.0  # standard deviations off at which more is drawn, and at which a law does not hold
PER_TENSOR = 4096  # elements whose drawing takes as long as what each tensor takes besides
SLACK = 0.02  # relative, beside what chance explains: what the size at base may be off


def beyond(
    builds: Builds, surveyed: ModelSurvey, local: ModelSurvey, near: Mapping[str, Samples], laws: Mapping[str, Measured]
) -> tuple[dict[str, Measured], list[str]]:
    """The laws, held against what is drawn far from the base, with others in place of those that do not hold.

    Also the names of the parameters whose size at the target stays unknown. Sizes at the target are kept where those
    near the base tell them badly.

    Args:
        local: the parameters at the widths near the base where ``near`` was drawn.
        laws: what was found there; of a parameter that is missing, no law.
    """
    random = {n: p for n, p in surveyed.parameters.items() if n not in laws or laws[n].law != CONSTANT}
    widths = _far(builds, surveyed)
    far = {name: Samples(len(widths)) for name in random}
    parameters = _draw(builds, widths, 0, far, random)

    def doubtful(sigmas: float, slack: float) -> dict[str, Parameter]:
        holds = {n: n in laws and _holds(laws[n].law, p, near[n], far[n], sigmas, slack) for n, p in parameters.items()}
        return {name: parameter for name, parameter in parameters.items() if not holds[name]}

    drawn = sum(prod(shape) + PER_TENSOR for p in parameters.values() for shape in p.shapes[2:])
    repeats = any(
        sample.repeated for sample in near.values()
    )  # else the factory seeds itself, and draws the same again
    off = parameters
    for seed in range(MAX_DRAWS if repeats else 0):
        if seed * drawn > CHEAP:
            off = doubtful(DOUBT, SLACK / 2)
        if seed * drawn > MAX_ELEMENTS or all(min(*far[n].counts, near[n].counts[0]) > ENOUGH for n in off):
            break
        _draw(builds, widths, MANY_SEEDS + seed, far, off)
        _draw(builds, [builds.base], MANY_SEEDS + seed, near, off)
    off = doubtful(CERTAIN, SLACK)
    at_target: dict[str, float] = {}
    for name, parameter in parameters.items() if widths == [builds.target] else ():
        drawn_rms, slack = far[name].rms(0), SLACK + chance_deviation(prod(parameter.shapes[1]))
        if drawn_rms and (name in off or _is_off(drawn_rms, laws[name], parameter, slack)):
            at_target[name] = drawn_rms
    if not off:  # or out of reach: what is unknown goes on as it does near the base, if the user says so
        off = {name: parameter for name, parameter in random.items() if name not in laws}
        widths, far = [local.widths[1]], {name: near[name].of_width(1) for name in off}
    found, lost = {n: replace(law, target_rms=at_target.get(n)) for n, law in laws.items()}, []
    for name, parameter in off.items():
        to_target = _to_target(builds, parameter, near[name].rms(0), far[name], widths)
        if to_target is None:
            lost.append(name)
        else:
            law = InitLaw(to_target=to_target)
            found[name] = Measured(law=law, base_rms=near[name].rms(0), target_rms=at_target.get(name))
    return found, lost


def _is_off(drawn: float, found: Measured, parameter: Parameter, slack: float) -> bool:
    """Whether the size at the target is not what the law makes of that at base, which few elements tell badly."""
    base = found.base_rms
    return not base or abs(math.log(drawn / (base * law_factor(found.law, parameter, 1)))) > slack


def _far(builds: Builds, surveyed: ModelSurvey) -> list[Width]:
    """The target, or else the largest multiple of the base that is affordable and its half; none if that is the base.

    Models grow at most like the square of the width, so that their size tells what to try.
    """
    sizes = [sum(prod(p.shapes[i]) for p in surveyed.parameters.values()) for i in (0, 1)]
    if sizes[1] <= AFFORDABLE:
        return [builds.target]
    if width_size(builds.target) < width_size(builds.base) or sizes[0] >= AFFORDABLE:
        return []
    steps = math.log(AFFORDABLE / sizes[0]) / math.log(sizes[1] / sizes[0])
    factor = 2 ** int(steps * math.log2(width_size(builds.target) / width_size(builds.base)))
    wide = [scaled(builds.base, f) for f in (factor, factor // 2) if f > 1]
    return [w for w in wide if w is not None] if isinstance(builds.base, int) else []


def _draw(
    builds: Builds, widths: Sequence[Width], seed: int, far: Mapping[str, Samples], which: Mapping[str, Parameter]
) -> dict[str, Parameter]:
    """Add what one seed draws; the parameters with their shapes at base, target and ``widths``.

    Nothing is drawn where there is no width to draw at, or the factory fails there: if that is the target, where the
    model does not fit say, whoever builds it is told.
    """
    if not widths:
        return {}
    shapes: dict[str, list[tuple[int, ...]]] = {name: list(p.shapes[:2]) for name, p in which.items()}
    fan_ins: dict[str, list[int]] = {n: list(p.bias_fan_in[:2]) for n, p in which.items() if p.bias_fan_in is not None}
    for i, width in enumerate(widths):
        try:
            model = builds.fresh(width, seed)
        except BuildError:
            return {}
        drawn, counted = dict(model.named_parameters()), bias_fan_ins(model)
        for name in which:
            far[name].add(i, drawn[name])
            shapes[name].append(tuple(drawn[name].shape))
            if name in fan_ins:
                fan_ins[name].append(counted[name])
    grown = tuple(growth(builds.base, w) for w in (builds.base, builds.target, *widths))
    return {
        name: replace(
            p,
            shapes=tuple(shapes[name]),
            growth=grown,
            bias_fan_in=tuple(fan_ins[name]) if name in fan_ins else None,
        )
        for name, p in which.items()
    }


def _holds(law: InitLaw, parameter: Parameter, near: Samples, far: Samples, sigmas: float, slack: float) -> bool:
    """Whether the sizes at the far widths are those that the law gives from the base; shapes[2:] are those drawn."""
    for i in range(len(parameter.shapes) - 2):
        chance = math.hypot(chance_deviation(far.counts[i]), chance_deviation(near.counts[0]))
        expected = near.rms(0) * law_factor(law, parameter, 2 + i)
        if not far.rms(i) or abs(math.log(far.rms(i) / expected)) > chance * sigmas / 6 + slack:
            return False
    return True


def _to_target(
    builds: Builds, parameter: Parameter, base: float, far: Samples, widths: Sequence[Width]
) -> float | None:
    """The size at the target over that at ``base``: as measured, and further by the law between the far widths.

    Where these follow none, by a power of the width, if the user has said what the parameter is; else None.
    """
    if not base or not all(far.rms(i) for i in range(len(widths))):
        return None
    measured = far.rms(0) / base
    if widths[0] == builds.target:
        return measured
    if len(widths) > 1:
        step, slack = math.log(far.rms(0) / far.rms(1)), sum(map(chance_deviation, far.counts)) + SLACK
        off = [
            (abs(step - math.log(law_factor(law, parameter, 2) / law_factor(law, parameter, 3))), law)
            for law in (*LAWS, *FINITE_LAWS[1:])
        ]
        least, law = min(off, key=lambda pair: pair[0])
        if least < slack:
            return measured * law_factor(law, parameter, 1) / law_factor(law, parameter, 2)
    if not parameter.overridden:
        return None
    sizes = [math.log(width_size(w)) for w in (builds.base, widths[0], builds.target)]
    return float(measured ** ((sizes[2] - sizes[0]) / (sizes[1] - sizes[0])))
