"""Sizes of drawn values, pooled over builds, and the law that they follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.initialisation.laws import (
    CONSTANT,
    FINITE_LAWS,
    LAWS,
    InitLaw,
    Measured,
    default_law,
    default_rms,
    law_factor,
)
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.parameterization.roles.parameter import Parameter
from mutransfer.widths import show_width

DECISIVE = 16.0  # chi-square distance (4 standard deviations) at which one law is ruled out for another
HOPELESS = 30.0  # chi-square distance (5.5 of them: models have many parameters) at which no law is left
FLOOR = 0.001  # relative error granted to every measured size, however many samples
IMMATERIAL = 0.01  # relative difference of two laws at the target for which no more builds are spent
MANY = 1000  # elements per width that make a size certain to 9 percent (four standard deviations)
ENOUGH = 20_000  # elements per width that make a size certain to half a percent (one standard deviation)
CHUNK = 2**16  # elements that are converted to double at a time


@dataclass
class Samples:
    """Pooled squares of one parameter at each measuring width."""

    n_widths: int
    squares: list[float] = field(init=False)
    counts: list[int] = field(init=False)
    first: list[tuple[float, float] | None] = field(init=False)
    varies: bool = False  # between seeds
    repeated: bool = False  # some width was built more than once
    flat: bool = True  # every element of a tensor is the same

    def __post_init__(self) -> None:
        self.squares, self.counts = [0.0] * self.n_widths, [0] * self.n_widths
        self.first = [None] * self.n_widths

    def add(self, i: int, tensor: torch.Tensor) -> None:
        square, total = sums(tensor)
        self.squares[i] += square
        self.counts[i] += tensor.numel()
        self.flat = self.flat and _is_flat(tensor)
        self.repeated = self.repeated or self.first[i] is not None
        self.first[i] = self.first[i] or (square, total)
        self.varies = self.varies or self.first[i] != (square, total)

    def of_width(self, i: int) -> Samples:
        """The samples of the width numbered ``i`` alone."""
        one = Samples(1)
        one.squares, one.counts, one.first = [self.squares[i]], [self.counts[i]], [self.first[i]]
        return one

    def is_constant(self, parameter: Parameter) -> bool:
        """Zeros, ones, tables. From a single sample, a table passes for random, and only flat tensors are told."""
        if self.repeated:
            return not self.varies
        lone = parameter.bias_fan_in is not None and max(self.counts) == 1  # one random bias looks flat
        return self.flat and not (lone and any(self.squares))

    def rms(self, i: int) -> float:
        return math.sqrt(self.squares[i] / max(self.counts[i], 1))

    def variance(self, i: int) -> float:
        """Variance of log ``rms(i)``, had the elements been normal: trigamma(n/2)/4, and what is granted."""
        n = self.counts[i]
        return 1 / (2 * n) + 1 / (2 * n**2) + FLOOR**2

    def looks_default(self, parameter: Parameter) -> bool:
        """Whether the sizes at all widths are those of torch's own init, as far as the samples can tell."""
        expected = [default_rms(parameter, i) for i in range(self.n_widths)]
        return all(
            size is not None and self.rms(i) > 0 and math.log(self.rms(i) / size) ** 2 <= DECISIVE * self.variance(i)
            for i, size in enumerate(expected)
        )

    def distances(self, parameter: Parameter) -> list[tuple[float, InitLaw]]:
        """Chi-square distance of each law, the owner's default first where laws tie."""
        finite = len(set(parameter.shapes)) == 1 and parameter.bias_fan_in is None
        known = all(map(math.isfinite, parameter.growth))
        laws = (FINITE_LAWS if known else FINITE_LAWS[:1]) if finite else LAWS
        ordered = sorted(laws, key=lambda law: law != default_law(parameter))
        logs = [math.log(self.rms(i)) if self.squares[i] > 0 else -math.inf for i in range(self.n_widths)]
        if not all(map(math.isfinite, logs)):
            return []
        variances = [self.variance(i) for i in range(self.n_widths)]
        result = []
        for law in ordered:
            if law.glorot and len(parameter.shapes[0]) < 2:
                continue
            off = [x - math.log(law_factor(law, parameter, i)) for i, x in enumerate(logs)]
            mean = sum(o / v for o, v in zip(off, variances, strict=True)) / sum(1 / v for v in variances)
            result.append((sum((o - mean) ** 2 / v for o, v in zip(off, variances, strict=True)), law))
        return result

    def settled(self, parameter: Parameter, at_target: Parameter) -> bool:
        """Whether more builds would not change the law's value at the target, ``at_target.shapes[1]``."""
        if not self.varies or min(self.counts) > 1 / FLOOR**2:
            return True
        if min(self.counts) > MANY and self.looks_default(parameter):
            return True  # sooner than slopes can tell Glorot's law from 1/sqrt(fan_in) on a narrow readout
        distances = self.distances(parameter)
        if not distances:
            return True
        best, law = min(distances, key=lambda pair: pair[0])
        if best > DECISIVE:  # not sure to follow a law; without one, the size itself is what must be known
            return best > HOPELESS and min(self.counts) > ENOUGH
        target = law_factor(law, at_target, 1)
        return all(
            distance > best + DECISIVE or math.isclose(law_factor(other, at_target, 1), target, rel_tol=IMMATERIAL)
            for distance, other in distances
        )


