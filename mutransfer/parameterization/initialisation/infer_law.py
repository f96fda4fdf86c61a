"""How the model's own initialisation scales with width, measured from builds instead of assumed.

A wide model arrives already initialised by its own rule. The correction to a target rule is the target's
factor over the model's own, so the model's own must be known *exactly*: it is measured on small builds and
then snapped to a law with exact exponents (0, 1/2 or 1 of fan_in or fan_out, or Glorot's
1/sqrt(fan_in + fan_out)). A parameter that fits none is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.initialisation.drawn_sizes import (
    Samples,
    chance_deviation,
    decided,
    sampled_once,
    sums,
)
from mutransfer.parameterization.initialisation.draws import measuring_widths, sample
from mutransfer.parameterization.initialisation.laws import Measured, default_law, default_rms
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.widths import growth

MAX_BUILDS = 256
MAX_SECONDS = 5.0


def measure(builds: Builds, surveyed: ModelSurvey) -> dict[str, Measured]:
    """The law of every parameter, from real builds at a few small widths under several seeds.

    Raises ClassificationError naming each parameter whose sizes fit no law, with what was measured.
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
    started = time.monotonic()
    sample(builds, widths, 0, samples)
    once = deepcopy(samples)
    for seed in range(1, MAX_BUILDS):
        sample(builds, widths, seed, samples)
        if all(samples[n].settled(p, surveyed.parameters[n]) for n, p in parameters.items()):
            break
        if time.monotonic() - started > MAX_SECONDS:
            break
    if not any(sample.varies for sample in samples.values()):
        # The factory seeds itself, so that all its builds are one sample; or everything in it is constant.
        samples = once
    return decided(samples, local)


def from_values(models: Sequence[nn.Module], surveyed: ModelSurvey) -> dict[str, Measured]:
    """The laws from one sample each of existing models.

    Where a model holds no values (meta device), the laws are taken to be torch's defaults, and so are the sizes: a
    model that does not have them when the plan is applied is refused.
    """
    values = [dict(model.named_parameters()) for model in models]
    real = [i for i, found in enumerate(values) if not any(p.is_meta for p in found.values())]
    if 0 in real and 1 in real:
        return decided(sampled_once(models, surveyed), surveyed)
    measured, odd = {}, []
    for name, parameter in surveyed.parameters.items():
        law = default_law(parameter)
        expected_at_base = default_rms(parameter, 0)
        if real:  # one side has values: they must at least look like the default
            tensor = values[real[0]][name]
            expected = default_rms(parameter, real[0])
            rms = math.sqrt(sums(tensor)[0] / tensor.numel())
            slack = chance_deviation(tensor.numel()) + 0.02
            if expected is not None and rms and abs(math.log(rms / expected)) > slack:
                odd.append(f"  {name}: root-mean-square {rms:.4g}, torch's default gives {expected:.4g}")
            if not rms:  # a bias that starts at zero: no law is seen, and rescaling leaves it
                expected_at_base = None
        measured[name] = Measured(law=law, base_rms=expected_at_base)
    if odd:
        raise ClassificationError(
            "the base model holds no values (meta device), and these parameters are not initialised by torch's "
            "default, so how they scale with width cannot be known:\n"
            + "\n".join(odd)
            + "\nPass a base model with values, or use Plan.infer(build, ...)."
        )
    return measured
