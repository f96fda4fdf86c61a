"""The kernel of every parameter from blocks of examples and outputs, within a memory budget, and a probe of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mutransfer.kernels.batches import Batch, blocks, evaluate
from mutransfer.kernels.contractions import cheaper, contract
from mutransfer.kernels.jacobians import jacobian_rows
from mutransfer.kernels.parts import Product
from mutransfer.kernels.signals import Forward, Gradients, forward
from mutransfer.kernels.survey import Survey

# Temporaries of a contraction: beyond this size they only leave the cache.
_WORKING_BYTES = 2**26
# Outputs to go back from at once where memory is short: fewer repeat what does not depend on the output too often.
_OUTPUTS_AT_ONCE = 8


@dataclass(frozen=True)
class Heads:
    """What is differentiated for each example: every output, or (``direction``: (N, O)) one combination of them."""

    width: int
    direction: Tensor | None

    @property
    def count(self) -> int:
        return self.width if self.direction is None else 1

    def cotangent(self, o: int, start: int, stop: int, like: Tensor) -> Tensor:
        """(stop - start, width): the gradient of head ``o`` with respect to the outputs."""
        if self.direction is not None:
            return self.direction[start:stop]
        found = like.new_zeros(stop - start, self.width)
        found[:, o] = 1
        return found

    def combined(self, coefficients: Tensor, start: int, stop: int) -> Tensor:
        """(stop - start, width) from coefficients (stop - start, count) of the heads."""
        return coefficients if self.direction is None else coefficients * self.direction[start:stop]


@dataclass(frozen=True)
class Side:
    """The examples of the kernel's rows or columns, and what was surveyed of them."""

    batch: Batch
    heads: Heads
    survey: Survey


@dataclass(frozen=True)
class Tangents:
    """The gradients of a model at its parameters, block by block; ``skipped`` have no layerwise form."""

    model: nn.Module
    parameters: Mapping[str, Tensor]
    constants: tuple[Tensor, ...]
    skipped: tuple[str, ...]

    def run(self, side: Side, start: int, stop: int) -> Forward:
        seen = side.survey
        return forward(
            self.model,
            self.parameters,
            side.batch.rows(start, stop),
            self.constants,
            seen.calls,
            seen.layouts,
            seen.replicated,
        )

    def gradients(self, side: Side, run: Forward, start: int, stop: int, first: int, last: int) -> dict[str, Gradients]:
        """Of the heads ``first`` to ``last`` at the examples ``start`` to ``stop``, which ``run`` went through."""

        def cotangent(o: int) -> Tensor:
            return side.heads.cotangent(first + o, start, stop, run.outputs)

        found = run.gradients(last - first, cotangent, self.skipped)
        if self.skipped:
            batch = side.batch.rows(start, stop)
            rows = jacobian_rows(self.model, self.parameters, [*self.skipped], batch, last - first, cotangent)
            found |= {name: Gradients([], tensor) for name, tensor in rows.items()}
        return found

    def pulled(self, side: Side, coefficients: Tensor, largest: int) -> dict[str, Tensor]:
        """J^T u over all parameters, by plain backward passes; ``coefficients`` (N, count) are u."""
        leaves = list(self.parameters.values())
        total = [torch.zeros_like(leaf) for leaf in leaves]
        for start, stop in blocks(side.batch.size, largest):
            outputs = evaluate(self.model, self.parameters, side.batch.rows(start, stop))
            if not outputs.requires_grad:
                continue
            cotangent = side.heads.combined(coefficients[start:stop], start, stop)
            found = torch.autograd.grad(outputs, leaves, cotangent, allow_unused=True)
            for sum_, gradient in zip(total, found, strict=True):
                if gradient is not None:
                    sum_ += gradient
        return dict(zip(self.parameters, total, strict=True))


@dataclass(frozen=True)
class Tiles:
    """How much is in memory at once: examples of a side, and heads (all of them where pairs of heads are asked for)."""

    examples: int
    heads: int

    @classmethod
    def fitting(cls, tangents: Tangents, sides: list[Side], full: bool, memory_bytes: int) -> Tiles:
        budget = memory_bytes / len(sides)
        size, count = max(side.batch.size for side in sides), sides[0].heads.count
        shared, per_head = (max(costs) for costs in zip(*(_bytes(tangents, side) for side in sides), strict=True))
        heads = count
        if not full and size * (shared + count * per_head) > budget:
            heads = int((budget / size - shared) / per_head) if per_head else count
            heads = min(count, max(heads, _OUTPUTS_AT_ONCE))
        return cls(max(1, min(size, int(budget / (shared + heads * per_head)))), heads)


