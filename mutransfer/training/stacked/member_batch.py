"""The batches of a population's members, of one seed or of several, ready to be mapped over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from mutransfer.errors import StackError


@dataclass(frozen=True)
class MemberBatch:
    """Leaves of one nesting of tensors; ``axes``: 0 where a leaf has the member axis first, None where all share it."""

    leaves: tuple[Any, ...]
    axes: tuple[int | None, ...]
    nesting: TreeSpec

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        return tree_unflatten(list(leaves), self.nesting)


def member_batch(of_streams: Sequence[Any], streams: Sequence[int]) -> MemberBatch:
    """One batch out of those of the distinct seeds; ``streams`` says which of them each member sees.

    Raises StackError where the batches differ in more than the values of their tensors.
    """
    flat = [tree_flatten(batch) for batch in of_streams]
    columns = list(zip(*(leaves for leaves, _ in flat), strict=False))
    if any(nesting != flat[0][1] for _, nesting in flat):
        raise StackError("the batches of two seeds are nested differently")
    used = sorted(set(streams))
    rows = [used.index(s) for s in streams]
    pairs = [_together([column[s] for s in used], rows) for column in columns]
    return MemberBatch(tuple(leaf for leaf, _ in pairs), tuple(axis for _, axis in pairs), flat[0][1])


def _together(values: list[Any], rows: list[int]) -> tuple[Any, int | None]:
    first = values[0]
    if len(values) == 1:
        return first, None
    if not isinstance(first, Tensor):
        if any(value != first for value in values):
            raise StackError(f"batches of two seeds differ in what is no tensor: {first!r} and {values[1]!r}")
        return first, None
    if any(value.shape != first.shape for value in values):
        shapes = ", ".join(str(tuple(value.shape)) for value in values)
        raise StackError(f"the batches of the seeds differ in shape ({shapes})")
    return torch.stack(values)[torch.tensor(rows, device=first.device)], 0
