"""How the model's own initialisation scales with width, measured from builds instead of assumed.

A wide model arrives already initialised by its own rule. The correction to a target rule is the target's
factor over the model's own, so the model's own must be known *exactly*: it is measured on small builds and
then snapped to a law with exact exponents (0, 1/2 or 1 of fan_in or fan_out, or Glorot's
1/sqrt(fan_in + fan_out)). A parameter that fits none is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import nn

from mutransfer.errors import BuildError, ClassificationError
from mutransfer.parameterization.axes import Parameter, Survey, bias_fan_ins
from mutransfer.parameterization.building import (
    Build,
    Width,
    build_at,
    growth,
    preserved_random_state,
    scaled,
    seed_everything,
    show_width,
)

MAX_BUILDS = 256
MAX_SECONDS = 5.0
DECISIVE = 16.0  # chi-square distance (4 standard deviations) at which one law is ruled out for another
HOPELESS = 30.0  # chi-square distance (5.5 of them: models have many parameters) at which no law is left
FLOOR = 0.001  # relative error granted to every measured size, however many samples
IMMATERIAL = 0.01  # relative difference of two laws at the target for which no more builds are spent
MANY = 1000  # elements per width that make a size certain to 9 percent (four standard deviations)
CHUNK = 2**16  # elements that are converted to double at a time


@dataclass(frozen=True)
class InitLaw:
    """The model's own std follows ``fan_in**-fan_in * fan_out**-fan_out``, or Glorot's law."""

    fan_in: float = 0.0
    fan_out: float = 0.0
    glorot: bool = False
    width: float = 0.0  # of a finite parameter, whose own shape says nothing: T5's position biases
    constant: bool = False  # the same values whatever the seed: zeros, ones, tables

    def __str__(self) -> str:
        if self.constant:
            return "constant"
        if self.glorot:
            return "(fan_in + fan_out)^-1/2"
        powers = {"fan_in": self.fan_in, "fan_out": self.fan_out, "width": self.width}
        if not any(powers.values()):
            return "width-independent"
        return " ".join(f"{side}^-{_fraction(x)}" for side, x in powers.items() if x)


CONSTANT = InitLaw(constant=True)
LAWS = (InitLaw(), InitLaw(0.5), InitLaw(1.0), InitLaw(0, 0.5), InitLaw(0, 1.0), InitLaw(glorot=True))
FINITE_LAWS = (InitLaw(), InitLaw(width=0.5), InitLaw(width=1.0))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The law of one parameter and its root-mean-square at base width (None: not measured)."""

    law: InitLaw
    base_rms: float | None


def law_factor(law: InitLaw, parameter: Parameter, which: int) -> float:
    """How the model's own std changes from ``parameter.shapes[0]`` to ``parameter.shapes[which]``."""
    if law.constant:
        return 1.0
    if law.glorot:
        return math.sqrt(_fan_sum(parameter.shapes[0]) / _fan_sum(parameter.shapes[which]))
    if law.width:
        return parameter.growth[which] ** -law.width
    m_in, m_out = parameter.multiplier("fan_in", which), parameter.multiplier("fan_out", which)
    if parameter.bias_fan_in is not None:
        m_in = parameter.bias_fan_in[which] / parameter.bias_fan_in[0]
    return float(m_in**-law.fan_in * m_out**-law.fan_out)


