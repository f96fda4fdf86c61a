"""The gradients of a model for blocks of examples and outputs, by layerwise rules, Jacobians or plain passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer.kernels.empirical.as_function import evaluate
from mutransfer.kernels.empirical.gradients import Gradients
from mutransfer.kernels.empirical.model_function import ModelFunction
from mutransfer.kernels.empirical.passes.jacobians import jacobian_rows
from mutransfer.kernels.empirical.passes.sides import Side
from mutransfer.kernels.empirical.passes.signals import RecordedPass, record_pass


@dataclass(frozen=True)
class Tangents:
    """The gradients of a model at its parameters, block by block; ``skipped`` have no layerwise form.

    ``one_by_one``: their Jacobians come from plain backward passes alone.
    """

    model: ModelFunction
    parameters: Mapping[str, Tensor]
    constants: tuple[Tensor, ...]
    skipped: tuple[str, ...]
    one_by_one: bool = False

    def run(self, side: Side, start: int, stop: int) -> RecordedPass:
        survey = side.survey
        if survey.whole is not None and (start, stop) == (0, side.batch.size):
            return survey.whole
        batch = side.batch.rows(start, stop)
        if not self.parameters.keys() - set(self.skipped):
            return RecordedPass(evaluate(self.model, self.parameters, batch), (), ())
        return record_pass(
            self.model,
            self.parameters,
            batch,
            self.constants,
            survey.ops,
            survey.layouts,
            survey.replicated,
            keep_slopes=side.heads.count > 1,
        )

    def gradients(
        self, side: Side, run: RecordedPass, start: int, stop: int, first: int, last: int
    ) -> dict[str, Gradients]:
        """Gradients of the heads ``first`` to ``last`` at the examples ``start`` to ``stop`` of ``run``."""

        def cotangent(o: int) -> Tensor:
            return side.heads.cotangent(first + o, start, stop, run.outputs)

        gradients = run.gradients(last - first, cotangent, self.skipped)
        if self.skipped:
            batch = side.batch.rows(start, stop)
            rows = jacobian_rows(
                self.model, self.parameters, [*self.skipped], batch, last - first, cotangent, self.one_by_one
            )
            gradients |= {name: Gradients([], tensor) for name, tensor in rows.items()}
        return gradients

    def pulled(self, side: Side, probes: list[tuple[list[int], Tensor]]) -> list[dict[str, Tensor]]:
        """J^T u over all parameters by plain backward passes, for every (examples, coefficients (examples, count))."""
        leaves = list(self.parameters.values())
        outputs: Tensor | None = side.survey.results
        products = []
        for at, coefficients in probes:
            if outputs is None or len(outputs) != len(at):  # the examples are the same for all
                outputs = evaluate(self.model, self.parameters, side.batch.at(at))
            cotangent = side.heads.combined(coefficients, at)
            gradients = (
                torch.autograd.grad(outputs, leaves, cotangent, retain_graph=True, allow_unused=True)
                if outputs.requires_grad
                else [None] * len(leaves)
            )
            pairs = zip(self.parameters.items(), gradients, strict=True)
            products.append({name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs})
        return products
