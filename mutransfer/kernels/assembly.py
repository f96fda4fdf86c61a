"""The kernel of every parameter from blocks of examples and outputs, within a memory budget, and a probe of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mutransfer.kernels.batches import Batch, blocks, evaluate
from mutransfer.kernels.contractions import cheaper, contract
from mutransfer.kernels.factors import Gradients
from mutransfer.kernels.jacobians import jacobian_rows
from mutransfer.kernels.parts import Product
from mutransfer.kernels.signals import Forward, forward
from mutransfer.kernels.survey import Survey, some_examples

# Temporaries of a contraction: beyond this size they only leave the cache.
_WORKING_BYTES = 2**26
# Backward signals are used up a few outputs at a time, before they leave the cache.
_STREAM_BYTES = 2**22
# Examples that are probed at least, and one in 32 of more: the rules of a parameter are the same for all.
_PROBED = 2


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

    def combined(self, coefficients: Tensor, at: list[int]) -> Tensor:
        """(examples, width) from coefficients (examples, count) of the heads at the examples ``at``."""
        return coefficients if self.direction is None else coefficients * self.direction[at]


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
        seen, batch = side.survey, side.batch.rows(start, stop)
        if not self.parameters.keys() - set(self.skipped):
            return Forward(evaluate(self.model, self.parameters, batch), (), ())
        return forward(
            self.model,
            self.parameters,
            batch,
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

    def pulled(self, side: Side, probes: list[tuple[list[int], Tensor]]) -> list[dict[str, Tensor]]:
        """J^T u over all parameters by plain backward passes, for every (examples, coefficients (examples, count))."""
        leaves = list(self.parameters.values())
        outputs: Tensor | None = None
        found = []
        for at, coefficients in probes:
            if outputs is None:  # the examples are the same for all
                outputs = evaluate(self.model, self.parameters, side.batch.at(at))
            cotangent = side.heads.combined(coefficients, at)
            gradients = (
                torch.autograd.grad(outputs, leaves, cotangent, retain_graph=True, allow_unused=True)
                if outputs.requires_grad
                else [None] * len(leaves)
            )
            pairs = zip(self.parameters.items(), gradients, strict=True)
            found.append({name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs})
        return found


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
        if not full:
            least = min(count, 4 if _repeats_positions(sides, size) else 1)
            room = min(_STREAM_BYTES, budget - size * shared)
            heads = min(count, max(least, int(room / (size * per_head))))
        return cls(max(1, min(size, int(budget / (shared + heads * per_head)))), heads)


def _repeats_positions(sides: list[Side], size: int) -> bool:
    """Whether products between all positions of all examples would be formed again for other outputs."""
    for side in sides:
        for call, layout in zip(side.survey.calls, side.survey.layouts, strict=True):
            for part in call.parts:
                if isinstance(part, Product) and part.source.is_parameter():
                    signal = part.signal(call.output[None], layout, side.survey.examples)
                    shape = (size, *signal.shape[1:])
                    factors = part.factors(torch.empty(shape, device="meta"), layout, side.survey.examples)
                    if shape[1] > 1 and cheaper([factors], [factors], full=False, same=len(sides) == 1) == "gram":
                        return True
    return False


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
    """Random vectors for u^T K v that are not zero at some examples: coefficients (examples, count) of the heads.

    Summed over outputs, K is no kernel of a single function: ``heads`` (count,) then combines the heads of one tile
    into one, whose kernel is put together in the same way, and of which the coefficients are multiples.
    """

    left_at: list[int]
    right_at: list[int]
    left: Tensor
    right: Tensor
    heads: Tensor

    @classmethod
    def drawn(cls, left: Side, right: Side, full: bool, tiles: Tiles, like: Tensor) -> Probe:
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            # Not signs: (1, -1) over two examples sees nothing of a bias, whose gradient is the same for both.
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(like)

        count = left.heads.count
        heads = torch.zeros(count, dtype=like.dtype, device=like.device)
        chunks = blocks(count, tiles.heads)
        first, last = chunks[len(chunks) // 2]
        heads[first:last] = drawn(last - first)
        ats = [some_examples(side.batch.size, max(_PROBED, side.batch.size // 32)) for side in (left, right)]
        vectors = [drawn(len(at), count) if full else drawn(len(at), 1) * heads for at in ats]
        return cls(ats[0], ats[1], vectors[0], vectors[1], heads)

    def quadratic(self, kernel: Tensor, rows: tuple[int, int], columns: tuple[int, int], full: bool) -> Tensor | float:
        """The share of u^T K v that a block has."""
        ours = [(k, i - rows[0]) for k, i in enumerate(self.left_at) if rows[0] <= i < rows[1]]
        theirs = [(k, j - columns[0]) for k, j in enumerate(self.right_at) if columns[0] <= j < columns[1]]
        if not ours or not theirs:
            return 0.0
        u, v = self.left[[k for k, _ in ours]], self.right[[k for k, _ in theirs]]
        part = kernel[[i for _, i in ours]][:, [j for _, j in theirs]]
        if full:
            return torch.einsum("no,nmop,mp->", u, part, v)
        pick = int(self.heads.ne(0).nonzero()[0])
        return u[:, pick] @ part @ v[:, pick] / self.heads[pick] ** 2


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
    found: dict[str, Tensor | float] = dict.fromkeys(tangents.parameters, 0.0)
    for i, rows_at in enumerate(blocks(left.batch.size, tiles.examples)):
        run = tangents.run(left, *rows_at)
        kept = tangents.gradients(left, run, *rows_at, *chunks[0]) if len(chunks) == 1 else None
        for j, columns_at in enumerate(blocks(columns.batch.size, tiles.examples)):
            if right is None and j < i:
                continue
            same = right is None and i == j
            other_run = run if same else tangents.run(columns, *columns_at)
            known: dict[str, dict[int, Tensor]] = {}
            for first, last in chunks:
                a = kept or tangents.gradients(left, run, *rows_at, first, last)
                b = a if same else tangents.gradients(columns, other_run, *columns_at, first, last)
                for name in a.keys() & b.keys():
                    heads = probe.heads[first:last]
                    block, tested = _block(a[name], b[name], full, heads, working, known.setdefault(name, {}))
                    add(name, slice(*rows_at), slice(*columns_at), block)
                    if tested is not None:
                        found[name] += probe.quadratic(tested, rows_at, columns_at, full)
                        if right is None and not same:
                            turned = tested.permute(1, 0, 3, 2) if full else tested.mT
                            found[name] += probe.quadratic(turned, columns_at, rows_at, full)
    return {name: float(value) for name, value in found.items()}


def _block(
    a: Gradients, b: Gradients, full: bool, heads: Tensor, working: int, known: dict[int, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """A block of a parameter's kernel, and the one to probe, if any: of combined heads unless pairs are kept."""
    form = None
    if a.rows is None and b.rows is None and a.factors and b.factors:
        form = cheaper(a.factors, b.factors, full=full, same=a is b)
    block = contract(a, b, full=full, form=form, limit_bytes=working, known=known)
    if full:
        return block, block
    if not bool(heads.any()):
        return block, None
    if len(heads) == 1:
        return block, block * heads[0] ** 2
    one = a.combined(heads)
    other = one if a is b else b.combined(heads)
    return block, contract(one, other, full=False, form=form, limit_bytes=working, known=known)