def measure(build: Build, survey: Survey) -> dict[str, Measured]:
    """The law of every parameter, from real builds at a few small widths under several seeds.

    Raises ClassificationError naming each parameter whose sizes fit no law, with what was measured.
    """
    widths, sizes = _measuring_widths(build, survey)
    # Roles come from the full survey; the shapes here are those of the few widths that are built for real.
    parameters = {
        name: replace(
            p,
            shapes=tuple(s.shapes[name] for s in sizes),
            growth=tuple(growth(widths[0], w) for w in widths),
            bias_fan_in=None if p.bias_fan_in is None else tuple(s.fan_ins[name] for s in sizes),
        )
        for name, p in survey.parameters.items()
    }
    local = replace(survey, widths=tuple(widths), parameters=parameters)
    samples = {name: _Samples(len(widths)) for name in parameters}
    started = time.monotonic()
    _sample(build, widths, 0, samples)
    once = deepcopy(samples)
    for seed in range(1, MAX_BUILDS):
        _sample(build, widths, seed, samples)
        if all(samples[n].settled(p, survey.parameters[n]) for n, p in parameters.items()):
            break
        if time.monotonic() - started > MAX_SECONDS:
            break
    if not any(sample.varies for sample in samples.values()):
        # The factory seeds itself, so that all its builds are one sample; or everything in it is constant.
        samples = once
    return _decided(samples, local)


def from_values(models: Sequence[nn.Module], survey: Survey) -> dict[str, Measured]:
    """The laws from one sample each of existing models.

    Where a model holds no values (meta device), the laws are taken to be torch's defaults, and so are the sizes: a
    model that does not have them when the plan is applied is refused.
    """
    values = [dict(model.named_parameters()) for model in models]
    real = [i for i, found in enumerate(values) if not any(p.is_meta for p in found.values())]
    if 0 in real and 1 in real:
        return _decided(_sampled_once(models, survey), survey)
    measured, odd = {}, []
    for name, parameter in survey.parameters.items():
        law = default_law(parameter)
        expected_at_base = _default_rms(parameter, 0)
        if real:  # one side has values: they must at least look like the default
            tensor = values[real[0]][name]
            expected = _default_rms(parameter, real[0])
            rms = math.sqrt(sums(tensor)[0] / tensor.numel())
            # Six standard deviations; 16/n where all n elements may be small by chance (probability e^-16).
            slack = max(6 / math.sqrt(2 * tensor.numel()), 16 / tensor.numel()) + 0.02
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


def default_law(parameter: Parameter) -> InitLaw:
    """The law of the torch module that owns ``parameter``: Linear and Conv 1/sqrt(fan_in), others none."""
    if parameter.bias_fan_in is not None:
        return InitLaw(0.5)
    if parameter.axes is None or not parameter.axes.fan_in:
        return InitLaw()
    # torch counts all dimensions but the first as fan_in, also where the first is the contracted one.
    return InitLaw(0, 0.5) if 0 in parameter.axes.fan_in else InitLaw(0.5)


@dataclass
class _Samples:
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

    def is_constant(self, parameter: Parameter) -> bool:
        """Zeros, ones, tables. From a single sample, a table passes for random, and only flat tensors are told."""
        if self.repeated:
            return not self.varies
        lone = parameter.bias_fan_in is not None and max(self.counts) == 1  # one random bias looks flat
        return self.flat and not (lone and any(self.squares))

    def rms(self, i: int) -> float:
        return math.sqrt(self.squares[i] / max(self.counts[i], 1))

    def variance(self, i: int) -> float:
        """Of the logarithm of ``rms(i)``, had the elements been normal: trigamma(n/2)/4, and what is granted."""
        n = self.counts[i]
        return 1 / (2 * n) + 1 / (2 * n**2) + FLOOR**2

    def looks_default(self, parameter: Parameter) -> bool:
        """Whether the sizes at all widths are those of torch's own init, as far as the samples can tell."""
        expected = [_default_rms(parameter, i) for i in range(self.n_widths)]
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
        if DECISIVE < best <= HOPELESS:
            return False
        target = law_factor(law, at_target, 1)
        return all(
            distance > best + DECISIVE or math.isclose(law_factor(other, at_target, 1), target, rel_tol=IMMATERIAL)
            for distance, other in distances
        )


def _sampled_once(models: Sequence[nn.Module], local: Survey) -> dict[str, _Samples]:
    samples = {name: _Samples(len(models)) for name in local.parameters}
    for i, model in enumerate(models):
        for name, tensor in model.named_parameters():
            samples[name].add(i, tensor)
    return samples


