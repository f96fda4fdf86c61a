"""Clipping by the plain norm, told from the gradients that reach an optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from weakref import ref

import torch

from mutransfer.parameterization.groups.tensor_access import may_read
from mutransfer.parameterization.plan import Plan
from mutransfer.widths import show_width

# By so much, relative, total norms of clipped gradients differ, and so many must be alike in a row. A factor of 16 bits
# is rounded, and the norm with it.
_SAME, _IN_A_ROW = 1e-5, 3
_SAME_16_BIT, _IN_A_ROW_16_BIT = 5e-3, 6
_OTHER = 1e-3  # relative, of one tensor's norm: by so much at least the gradients of two steps differ


class PlainClipping:
    """A watch for the same plain norm at a few steps in a row, of gradients that are not the same.

    Clipping comes before the optimizer's hook and leaves no other trace. A look is one pass over the gradients. Where
    they are sharded (norms of shards are no norms), sparse or of several kinds, nothing is looked at.
    """

    def __init__(self) -> None:
        self.sets: list[list[ref[torch.Tensor]]] = []
        self._norms: list[torch.Tensor] = []
        self._equal: list[int] = []

    def begin(self, candidates: Sequence[Iterable[torch.Tensor]]) -> None:
        """Look at this step and the next ones at each of the sets of parameters that may have been clipped as one."""
        self.sets = [[ref(p) for p in parameters] for parameters in candidates]
        self._norms, self._equal = [], [0] * len(self.sets)

    def seen(self) -> bool:
        """Whether one of the sets has had the same norm often enough; call at every step while there are sets."""
        norms = [_gradient_norms([p for r in parameters if (p := r()) is not None]) for parameters in self.sets]
        for i, (now, before) in enumerate(zip(norms, self._norms, strict=False)):
            self._equal[i] = self._equal[i] + 1 if _clipped(now, before) else -_IN_A_ROW_16_BIT
        self._norms = norms
        exact = all(n.dtype is torch.float64 for n in norms)
        found = max(self._equal, default=0) >= (_IN_A_ROW if exact else _IN_A_ROW_16_BIT) - 1
        if found or max(self._equal, default=-1) < 0 or not all(n.numel() for n in norms):
            self.sets = []
        return found


def of_plain_clipping(plan: Plan) -> str:
    """The warning, of a model under ``plan``."""
    return (
        "gradients had the same plain norm at several steps in a row: something clips them, as "
        "torch.nn.utils.clip_grad_norm_ does, by a norm that does not mean the same at width "
        f"{show_width(plan.width)} as at {show_width(plan.base_width)}. Use mutransfer.clip_grad_norm_(model, plan, "
        "max_norm), with the threshold of base width"
    )


def _gradient_norms(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """The norm of every gradient; empty where they cannot be read. In float32 if gradients have 16 bits."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    kinds = {(g.device, g.dtype, g.layout) for g in gradients}
    if len(kinds) != 1 or any(hasattr(g, "full_tensor") for g in gradients):
        return torch.empty(0)
    if gradients[0].layout is not torch.strided or not may_read(gradients[0]):
        return torch.empty(0)
    wide = torch.promote_types(gradients[0].dtype, torch.float32)
    norms = torch.stack(torch._foreach_norm(gradients, 2, dtype=wide)).to("cpu", torch.float64)
    return norms if wide is gradients[0].dtype else norms.to(torch.float32)  # of 16 bits


def _clipped(now: torch.Tensor, before: torch.Tensor) -> bool:
    if now.shape != before.shape or not now.numel() or not now.isfinite().all():
        return False
    same = _SAME if now.dtype is torch.float64 else _SAME_16_BIT
    total, earlier = float(now.norm()), float(before.norm())
    moved = float(((now - before).abs() / before.clamp(min=1e-30)).max())
    return math.isclose(total, earlier, rel_tol=same) and moved > _OTHER
