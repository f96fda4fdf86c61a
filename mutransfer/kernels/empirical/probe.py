"""Random vectors that every kernel is checked with, against plain backward passes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer.kernels.empirical.as_function import blocks
from mutransfer.kernels.empirical.gradients import Gradients
from mutransfer.kernels.empirical.passes.sides import Side
from mutransfer.kernels.empirical.products.contract import contract
from mutransfer.kernels.empirical.products.costs import ProductForm


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
    def drawn(cls, left: Side, right: Side, full: bool, heads_at_once: int, like: Tensor) -> Probe:
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            # Not signs: (1, -1) over two examples sees nothing of a bias, whose gradient is the same for both.
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(like)

        count = left.heads.count
        heads = torch.zeros(count, dtype=like.dtype, device=like.device)
        chunks = blocks(count, heads_at_once)
        first, last = chunks[len(chunks) // 2]
        heads[first:last] = drawn(last - first)
        ats = [side.survey.probed for side in (left, right)]
        vectors = [drawn(len(at), count) if full else drawn(len(at), 1) * heads for at in ats]
        return cls(ats[0], ats[1], vectors[0], vectors[1], heads)

    def within(
        self, rows: tuple[int, int], columns: tuple[int, int], heads: tuple[int, int], *, full: bool, mirrored: bool
    ) -> Share | None:
        """The probed part of a block of the kernel; ``mirrored``: and of its transpose below the diagonal."""
        ours = [k for k, i in enumerate(self.left_at) if rows[0] <= i < rows[1]]
        theirs = [k for k, j in enumerate(self.right_at) if columns[0] <= j < columns[1]]
        combined = self.heads[slice(*heads)]
        if not ours or not theirs or not (full or bool(combined.any())):
            return None
        pairs = [(self.left[ours], self.right[theirs])]
        if mirrored:  # the same examples are probed on both sides
            pairs.append((self.right[ours], self.left[theirs]))
        if full:
            factors = [torch.einsum("no,mp->nmop", u, v) for u, v in pairs]
        else:
            pick = heads[0] + int(combined.ne(0).nonzero()[0])
            scale = self.heads[pick] ** 2 if len(combined) > 1 else 1.0
            factors = [torch.outer(u[:, pick], v[:, pick]) / scale for u, v in pairs]
        device = self.heads.device
        i, j = (
            torch.tensor([at[k] - start for k in picked], device=device)
            for at, picked, start in ((self.left_at, ours, rows[0]), (self.right_at, theirs, columns[0]))
        )
        return Share(i, j, sum(factors[1:], start=factors[0]), None if full or len(combined) == 1 else combined)


@dataclass(frozen=True)
class Share:
    """The probed examples of a block, factors on its entries, and the heads that are probed as one (None: apart)."""

    rows: Tensor
    columns: Tensor
    factors: Tensor  # (rows, columns), or (rows, columns, O, O)
    heads: Tensor | None

    def of(self, a: Gradients, b: Gradients, block: Tensor, form: ProductForm | None, limit_bytes: int) -> Tensor:
        """The share in u^T K v that ``block`` has, which was made of ``a`` and ``b``."""
        if self.heads is None:
            part = block[self.rows.unsqueeze(1), self.columns]
        else:
            one = a.combined(self.rows, self.heads)
            other = one if a is b and self.rows.equal(self.columns) else b.combined(self.columns, self.heads)
            part = contract(one, other, full=False, form=form, limit_bytes=limit_bytes, data_products={})
        return (part * self.factors).sum()
