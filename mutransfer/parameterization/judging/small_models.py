"""Small models to measure a plan on: the widths to build, the plan at them, and the modules to look at."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import nn

from mutransfer.errors import BuildError
from mutransfer.parameterization.measuring.own_parameters import own_parameters
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.scaling import Scaling
from mutransfer.widths import Width, width_size

LEAST = 32  # below, corrections that vanish with width are as large as what a wrong factor does
DOUBLINGS = (0, 1, -1, 2, -2, 3, -3, 4, 5)  # of the base, for the smallest of the widths
KEPT = 2  # of equal layers, from either end


def small_widths(builds: Builds, elements: int) -> list[Width]:
    """Three widths, each twice the one before, or two where three do not build, or hold more than ``elements`` entries.

    As near above the base as can be; empty where not even two can be built.
    """
    sizes: dict[int, int | None] = {}

    def entries(doublings: int) -> int | None:
        if doublings not in sizes:
            sizes[doublings] = _entries(builds, _doubled(builds, doublings))
        return sizes[doublings]

    for count, step in ((3, 1), (3, 2), (2, 1), (2, 2)):  # heads may be as many as the root of the width
        for least in DOUBLINGS:
            chosen = range(least, least + count * step, step)
            first = _doubled(builds, least)
            if first is None or (least < 0 and width_size(first) < LEAST) or not _large_enough(builds, least):
                continue
            found = [entries(d) for d in chosen]
            if None not in found and sum(n for n in found if n) <= elements:
                return [width for d in chosen if (width := _doubled(builds, d)) is not None]
    return []


def at_width(plan: Plan, builds: Builds, width: Width) -> Plan:
    """``plan`` with the factors that it would have at another width, if each goes like a power of the width."""
    shapes = [{n: tuple(p.shape) for n, p in builds.skeleton(w).named_parameters()} for w in (builds.base, width)]
    along = _steps(width_size(builds.base), width_size(width), width_size(builds.target))
    scalings: dict[str, Scaling] = {}
    for name, s in plan.items():
        own = _steps(*(math.prod(shape) for shape in (shapes[0][name], shapes[1][name], plan.shapes[name])))
        t = along if math.isnan(own) else own
        scalings[name] = replace(
            s,
            m_in=s.m_in**t,
            m_out=s.m_out**t,
            own_mult=s.own_mult**t,
            init_mult=s.init_mult**t,
            forward_mult=s.forward_mult**t,
            lr_mult=s.lr_mult**t,
            wd_mult=s.wd_mult**t if s.wd_mult else 0.0,  # some policies spare weights
            eps_mult=s.eps_mult**t,
        )
    sites = {path: replace(site, factor=site.factor**along) for path, site in plan.sites.items()}
    return replace(plan, width=width, scalings=scalings, sites=sites, shapes=shapes[1], fresh_rms={})


def some_of_equal(model: nn.Module) -> set[str]:
    """Paths of the modules with parameters of their own, of equal layers a few; the model itself is "model"."""
    alike: dict[object, list[str]] = {}
    for path, module in model.named_modules():
        own = own_parameters(module)
        if own:
            key = (re.sub(r"\d+", "#", path), type(module), *((n, tuple(p.shape)) for n, p in own.items()))
            alike.setdefault(key, []).append(path or "model")
    return {path for paths in alike.values() for path in (*paths[:KEPT], *paths[-KEPT:])}


def _steps(base: float, width: float, target: float) -> float:
    """How often the growth from base to target fits into that from base to width; nan where nothing grows."""
    return math.nan if target == base else math.log(width / base) / math.log(target / base)


def _doubled(builds: Builds, doublings: int) -> Width | None:
    """The width on the way from base to target (or before it) that has doubled so often; None where it is no whole."""
    base, target = builds.base, builds.target
    if isinstance(base, int) and isinstance(target, int):
        width = base * 2.0**doublings
        return int(width) if width == int(width) else None
    assert isinstance(base, Mapping)
    assert isinstance(target, Mapping)
    grown = {k: math.log2(target[k] / base[k]) for k in base}
    most = max(grown.values(), key=abs)
    exact = {k: base[k] * 2 ** (doublings * g / most) for k, g in grown.items()}
    rounded = {k: round(x) for k, x in exact.items()}
    return rounded if all(x >= 1 and math.isclose(x, exact[k], rel_tol=1e-9) for k, x in rounded.items()) else None


def _large_enough(builds: Builds, least: int) -> bool:
    """Whether the smallest width is not below what says something, or else as large as three doublings make it."""
    size = _doubled(builds, least)
    return size is None or least >= 3 or max(_values(size)) >= LEAST


def _values(width: Width) -> Iterator[int]:
    yield from (width.values() if isinstance(width, Mapping) else [width])


def _entries(builds: Builds, width: Width | None) -> int | None:
    if width is None:
        return None
    try:
        return sum(p.numel() for p in builds.skeleton(width).parameters())
    except BuildError:  # our choice of a width, not the user's
        return None