def _decided(samples: Mapping[str, _Samples], local: Survey) -> dict[str, Measured]:
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
            sizes = ", ".join(f"{sample.rms(i):.4g} at {show_width(w)}" for i, w in enumerate(local.widths))
            odd.append(f"  {name} {parameter.shapes[0]}: root-mean-square {sizes}")
            continue
        measured[name] = Measured(law=fits[0], base_rms=sample.rms(0))
    if odd:
        raise ClassificationError(
            "the initialisation of these parameters follows none of the known laws (independent of width, "
            "fan_in or fan_out to the power -1/2 or -1, Glorot's):\n"
            + "\n".join(odd)
            + "\nInitialise them by one of these laws in the factory, or use parameterization='as_is'."
        )
    return measured


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """What is kept of a build, so that no two models with values exist at once."""

    shapes: Mapping[str, tuple[int, ...]]
    fan_ins: Mapping[str, int]  # see bias_fan_ins

    def same_ranks(self, other: _Sizes) -> bool:
        return {n: len(s) for n, s in self.shapes.items()} == {n: len(s) for n, s in other.shapes.items()}


def _measuring_widths(build: Build, survey: Survey) -> tuple[list[Width], list[_Sizes]]:
    """Base and wider builds (or narrower ones, where the base itself is large)."""
    base, target = survey.widths[0], survey.widths[1]
    large = sum(prod(p.shapes[0]) for p in survey.parameters.values()) > 2_000_000
    factors = [(1, 4), (1, 2), (4, 1), (2, 1)] if large else [(4, 1), (3, 1), (2, 1)]
    first = _sizes(build, base)
    for numerator, denominator in factors:
        widths = _varied(base, target, numerator, denominator)
        if not widths:
            continue
        try:
            sizes = [first, *(_sizes(build, w) for w in widths)]
        except BuildError:
            continue  # our choice of width, not the user's
        if all(size.same_ranks(first) for size in sizes):
            return [base, *widths], sizes
    if base == target:  # nothing will be corrected
        return [base], [first]
    return [base, target], [first, _sizes(build, target)]


def _varied(base: Width, target: Width, numerator: int, denominator: int) -> list[Width]:
    together = scaled(base, numerator, denominator)
    if together is None:
        return []
    if not isinstance(base, Mapping) or not isinstance(target, Mapping) or not isinstance(together, Mapping):
        return [together]
    grows = [k for k in base if base[k] != target.get(k)] or list(base)
    widths: list[Width] = [{k: together[k] if k in grows else base[k] for k in base}]
    if len(grows) > 1:
        widths += [{k: together[k] if k == only else base[k] for k in base} for only in grows]
    return widths


def _sizes(build: Build, width: Width) -> _Sizes:
    model = _fresh(build, width, 0)
    return _Sizes(shapes={n: tuple(p.shape) for n, p in model.named_parameters()}, fan_ins=bias_fan_ins(model))


def _sample(build: Build, widths: Sequence[Width], seed: int, samples: Mapping[str, _Samples]) -> None:
    for i, width in enumerate(widths):
        for name, tensor in _fresh(build, width, seed).named_parameters():
            samples[name].add(i, tensor)


def _fresh(build: Build, width: Width, seed: int) -> nn.Module:
    with preserved_random_state():
        seed_everything(seed)
        return build_at(build, width)


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


def _fan_sum(shape: tuple[int, ...]) -> int:
    return (shape[0] + shape[1]) * prod(shape[2:])  # as torch.nn.init counts fan_in and fan_out of any tensor


def _default_rms(parameter: Parameter, which: int) -> float | None:
    """Root-mean-square under torch's own reset_parameters, where that is random."""
    if parameter.bias_fan_in is not None:
        return 1 / math.sqrt(3 * parameter.bias_fan_in[which])
    if parameter.axes is None:
        return None
    if not parameter.axes.fan_in:
        return 1.0  # nn.Embedding: N(0, 1)
    return 1 / math.sqrt(3 * prod(parameter.shapes[which][1:]))


def _fraction(x: float) -> str:
    return "1/2" if x == 0.5 else f"{x:g}"
