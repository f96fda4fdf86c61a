"""K copies of a model as one: state with a leading member axis, losses and gradients of all members at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from mutransfer.errors import StackError
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.training.out_of_memory import is_out_of_memory
from mutransfer.training.stacked.dropout import MemberDropout
from mutransfer.training.stacked.member_batch import MemberBatch
from mutransfer.training.task import Task

State = dict[str, Tensor]


class Stack:
    """Members of one architecture; every tensor of their state has the member axis first.

    Members do not see each other: a loss that is not finite stays in its row.
    """

    def __init__(self, models: Sequence[nn.Module], streams: Sequence[int], task: Task, dropout: MemberDropout) -> None:
        """``models``: one per seed, all alike; ``streams``: which of them each member starts as.

        The first model serves as the skeleton that the state of every member is put into.
        """
        self.task, self.dropout, self.skeleton = task, dropout, models[0]
        self.device = next((p.device for p in self.skeleton.parameters()), torch.device("cpu"))
        trained: list[State] = [{n: p for n, p in m.named_parameters() if p.requires_grad} for m in models]
        if not trained[0]:
            raise StackError("the model has no parameter to train")
        others = [
            {n: p for n, p in m.named_parameters() if not p.requires_grad} | dict(m.named_buffers()) for m in models
        ]
        self.parameters, self.others = _stacked(trained, streams), _stacked(others, streams)
        self._loss_of = _LossOf(self.skeleton, task)

    def keep(self, rows: Tensor) -> None:
        """Drop all members but those at ``rows``."""
        index = rows.to(self.device)
        self.parameters = {n: p[index] for n, p in self.parameters.items()}
        self.others = {n: b[index] for n, b in self.others.items()}
        self.dropout.keep(rows.tolist())

    def multiply(self, factors: Mapping[str, np.ndarray]) -> None:
        """Multiply the values of parameters, trained or not, by a factor per member."""
        for name, column in factors.items():
            for state in (self.parameters, self.others):
                if name in state:
                    x = state[name]
                    x.mul_(torch.from_numpy(column).to(x).view(-1, *[1] * (x.ndim - 1)))

    def member(self, row: int) -> nn.Module:
        """The skeleton with the state of one member, sharing its memory. The next call puts in another."""
        named = dict(self.skeleton.named_parameters()) | dict(self.skeleton.named_buffers())
        for name, tensor in {**self.parameters, **self.others}.items():
            named[name].data = tensor[row]
        return self.skeleton

    @torch.no_grad()
    def losses(self, batch: MemberBatch) -> Tensor:
        """Losses of all members (members,) in eval mode."""
        with evaluating(self.skeleton):
            return self._mapped(self.parameters, batch)

    def gradients(self, batch: MemberBatch, precision: AbstractContextManager[Any]) -> tuple[Tensor, State]:
        """Losses (members,) and the gradient of each member's own loss; parameters without one are left out."""
        leaves = {n: p.detach().requires_grad_() for n, p in self.parameters.items()}
        with precision:
            losses = self._mapped(leaves, batch)
        # Members are independent: row k of the gradient of the sum is that of loss k.
        found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        return losses.detach(), {n: g for n, g in zip(leaves, found, strict=True) if g is not None}

    def traceable_gradients(self, like: MemberBatch) -> Callable[..., tuple[Tensor, State]]:
        """(parameters, others, leaves of a batch) -> the same, for a compiler to follow; without dropout."""

        def one(parameters: State, others: State, *leaves: Any) -> Tensor:
            return functional_call(self._loss_of, _within(parameters, others), (like.unflatten(leaves),))

        mapped = vmap(grad_and_value(one), in_dims=(0, 0, *like.axes))

        def gradients(parameters: State, others: State, leaves: Sequence[Any]) -> tuple[Tensor, State]:
            found, losses = mapped(parameters, others, *leaves)
            return losses, found

        return gradients

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put buffers and random streams back afterwards: for a pass that is no part of training."""
        buffers = {n: b.clone() for n, b in self.others.items()}
        with self.dropout.unchanged():
            yield
        self.others = buffers

    @contextmanager
    def attention(self) -> Iterator[None]:
        """Fused attention on CPUs has no rule for a member axis: it would run one member after the other."""
        with sdpa_kernel([SDPBackend.MATH]) if self.device.type == "cpu" else nullcontext():
            yield

    def _mapped(self, parameters: State, batch: MemberBatch) -> Tensor:
        def one(parameters: State, others: State, row: Tensor, *leaves: Any) -> Tensor:
            with self.dropout.member(row):
                return functional_call(self._loss_of, _within(parameters, others), (batch.unflatten(leaves),))

        try:
            with self.attention():
                return vmap(one, in_dims=(0, 0, 0, *batch.axes))(
                    parameters, self.others, self.dropout.rows, *batch.leaves
                )
        except Exception as error:  # the user's own mistakes too: a run alone will say it in their words
            if is_out_of_memory(error):
                raise
            raise StackError(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}") from error


class _LossOf(nn.Module):
    """The task's loss as a module around the model, so that the loss sees the model with the state put into it."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Any) -> Tensor:
        return self.task.loss(self.model, batch)


def _stacked(states: Sequence[State], streams: Sequence[int]) -> State:
    return {n: torch.stack([states[s][n].detach() for s in streams]) for n in states[0]}


def _within(parameters: State, others: State) -> State:
    return {f"model.{n}": t for n, t in {**parameters, **others}.items()}
