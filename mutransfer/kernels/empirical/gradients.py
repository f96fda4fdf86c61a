"""Gradients of one parameter for many examples and outputs, as sums of outer products and as rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class OuterFactors:
    """Gradients of a matrix as sums of outer products over positions; see ``recording.parts.OuterProduct``.

    ``signal``: (N, T, O, features). ``data``: (N, T, D), or (N, T) of whole numbers.
    """

    signal: Tensor
    data: Tensor
    signal_first: bool
    rows: tuple[int, int]
    groups: int
    shape: tuple[int, int]  # of the parameter: rows, and everything else

    @property
    def one_hot(self) -> bool:
        return not self.data.is_floating_point()


@dataclass
class Gradients:
    """The gradient of one parameter for every example and output: a sum of products and of rows (N, O, size)."""

    factors: list[OuterFactors] = field(default_factory=list)
    rows: Tensor | None = None

    def add_rows(self, rows: Tensor) -> None:
        self.rows = rows if self.rows is None else self.rows + rows

    def combined(self, examples: Tensor, weights: Tensor) -> Gradients:
        """The gradients of one output at some examples: the sum of all outputs with ``weights`` (O,)."""
        factors = [
            replace(f, signal=(f.signal[examples].mT @ weights).unsqueeze(2), data=f.data[examples])
            for f in self.factors
        ]
        rows = None if self.rows is None else (weights @ self.rows[examples]).unsqueeze(1)
        return Gradients(factors, rows)
