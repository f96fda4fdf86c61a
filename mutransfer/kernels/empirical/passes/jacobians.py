"""Gradients of parameters that no layerwise rule covers: torch.func where it can, example by example where not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import vjp, vmap

from mutransfer.kernels.empirical.as_function import ExampleBatch, evaluate
from mutransfer.kernels.empirical.model_function import ModelFunction


def jacobian_rows(
    model: ModelFunction,
    parameters: Mapping[str, Tensor],
    names: list[str],
    batch: ExampleBatch,
    count: int,
    cotangent: Callable[[int], Tensor],
    one_by_one: bool,
) -> dict[str, Tensor]:
    """{name: (N, count, size)}: gradients of the sums of ``cotangent(o) * outputs`` of every example.

    ``one_by_one``: by plain backward passes alone; the derivatives of some operations are wrong under torch.func.vmap.
    """
    cotangents = torch.stack([cotangent(o) for o in range(count)], dim=1)  # (N, count, O)
    if one_by_one:
        return _one_by_one(model, parameters, names, batch, cotangents)
    try:
        return _vectorised(model, parameters, names, batch, cotangents)
    except Exception:  # no batching rule, control flow, a shape that vmap hides: what is wrong itself fails below too
        return _one_by_one(model, parameters, names, batch, cotangents)


def _vectorised(
    model: ModelFunction, parameters: Mapping[str, Tensor], names: list[str], batch: ExampleBatch, cotangents: Tensor
) -> dict[str, Tensor]:
    fixed = {name: p.detach() for name, p in parameters.items()}
    chosen = {name: fixed[name] for name in names}

    def of_example(tensors: list[Tensor], cotangents: Tensor) -> dict[str, Tensor]:
        example = batch.with_batched([t.unsqueeze(0) for t in tensors])
        pull = vjp(lambda p: evaluate(model, {**fixed, **p}, example)[0], chosen)[1]
        return vmap(lambda c: pull(c)[0])(cotangents)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "there is a performance drop": a loop inside is still what we want
        gradients = vmap(of_example)(batch.batched(), cotangents)
    return {name: gradient.detach().flatten(2) for name, gradient in gradients.items()}


def _one_by_one(
    model: ModelFunction, parameters: Mapping[str, Tensor], names: list[str], batch: ExampleBatch, cotangents: Tensor
) -> dict[str, Tensor]:
    leaves = [parameters[name] for name in names]
    rows = [leaf.new_zeros(*cotangents.shape[:2], leaf.numel()) for leaf in leaves]
    for n in range(batch.size):
        outputs = evaluate(model, parameters, batch.rows(n, n + 1))[0]
        for o in range(cotangents.shape[1] if outputs.requires_grad else 0):
            gradients = torch.autograd.grad(outputs, leaves, cotangents[n, o], retain_graph=True, allow_unused=True)
            for row, gradient in zip(rows, gradients, strict=True):
                if gradient is not None:
                    row[n, o] = gradient.flatten()
    return dict(zip(names, rows, strict=True))
