"""The builds from which an initialisation is measured: at which widths, and fresh ones under many seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from mutransfer.errors import BuildError
from mutransfer.parameterization.initialisation.drawn_sizes import Samples
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.layouts import bias_fan_ins
from mutransfer.parameterization.roles.classify_model import ModelSurvey
from mutransfer.widths import Width, scaled


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is kept of a build, so that no two models with values exist at once."""

    shapes: Mapping[str, tuple[int, ...]]
    fan_ins: Mapping[str, int]  # see bias_fan_ins

    def same_ranks(self, other: Sizes) -> bool:
        return {n: len(s) for n, s in self.shapes.items()} == {n: len(s) for n, s in other.shapes.items()}


def measuring_widths(builds: Builds, surveyed: ModelSurvey) -> tuple[list[Width], list[Sizes]]:
    """Base and wider builds (or narrower ones, where the base itself is large)."""
    base, target = builds.base, builds.target
    large = sum(prod(p.shapes[0]) for p in surveyed.parameters.values()) > 2_000_000
    factors = [(1, 4), (1, 2), (4, 1), (2, 1)] if large else [(4, 1), (3, 1), (2, 1)]
    first = _sizes(builds, base)
    for numerator, denominator in factors:
        widths = _varied(base, target, numerator, denominator)
        if not widths:
            continue
        try:
            sizes = [first, *(_sizes(builds, w) for w in widths)]
        except BuildError:
            continue  # our choice of width, not the user's
        if all(size.same_ranks(first) for size in sizes):
            return [base, *widths], sizes
    if base == target:  # nothing will be corrected
        return [base], [first]
    return [base, target], [first, _sizes(builds, target)]


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


def _sizes(builds: Builds, width: Width) -> Sizes:
    model = builds.fresh(width)
    return Sizes(shapes={n: tuple(p.shape) for n, p in model.named_parameters()}, fan_ins=bias_fan_ins(model))


def sample(builds: Builds, widths: Sequence[Width], seed: int, samples: Mapping[str, Samples]) -> None:
    """Add what one seed draws at every width."""
    for i, width in enumerate(widths):
        for name, tensor in builds.fresh(width, seed).named_parameters():
            samples[name].add(i, tensor)
