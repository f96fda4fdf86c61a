"""Dropout in a population: every member draws the masks that it would draw alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DROPOUTS: tuple[Callable[..., Tensor], ...] = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)


class MemberDropout:
    """The random streams of the members, and dropout that draws from them under vmap.

    vmap itself offers masks that are all the same or that are all its own; a run alone draws from the global
    generator, whose state after building its model each member goes on from.
    """

    def __init__(self, states: Sequence[Tensor], streams: Sequence[int], device: torch.device) -> None:
        """``states``: of the global generator, one per stream; ``streams``: the stream of each member."""
        self._states, self._streams, self._device = list(states), list(streams), device
        self.drawn = 0  # masks so far

    @property
    def rows(self) -> Tensor:
        """One number per member, to be mapped over."""
        return torch.arange(len(self._streams), device=self._device)

    def keep(self, rows: Sequence[int]) -> None:
        self._streams = [self._streams[row] for row in rows]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put every stream back afterwards."""
        states = list(self._states)
        yield
        self._states[:] = states

    @contextmanager
    def member(self, row: Tensor) -> Iterator[None]:
        """Let torch's dropout functions draw the masks of one member; within vmap, where ``row`` is the member's."""
        with _Intercepted(self, row):
            yield

    def masks(self, function: Callable[..., Tensor], like: Tensor, p: float) -> Tensor:
        """Masks as ``function`` makes them of ones, drawn from each member's stream: (members, *like.shape)."""
        self.drawn += 1
        ones = torch.ones(like.shape, dtype=like.dtype, device=like.device)
        of_stream = {}
        for stream in dict.fromkeys(self._streams):  # members of one seed draw the same
            with _generator_at(self._states, stream, self._device):
                of_stream[stream] = function(ones, p, True)
        return torch.stack([of_stream[stream] for stream in self._streams])


class _Intercepted(TorchFunctionMode):
    def __init__(self, dropout: MemberDropout, row: Tensor) -> None:
        super().__init__()
        self.dropout, self.row = dropout, row

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _DROPOUTS:
            return func(*args, **kwargs)
        x, p, training, inplace = _arguments(*args, **kwargs)
        if not training or p == 0:
            return func(*args, **kwargs)
        mask = _Masks.apply(self.row, self.dropout, func, x.detach(), p)
        return x.mul_(mask) if inplace else x * mask


class _Masks(torch.autograd.Function):
    """Masks of one member; under vmap, of all of them."""

    @staticmethod
    def forward(row: Tensor, dropout: MemberDropout, function: Any, like: Tensor, p: float) -> Tensor:
        raise AssertionError("masks are drawn for all members at once")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        _, dropout, function, like, p = args
        axis = in_dims[3]
        return dropout.masks(function, like if axis is None else like.select(axis, 0), p), 0


def _arguments(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    return input, p, training, inplace


@contextmanager
def _generator_at(states: list[Tensor], stream: int, device: torch.device) -> Iterator[None]:
    """The global generator goes on from a stream's state, which moves on with it; afterwards it is as before."""
    before = rng_state(device)
    _set_rng_state(states[stream], device)
    try:
        yield
        states[stream] = rng_state(device)
    finally:
        _set_rng_state(before, device)


def rng_state(device: torch.device) -> Tensor:
    """The state of torch's global generator on ``device``."""
    return torch.get_rng_state() if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)


def _set_rng_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        torch.get_device_module(device).set_rng_state(state, device)
