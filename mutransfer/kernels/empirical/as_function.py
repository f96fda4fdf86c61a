"""A model as a function of examples: inputs of any structure, outputs as one row of numbers per example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from mutransfer.errors import DataError
from mutransfer.kernels.empirical.model_function import ModelFunction

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class ExampleBatch:
    """Arguments of a model whose tensors hold one example per entry of their first dimension."""

    leaves: tuple[Any, ...]
    spec: Any
    size: int

    @classmethod
    def of(cls, inputs: Inputs, name: str = "x1") -> ExampleBatch:
        """A tensor is the only argument, a tuple or list the positional ones, a mapping the ones by name.

        Raises DataError where there are no examples, or tensors disagree on how many there are.
        """
        if isinstance(inputs, Mapping):
            structure: Any = ((), dict(inputs))
        else:
            structure = (tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), {})
        leaves, spec = tree_flatten(structure)
        sizes = {leaf.shape[0] for leaf in leaves if _is_batched(leaf)}
        if len(sizes) != 1 or 0 in sizes:
            raise DataError(
                f"{name} must hold tensors with one example per entry of their first dimension, the same number in "
                f"all and at least one; found first dimensions {sorted(sizes)}"
            )
        return cls(tuple(leaves), spec, sizes.pop())

    def rows(self, start: int, stop: int) -> ExampleBatch:
        leaves = tuple(leaf[start:stop] if _is_batched(leaf) else leaf for leaf in self.leaves)
        return ExampleBatch(leaves, self.spec, stop - start)

    def at(self, indices: list[int]) -> ExampleBatch:
        leaves = tuple(leaf[indices] if _is_batched(leaf) else leaf for leaf in self.leaves)
        return ExampleBatch(leaves, self.spec, len(indices))

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tree_unflatten(list(self.leaves), self.spec)

    def batched(self) -> list[Tensor]:
        """The tensors that have one entry per example."""
        return [leaf for leaf in self.leaves if _is_batched(leaf)]

    def with_batched(self, tensors: list[Tensor]) -> ExampleBatch:
        """The same arguments with other tensors in place of :meth:`batched`."""
        fresh = iter(tensors)
        leaves = tuple(next(fresh) if _is_batched(leaf) else leaf for leaf in self.leaves)
        return ExampleBatch(leaves, self.spec, tensors[0].shape[0])


def _is_batched(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0


def evaluate(model: ModelFunction, weights: Mapping[str, Tensor], batch: ExampleBatch) -> Tensor:
    """Outputs (N, O) of ``model`` with ``weights`` in place of its own parameters and buffers of these names."""
    args, kwargs = batch.arguments()
    return flat(functional_call(model.module, model.state(weights), args, kwargs), batch.size)


def flat(output: Any, size: int) -> Tensor:
    """The output tensor, or the ``logits`` of a Hugging Face output, as (N, O)."""
    tensor = output
    if isinstance(output, Mapping) and "logits" in output:
        tensor = output["logits"]
    elif isinstance(output, tuple | list) and output:
        tensor = output[0]
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise DataError(
            "the model must return a real floating-point tensor, a tuple that starts with one, or a mapping with "
            f"'logits'; found {type(output).__name__}. Wrap it in a module that returns the outputs to differentiate"
        )
    if tensor.ndim == 0 or tensor.shape[0] != size:
        raise DataError(
            f"the model must return one entry per example, shape ({size}, ...); found {tuple(tensor.shape)}. "
            "A model that returns its loss or a mean has no kernel between examples"
        )
    return tensor.reshape(size, -1)


def blocks(size: int, largest: int) -> list[tuple[int, int]]:
    """``size`` split into the fewest ranges of at most ``largest``, their lengths as equal as possible.

    >>> blocks(7, 3)
    [(0, 3), (3, 5), (5, 7)]
    """
    count = -(-size // max(1, min(largest, size)))
    edges = [-(-size * i // count) for i in range(count + 1)]
    return list(pairwise(edges))
