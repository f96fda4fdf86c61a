"""One side of a kernel, its rows or its columns: which examples, and which outputs of them are differentiated."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mutransfer.kernels.empirical.as_function import ExampleBatch
from mutransfer.kernels.empirical.passes.survey import OperationSurvey


@dataclass(frozen=True)
class Heads:
    """The outputs differentiated for each example: all, or (``direction``: (N, O)) one combination of them."""

    width: int
    direction: Tensor | None

    @property
    def count(self) -> int:
        return self.width if self.direction is None else 1

    def cotangent(self, o: int, start: int, stop: int, like: Tensor) -> Tensor:
        """(stop - start, width): the gradient of head ``o`` with respect to the outputs."""
        if self.direction is not None:
            return self.direction[start:stop]
        rows = like.new_zeros(stop - start, self.width)
        rows[:, o] = 1
        return rows

    def combined(self, coefficients: Tensor, at: list[int]) -> Tensor:
        """(examples, width) from coefficients (examples, count) of the heads at the examples ``at``."""
        return coefficients if self.direction is None else coefficients * self.direction[at]


@dataclass(frozen=True)
class Side:
    """The examples of the kernel's rows or columns, and what was surveyed of them."""

    batch: ExampleBatch
    heads: Heads
    survey: OperationSurvey

    def keeping(self, examples: int) -> Side:
        """This side without the surveyed run of all examples, unless all are ``examples`` at once."""
        return self if examples >= self.batch.size else replace(self, survey=replace(self.survey, whole=None))
