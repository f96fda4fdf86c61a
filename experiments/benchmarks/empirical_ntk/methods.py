"""Three ways to the same tangent kernel: the Jacobian contraction of PyTorch's tutorial, ours, and NNGeometry's.

The tutorial is "Neural Tangent Kernels" in PyTorch's documentation: vmap(jacrev) of functional_call for either set of
examples, then one einsum per parameter. As it is written it forms both Jacobians, also where x2 is x1; "tutorial, once"
is spared the second there, which its readers would have to think of.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from mutransfer.kernels import empirical_ntk


def tutorial(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    return tutorial_once(model, x1, x1 if x2 is None else x2, outputs)


def tutorial_once(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def of_example(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, weights, (x.unsqueeze(0),)).squeeze(0)

    def jacobian(x: Tensor) -> list[Tensor]:
        return [j.flatten(2) for j in vmap(jacrev(of_example), (None, 0))(weights, x).values()]

    left = jacobian(x1)
    right = left if x2 is None else jacobian(x2)
    formula = {"trace": "naf,maf->nm", "full": "naf,mbf->nmab"}[outputs]
    return torch.stack([torch.einsum(formula, a, b) for a, b in zip(left, right, strict=True)]).sum(0)


def ours(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    return empirical_ntk(model, x1, x2, outputs=outputs)


def nngeometry(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    from nngeometry.backend import TorchHooksJacobianBackend
    from nngeometry.object.fspace import FMatDense
    from torch.utils.data import DataLoader, TensorDataset

    if x2 is not None:
        raise NotImplementedError("NNGeometry's Gram matrix is of one set of examples with itself")
    loader = DataLoader(TensorDataset(x1.clone()), batch_size=len(x1))
    kernel = FMatDense(TorchHooksJacobianBackend(model), examples=loader).to_torch().permute(1, 3, 0, 2)
    return kernel if outputs == "full" else torch.einsum("nmoo->nm", kernel)


METHODS: dict[str, Callable[[nn.Module, Tensor, Tensor | None, str], Tensor]] = {
    "tutorial": tutorial,
    "tutorial, once": tutorial_once,
    "ours": ours,
    "nngeometry": nngeometry,
}
