"""The kernel of every parameter from blocks of examples and outputs, within a memory budget, and a probe of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer.kernels.empirical.as_function import blocks
from mutransfer.kernels.empirical.gradients import Gradients
from mutransfer.kernels.empirical.passes.sides import Side
from mutransfer.kernels.empirical.passes.tangents import Tangents
from mutransfer.kernels.empirical.probe import Probe
from mutransfer.kernels.empirical.products.contract import contract
from mutransfer.kernels.empirical.products.costs import ProductForm, cheaper
from mutransfer.kernels.empirical.recording.parts import OuterProduct

# Temporaries of a contraction: beyond this size they only leave the cache.
_WORKING_BYTES = 2**26
# Backward signals are used up some outputs at a time: no faster with more.
_STREAM_BYTES = 2**25


@dataclass(frozen=True)
class Tiles:
    """The tile in memory at once: examples of a side, and heads (all of them where pairs of heads are asked for)."""

    examples: int
    heads: int

    @classmethod
    def fitting(cls, tangents: Tangents, sides: list[Side], full: bool, memory_bytes: int) -> Tiles:
        budget = memory_bytes / len(sides)
        size, count = max(side.batch.size for side in sides), sides[0].heads.count
        shared, per_head = (max(costs) for costs in zip(*(_bytes(tangents, side) for side in sides), strict=True))
        heads = count
        if not full:
            least = min(count, 4 if _repeats_positions(sides, size) else 1)
            room = min(_STREAM_BYTES, budget - size * shared)
            heads = min(count, max(least, int(room / (size * per_head))))
        return cls(max(1, min(size, int(budget / (shared + heads * per_head)))), heads)


def _repeats_positions(sides: list[Side], size: int) -> bool:
    """Whether products between all positions of all examples would be formed again for other outputs."""
    for side in sides:
        for op, layout in zip(side.survey.ops, side.survey.layouts, strict=True):
            for part in op.parts:
                if isinstance(part, OuterProduct) and part.source.is_parameter():
                    signal = part.signal(op.output[None], layout, side.survey.examples)
                    shape = (size, *signal.shape[1:])
                    factors = part.factors(torch.empty(shape, device="meta"), layout, side.survey.examples)
                    if shape[1] > 1 and cheaper([factors], [factors], full=False, same=len(sides) == 1) == "gram":
                        return True
    return False


def _bytes(tangents: Tangents, side: Side) -> tuple[float, float]:
    """Memory per example, and per example and head."""
    survey = side.survey
    shared = per_head = 0
    for op in survey.ops:
        shared += 2 * op.output.numel()
        for part in op.parts:
            if isinstance(part, OuterProduct):
                shared += part.data.numel()
                per_head += op.output.numel()
            if not isinstance(part, OuterProduct) or not part.source.is_parameter():
                per_head += survey.examples * part.source.root.numel()
    skipped = 3 * sum(tangents.parameters[name].numel() for name in tangents.skipped)
    itemsize = max(p.element_size() for p in tangents.parameters.values())
    return itemsize * (shared / survey.examples + 1), itemsize * (per_head / survey.examples + skipped + survey.outputs)


def assemble(
    tangents: Tangents,
    left: Side,
    right: Side | None,
    *,
    full: bool,
    tiles: Tiles,
    probe: Probe,
    limit_bytes: int,
    add: Callable[[str, slice, slice, Tensor], None],
) -> dict[str, float]:
    """Give ``add`` every block of every parameter's kernel (of blocks above the diagonal only the one, where ``right``
    is None); returns u^T K v of every parameter, as assembled."""
    columns = right or left
    working = min(limit_bytes // 4, _WORKING_BYTES)
    chunks = blocks(left.heads.count, tiles.heads)
    products: dict[str, Tensor | float] = dict.fromkeys(tangents.parameters, 0.0)
    for i, rows_at in enumerate(blocks(left.batch.size, tiles.examples)):
        run = tangents.run(left, *rows_at)
        all_heads = tangents.gradients(left, run, *rows_at, *chunks[0]) if len(chunks) == 1 else None
        for j, columns_at in enumerate(blocks(columns.batch.size, tiles.examples)):
            if right is None and j < i:
                continue
            same = right is None and i == j
            other_run = run if same else tangents.run(columns, *columns_at)
            data_products: dict[str, dict[int, Tensor]] = {}
            for first, last in chunks:
                a = all_heads or tangents.gradients(left, run, *rows_at, first, last)
                b = a if same else tangents.gradients(columns, other_run, *columns_at, first, last)
                mirrored = right is None and not same
                share = probe.within(rows_at, columns_at, (first, last), full=full, mirrored=mirrored)
                for name in [name for name in a if name in b]:  # in order: rounding is the same in every process
                    form = _form(a[name], b[name], full, a is b)
                    block = contract(
                        a[name],
                        b[name],
                        full=full,
                        form=form,
                        limit_bytes=working,
                        data_products=data_products.setdefault(name, {}),
                    )
                    add(name, slice(*rows_at), slice(*columns_at), block)
                    if share is not None:
                        products[name] += share.of(a[name], b[name], block, form, working)
    return {name: float(value) for name, value in products.items()}


def _form(a: Gradients, b: Gradients, full: bool, same: bool) -> ProductForm | None:
    if a.rows is None and b.rows is None and a.factors and b.factors:
        return cheaper(a.factors, b.factors, full=full, same=same)
    return None