def _bytes(tangents: Tangents, side: Side) -> tuple[float, float]:
    """Per example, and per example and head."""
    seen = side.survey
    shared = per_head = 0
    for call in seen.calls:
        shared += 2 * call.output.numel()
        for part in call.parts:
            if isinstance(part, Product):
                shared += part.data.numel()
                per_head += call.output.numel()
            if not isinstance(part, Product) or not part.source.is_parameter():
                per_head += seen.examples * part.source.root.numel()
    skipped = 3 * sum(tangents.parameters[name].numel() for name in tangents.skipped)
    itemsize = max(p.element_size() for p in tangents.parameters.values())
    return itemsize * (shared / seen.examples + 1), itemsize * (per_head / seen.examples + skipped + seen.outputs)


@dataclass(frozen=True)
class Probe:
    """Random vectors for u^T K v: (N, count) coefficients of the heads on each side.

    Summed over outputs, K is no kernel of a single function: ``heads`` (count,) then combines the heads of one tile
    into one, whose kernel is put together in the same way.
    """

    left: Tensor
    right: Tensor
    heads: Tensor

    @classmethod
    def drawn(cls, left: Side, right: Side, full: bool, tiles: Tiles, like: Tensor) -> Probe:
        generator = torch.Generator().manual_seed(0)

        def signs(*shape: int) -> Tensor:
            drawn = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0
            return drawn.to(like)

        count = left.heads.count
        heads = torch.zeros(count, dtype=like.dtype, device=like.device)
        chunks = blocks(count, tiles.heads)
        first, last = chunks[len(chunks) // 2]
        heads[first:last] = signs(last - first)
        if full:
            return cls(signs(left.batch.size, count), signs(right.batch.size, count), heads)
        return cls(signs(left.batch.size, 1) * heads, signs(right.batch.size, 1) * heads, heads)


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
    found = dict.fromkeys(tangents.parameters, 0.0)
    for i, rows_at in enumerate(blocks(left.batch.size, tiles.examples)):
        run = tangents.run(left, *rows_at)
        kept = tangents.gradients(left, run, *rows_at, *chunks[0]) if len(chunks) == 1 else None
        for j, columns_at in enumerate(blocks(columns.batch.size, tiles.examples)):
            if right is None and j < i:
                continue
            same = right is None and i == j
            other_run = run if same else tangents.run(columns, *columns_at)
            for first, last in chunks:
                a = kept or tangents.gradients(left, run, *rows_at, first, last)
                b = a if same else tangents.gradients(columns, other_run, *columns_at, first, last)
                for name in a.keys() & b.keys():
                    block, tested = _block(a[name], b[name], full, probe.heads[first:last], working)
                    rows, cols = slice(*rows_at), slice(*columns_at)
                    if same:
                        block = (block + (block.permute(1, 0, 3, 2) if full else block.mT)) / 2
                    add(name, rows, cols, block)
                    found[name] += _quadratic(probe, tested, rows, cols, full)
                    if right is None and not same:
                        turned = tested.permute(1, 0, 3, 2) if full else tested.mT
                        found[name] += _quadratic(probe, turned, cols, rows, full)
    return found


def _block(a: Gradients, b: Gradients, full: bool, heads: Tensor, working: int) -> tuple[Tensor, Tensor]:
    """A block of a parameter's kernel, and the one that is probed: of the combined heads unless pairs are kept."""
    form = None
    if a.rows is None and b.rows is None and a.factors and b.factors:
        form = cheaper(a.factors, b.factors, full=full, same=a is b)
    block = contract(a, b, full=full, form=form, limit_bytes=working)
    if full or len(heads) == 1:
        return block, block * (1 if full else heads[0] ** 2)
    if not bool(heads.any()):
        return block, torch.zeros_like(block)
    one = a.combined(heads)
    return block, contract(one, one if a is b else b.combined(heads), full=False, form=form, limit_bytes=working)


def _quadratic(probe: Probe, kernel: Tensor, rows: slice, columns: slice, full: bool) -> float:
    if full:
        return float(torch.einsum("no,nmop,mp->", probe.left[rows], kernel, probe.right[columns]))
    pick = int(probe.heads.ne(0).nonzero()[0])  # u is a sign per example times the heads
    return float(probe.left[rows, pick] @ kernel @ probe.right[columns, pick])