def sampled_once(models: Sequence[nn.Module], local: ModelSurvey) -> dict[str, Samples]:
    """One sample of each parameter from models that exist."""
    samples = {name: Samples(len(models)) for name in local.parameters}
    for i, model in enumerate(models):
        for name, tensor in model.named_parameters():
            samples[name].add(i, tensor)
    return samples


def decided(samples: Mapping[str, Samples], local: ModelSurvey) -> tuple[dict[str, Measured], list[str]]:
    """The law of every parameter whose sizes fit one, and the names of the others."""
    measured, odd = {}, []
    for name, sample in samples.items():
        parameter = local.parameters[name]
        if sample.is_constant(parameter):
            measured[name] = Measured(law=CONSTANT, base_rms=sample.rms(0))
            continue
        distances = sample.distances(parameter)
        # Torch's default where the sizes are its own and no law rules it out, else the first as good as the best.
        best = min((distance for distance, _ in distances), default=math.inf)
        room = {default_law(parameter): DECISIVE} if sample.looks_default(parameter) else {}
        fits = [law for distance, law in distances if distance <= min(best + room.get(law, 1.0), HOPELESS)]
        if not fits:
            odd.append(name)
            continue
        measured[name] = Measured(law=fits[0], base_rms=sample.rms(0))
    return measured, odd


def refuse_lawless(odd: Sequence[str], samples: Mapping[str, Samples], local: ModelSurvey) -> None:
    """Raise ClassificationError where there are ``odd`` parameters, with their sizes and what to do."""
    if not odd:
        return
    lines = []
    for name in odd:
        sizes = ", ".join(f"{samples[name].rms(i):.4g} at {show_width(w)}" for i, w in enumerate(local.widths))
        lines.append(f"  {name} {local.parameters[name].shapes[0]}: root-mean-square {sizes}")
    role = local.parameters[odd[0]].role
    raise ClassificationError(
        "the initialisation of these parameters follows none of the known laws (independent of width, "
        "fan_in or fan_out to the power -1/2 or -1, Glorot's), and the target is too large to be drawn and measured:\n"
        + "\n".join(lines)
        + f"\nSay what they are (overrides={{{odd[0]!r}: Role.{role.upper()}}}), and their sizes are taken to go on as "
        "they do from the base to the largest width that can be drawn; or initialise them by one of these laws, or "
        "use parameterization='as_is'."
    )


def chance_deviation(n: int) -> float:
    """The largest |log(rms / expected)| that is laid to chance: six standard deviations of ``n`` normal draws.

    Or 16/n, where all of few elements may be small by chance (probability e^-16).
    """
    return max(6 / math.sqrt(2 * n), 16 / n)


def sums(tensor: torch.Tensor) -> tuple[float, float]:
    """The sum of squares and the sum, as accurate as in double, without a copy in double of the whole."""
    square, total = 0.0, 0.0
    for chunk in tensor.detach().flatten().split(CHUNK):
        exact = chunk.double()
        square += float(exact @ exact)
        total += float(exact.sum())
    return square, total


def _is_flat(tensor: torch.Tensor) -> bool:
    flat = tensor.detach().flatten()
    return all(bool((chunk == flat[:1]).all()) for chunk in flat.split(CHUNK))  # random: the first chunk tells
