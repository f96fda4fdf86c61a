"""A watcher of one model from before its first step on: sizes, changes, single updates, gradients and logits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mutransfer.errors import MutransferError
from mutransfer.parameterization.measuring import updates
from mutransfer.parameterization.measuring.activations import evaluating, floats, root_mean_square
from mutransfer.parameterization.measuring.buffers import held_buffers
from mutransfer.parameterization.measuring.gradients import gradients_of, rounding_shares, trained
from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.random_state import preserved_random_state

log = logging.getLogger("mutransfer")

ModelLoss = Callable[[nn.Module], Tensor]  # a forward pass on inputs that stay the same, and its loss
Numbers = dict[str, float]


@dataclass(frozen=True)
class FirstSteps:
    """One seed's first steps, by step and then by quantity.

    Modules have a size, change and its two parts at every look, and at step 0 a spread and the size of their input;
    parameters have the rounding in their gradient at step 0, an update and a gradient at the first look; attention has
    logits, by path.
    """

    outputs: dict[str, Tensor]  # before the first step
    looks: dict[int, dict[Quantity, Numbers]] = field(default_factory=dict)


class Watcher:
    """Compares one model, which is handed in every time, with what it was when the watcher was made."""

    def __init__(
        self, model: nn.Module, loss: ModelLoss, *, attention: bool, only: Collection[str] | None = None
    ) -> None:
        """
        Args:
            attention: whether to measure the logits of attention too.
            only: paths of the modules to measure; None: all that have parameters of their own.
        """
        self.loss, self.attention = loss, attention
        self.start = updates.start(model, lambda: loss(model), inputs=True, only=only)
        self.steps_taken = FirstSteps(dict(self.start.outputs))

    def begin(self, model: nn.Module) -> None:
        """Measure before the first step."""
        with held_buffers(model, self.start.buffers):
            self.note(0, self.at_start(model) | {Quantity.ROUNDING: self._rounding(model)})

    def at_start(self, model: nn.Module) -> dict[Quantity, dict[str, Tensor]]:
        """Sizes of outputs and inputs, and logits, before the first step."""
        outputs = self.start.outputs
        return {
            Quantity.SIZE: {path: root_mean_square(x) for path, x in outputs.items()},
            Quantity.SPREAD: {
                path: root_mean_square(_without_bias(x, self.start.weights[path]))
                for path, x in outputs.items()
                if x.ndim > 1
            },
            Quantity.INPUT: dict(self.start.input_sizes),
        } | self._logits(model)

    def look(self, model: nn.Module, step: int, *, last: bool = False) -> None:
        """Measure with the buffers that there were before the first step: theory says how parameters move outputs.

        ``last``: logits of attention too.
        """
        with held_buffers(model, self.start.buffers):
            responses = updates.output_changes(model, self.start, lambda: self.loss(model))
            quantities = {
                quantity: {path: getattr(r, quantity) for path, r in responses.items()}
                for quantity in (Quantity.SIZE, Quantity.CHANGE, Quantity.EFFECTIVE, Quantity.PROPAGATED)
            }
            if len(self.steps_taken.looks) == 1:  # the first: only now is each update the doing of its parameter alone
                own_updates = updates.own_updates(model, self.start)
                quantities |= {Quantity.UPDATE: own_updates, Quantity.GRADIENT: self._gradients(model)}
            self.note(step, quantities | (self._logits(model) if last else {}))

    def note(self, step: int, quantities: dict[Quantity, dict[str, Tensor]]) -> None:
        """Keep the numbers of a look, all read in one wait for the device."""
        values = iter(floats([x for named in quantities.values() for x in named.values()]))
        self.steps_taken.looks[step] = {q: {n: next(values) for n in named} for q, named in quantities.items()}

    def _gradients(self, model: nn.Module) -> dict[str, Tensor]:
        try:
            with evaluating(model):
                gradients = gradients_of(self.loss(model), trained(model))
        except RuntimeError as error:  # code that trains may have no gradient in eval mode: recurrent layers of cuDNN
            log.info("gradients, and so eps, are not measured: %s", error)
            return {}
        return {n: root_mean_square(g) for n, g in gradients.items()}

    def _rounding(self, model: nn.Module) -> dict[str, Tensor]:
        """Shares in the mode in which the model is trained: a norm over the batch is one in train mode alone."""
        try:
            with preserved_random_state(), torch.enable_grad():
                loss = self.loss(model)
                return rounding_shares(loss, trained(model), gradients_of(loss, trained(model)))
        except RuntimeError as error:  # code that frees its graph itself
            log.info("rounding in gradients is not measured: %s", error)
            return {}

    def _logits(self, model: nn.Module) -> dict[Quantity, dict[str, Tensor]]:
        if not self.attention:
            return {}
        heads = attention_logits(model, self.loss)
        return {Quantity.LOGITS: {path: root_mean_square(logits) for path, (_, logits) in heads.items()}}


def attention_logits(model: nn.Module, run: Callable[[nn.Module], object]) -> dict[str, tuple[int, Tensor]]:
    """Head size and logits (after their scale) of every attention in ``run``; empty where it cannot be followed."""
    with evaluating(model):
        try:
            attention = trace(model, run).attention
        except MutransferError:
            return {}
    return {path: (a.head_size, a.logits) for path, a in attention.items() if a.logits.shape[-1] > 1}


def _without_bias(output: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """The output less its bias; where that is not known, less what is the same for all examples.

    ``own``: the module's parameters. Channels are in front of the dimensions that a kernel slides over.
    """
    bias = own.get("bias")
    if bias is not None and bias.ndim == 1:
        channels = output.ndim + 1 - max(2, *(p.ndim for p in own.values()))
        for dim in (channels, output.ndim - 1):
            if dim >= 0 and output.shape[dim] == len(bias):
                return output.float().movedim(dim, -1) - bias.float()
    rows = output.float().flatten(0, -2)
    return rows - rows.mean(dim=0)
