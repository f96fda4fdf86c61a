"""How the model's own initialisation scales with width, measured from builds instead of assumed.

A wide model arrives already initialised by its own rule. The correction to a target rule is the target's
factor over the model's own, so the model's own must be known *exactly*: it is measured on small builds and
then snapped to a law with exact exponents (0, 1/2 or 1 of fan_in or fan_out, or Glorot's
1/sqrt(fan_in + fan_out)). The law is held against what is drawn at the target, or as near to it as can be afforded;
where it does not hold there, or there is none, what was measured takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from math import prod

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.initialisation.drawn_sizes import (
    Samples,
    chance_deviation,
    decided,
    refuse_lawless,
    sampled_once,
    sums,
)
from mutransfer.parameterization.initialisation.draws import measuring_widths, sample
from mutransfer.parameterization.initialisation.far_widths import PER_TENSOR, beyond
from mutransfer.parameterization.initialisation.laws import InitLaw, Measured, default_law, default_rms
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.widths import growth

MAX_BUILDS = 256
MAX_ELEMENTS = 2**27  # drawn in all, beyond the two builds per width that are always made; a second or two


def measure(builds: Builds, surveyed: ModelSurvey) -> dict[str, Measured]:
    """The law of every parameter, from real builds at a few small widths under several seeds.

    Raises ClassificationError naming each parameter whose sizes fit no law, with what was measured, where the target is
    too large to be drawn and no override says that the parameter is to be taken as it is.
    """
    widths, sizes = measuring_widths(builds, surveyed)
    # Roles come from the full survey; the shapes here are those of the few widths that are built for real.
    parameters = {
        name: replace(
            p,
            shapes=tuple(s.shapes[name] for s in sizes),
            growth=tuple(growth(widths[0], w) for w in widths),
            bias_fan_in=None if p.bias_fan_in is None else tuple(s.fan_ins[name] for s in sizes),
        )
        for name, p in surveyed.parameters.items()
    }
    local = replace(surveyed, widths=tuple(widths), parameters=parameters)
    samples = {name: Samples(len(widths)) for name in parameters}
    elements = sum(prod(shape) + PER_TENSOR for p in parameters.values() for shape in p.shapes)
    sample(builds, widths, 0, samples)
    once = deepcopy(samples)
    for seed in range(1, MAX_BUILDS):
        sample(builds, widths, seed, samples)
        if all(samples[n].settled(p, surveyed.parameters[n]) for n, p in parameters.items()):
            break
        if (seed + 2) * elements > MAX_ELEMENTS:
            break
    if not any(sample.varies for sample in samples.values()):
        # The factory seeds itself, so that all its builds are one sample; or everything in it is constant.
        samples = once
    measured, odd = decided(samples, local)
    if builds.base == builds.target:  # nothing changes, by whatever law
        same = InitLaw(to_target=1.0)
        return measured | {name: Measured(law=same, base_rms=samples[name].rms(0)) for name in odd}
    found, lost = beyond(builds, surveyed, local, samples, measured)
    refuse_lawless(lost, samples, local)
    return {name: found[name] for name in parameters}


def from_values(models: Sequence[nn.Module], surveyed: ModelSurvey) -> dict[str, Measured]:
    """The laws from one sample each of existing models.

    Where a model holds no values (meta device), the laws are taken to be torch's defaults, and so are the sizes: a
    model that does not have them when the plan is applied is refused.
    """
    values = [dict(model.named_parameters()) for model in models]
    real = [i for i, found in enumerate(values) if not any(p.is_meta for p in found.values())]
    if 0 in real and 1 in real:
        samples = sampled_once(models[:2], surveyed)
        measured, odd = decided(samples, surveyed)
        sizes = {name: (samples[name].rms(0), samples[name].rms(1)) for name in odd}
        refuse_lawless([name for name in odd if not all(sizes[name])], samples, surveyed)
        return measured | {
            name: Measured(law=InitLaw(to_target=at_target / at_base), base_rms=at_base)
            for name, (at_base, at_target) in sizes.items()
        }
    assumed: dict[str, Measured] = {}
    wrong = []
    for name, parameter in surveyed.parameters.items():
        law = default_law(parameter)
        expected_at_base = default_rms(parameter, 0)
        if real:  # one side has values: they must at least look like the default
            tensor = values[real[0]][name]
            expected = default_rms(parameter, real[0])
            rms = math.sqrt(sums(tensor)[0] / tensor.numel())
            slack = chance_deviation(tensor.numel()) + 0.02
            if expected is not None and rms and abs(math.log(rms / expected)) > slack:
                wrong.append(f"  {name}: root-mean-square {rms:.4g}, torch's default gives {expected:.4g}")
            if not rms:  # a bias that starts at zero: no law is seen, and rescaling leaves it
                expected_at_base = None
        assumed[name] = Measured(law=law, base_rms=expected_at_base)
    if wrong:
        raise ClassificationError(
            "the base model holds no values (meta device), and these parameters are not initialised by torch's "
            "default, so how they scale with width cannot be known:\n"
            + "\n".join(wrong)
            + "\nPass a base model with values, or use Plan.infer(build, ...)."
        )
    return assumed
