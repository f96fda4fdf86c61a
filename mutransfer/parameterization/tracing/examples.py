"""Running the user's model once at base and once at target width, on an example of theirs or one that fits."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import Any

import torch
from torch import nn

from mutransfer.errors import BuildError, ExampleError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.layouts import layout_of
from mutransfer.parameterization.tracing.logit_growth import gain_growth
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.parameterization.tracing.trace import Example, Operand, Product, Trace

LARGE = 50_000_000  # parameters above which a target is not run for its trace
NOT_SEEN = "Factors in its forward, and heads that grow, are not looked for"


@dataclass(frozen=True)
class Traces:
    """Traces at base and at target width, and the example on which they were made."""

    example: Example
    base: Trace
    target: Trace


def observe(builds: Builds, example: Example | None) -> Traces | None:
    """What forward passes show; None where no example is given and none can be made up.

    A target that is too large to be run here is extrapolated from a model of half or twice the base width.

    Raises ExampleError where a model does not run on the example that was given.
    """
    if example is not None:
        try:
            return _without_draws(builds, _traced(builds, example))
        except BuildError as error:
            raise ExampleError(str(error)) from error
    model = builds.skeleton(builds.base)
    if _size(model) > LARGE:
        return None
    own = own_example(model)
    for candidate in _guesses(model) if own is None else [own]:
        try:
            return _without_draws(builds, _traced(builds, candidate))
        except BuildError as error:
            if own is not None:
                warnings.warn(f"{error}. {NOT_SEEN}", stacklevel=2)
    if own is None:
        _tell_once(f"no inputs were found that {type(model).__name__} runs on: give example=. {NOT_SEEN}")
    return None


@cache
def _tell_once(text: str) -> None:
    logging.getLogger("mutransfer").warning(text)


def own_example(model: nn.Module) -> Example | None:
    """Inputs for a Hugging Face model, from its config; None for other models."""
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if config is None or main is None:
        return None
    if main == "pixel_values":
        size = getattr(config, "image_size", None)
        if size is None:
            return None
        sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
        return {"pixel_values": torch.zeros(1, getattr(config, "num_channels", 3), *sides)}
    if main == "input_ids":
        tokens = torch.tensor([[1, 2, 0, 3]])
        return {"input_ids": tokens} | (
            {"decoder_input_ids": tokens} if getattr(config, "is_encoder_decoder", False) else {}
        )
    return None


def _guesses(model: nn.Module) -> Iterator[Example]:
    """Inputs that fit the first layer. What the model does with any that it accepts is what it does."""
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        layout = layout_of(layer)
        if layout.input_count is not None:
            yield torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2]]) % layout.input_count(layer)
            return
        if shapes := layout.input_shapes(layer):
            dtype = next(layer.parameters()).dtype
            yield from (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
            return


def _traced(builds: Builds, example: Example) -> Traces:
    base, target = builds.base, builds.target
    first = trace(builds.fresh(base), example)
    if target == base:
        return Traces(example, first, first)
    if _size(builds.skeleton(target)) <= LARGE or not isinstance(base, int) or not isinstance(target, int):
        return Traces(example, first, trace(builds.fresh(target), example))
    for other in (base // 2, 2 * base):  # half, if it builds: models may be large at base already
        try:
            second = trace(builds.fresh(other), example)
        except BuildError:
            if other > base:
                raise
            continue
        return Traces(example, first, _extrapolated(first, second, math.log(target / base) / math.log(other / base)))
    raise AssertionError("not reached")


def _without_draws(builds: Builds, traces: Traces) -> Traces:
    """The traces without initial values that are drawn: their ratio from one width to another is chance."""
    pairs = list(zip(traces.base.products, traces.target.products, strict=False))
    if any(a.gains and a.size != b.size for a, b in pairs):
        other = trace(builds.fresh(builds.base, 1), traces.example).products
        for (a, b), again in zip(pairs, other, strict=False):
            same = [torch.equal(x, y) for x, y in zip(a.gains, again.gains, strict=False)]
            for product in (a, b):
                gains = [g if kept else torch.ones(()) for g, kept in zip(product.gains, same, strict=False)]
                product.gains, left = tuple(gains), iter(gains)
                product.sides = tuple(replace(x, gains=tuple(islice(left, len(x.gains)))) for x in product.sides)
    return traces


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _extrapolated(first: Trace, second: Trace, steps: float) -> Trace:
    """What grows by a factor from the first trace to the second, after ``steps`` such factors."""

    def along(a: float, b: float) -> float:
        return a * (b / a) ** steps if a and b else b

    def each(before: Sequence[Any], after: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(replace(b, factor=along(a.factor, b.factor)) for a, b in zip(before, after, strict=False))

    uses = {}
    for name, use in second.uses.items():
        at = first.uses.get(name, use)
        uses[name] = replace(
            use,
            factor=along(at.factor, use.factor),
            feeds=[
                replace(f, factor=along(a.factor, f.factor), sources=each(a.sources, f.sources))
                for a, f in zip(at.feeds, use.feeds, strict=False)
            ],
            outputs=list(each(at.outputs, use.outputs)),
            rows=list(each(at.rows, use.rows)),
        )
    attention = {}
    for path, found in second.attention.items():
        at = first.attention.get(path, found)
        size = round(along(at.head_size, found.head_size))
        shared_by, keys = along(at.shared_by, found.shared_by), round(along(at.keys, found.keys))
        scale = along(at.scale, found.scale)
        attention[path] = replace(found, head_size=size, scale=scale, shared_by=shared_by, keys=keys)
    products = [_extrapolated_product(a, b, along) for a, b in zip(first.products, second.products, strict=False)]
    return Trace(uses, attention, products=products)


def _extrapolated_product(a: Product, b: Product, along: Callable[[float, float], float]) -> Product:
    def gains(before: tuple[torch.Tensor, ...], after: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(x * along(1.0, gain_growth(x, y)) for x, y in zip(before, after, strict=False))

    sides = tuple(
        Operand(along(x.factor, y.factor), gains(x.gains, y.gains), along(x.length or 0.0, y.length or 0.0) or None)
        for x, y in zip(a.sides, b.sides, strict=True)
    )
    sized = replace(b, size=round(along(a.size, b.size)), sides=sides, gains=gains(a.gains, b.gains))
    return replace(sized, before=along(a.before, b.before), scale=along(a.scale, b.scale))
