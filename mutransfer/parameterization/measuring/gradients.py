"""Gradients, and those that are nothing but rounding: of a bias in front of a norm over the batch for one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mutransfer.parameterization.measuring.activations import root_mean_square

MOSTLY_ROUNDING = 0.1  # share beyond which a gradient says nothing; 1e-7 to 1e-6 are usual, 1e-2 in bfloat16


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def gradients_of(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of every parameter that the loss depends on; the graph is kept."""
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}


def rounding_shares(loss: Tensor, parameters: Mapping[str, Tensor], once: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of each gradient in ``once`` that is rounding, about 1 where all of it is; 0 where it is exactly zero.

    The gradient of three times the loss is three times the gradient, but for rounding, which falls otherwise.
    """
    leaves = [parameters[name] for name in once]
    thrice = torch.autograd.grad(loss, leaves, torch.full_like(loss, 3.0))
    shares = {}
    for (name, one), three in zip(once.items(), thrice, strict=True):
        size, odd = root_mean_square(one), root_mean_square(three / 3 - one)
        shares[name] = torch.where(size > 0, odd / size, (odd > 0).to(size))
    return shares
