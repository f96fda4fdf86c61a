"""infinite_width against kernels computed by neural-tangents 0.6.6 (JAX 0.5.3, float64), stored in tests/data.

Off the diagonal neural-tangents agrees with independent recursions to 1e-12; on it, and for any exactly parallel pair,
its ReLU tangent kernel carries up to 1.2e-8. Hence 1e-10 and 1e-7.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer.kernels import Erf, Residual, infinite_width

STORED = np.load(Path(__file__).parents[1] / "data" / "infinite_width.npz")


def dense(depth, activation, *, width=32, norm=None, inputs=10):
    layers = []
    for i in range(depth):
        layers.append(nn.Linear(inputs if i == 0 else width, width))
        if norm:
            layers.append(norm(width))
        layers.append(activation())
    return nn.Sequential(*layers, nn.Linear(width, 1))


def convolutional(depth, *head, width=16):
    layers = []
    for i in range(depth):
        layers += [nn.Conv2d(1 if i == 0 else width, width, 3, padding="same"), nn.ReLU()]
    return nn.Sequential(*layers, *head)


def no_affine(width):
    return nn.LayerNorm(width, eps=1e-12, elementwise_affine=False)


SQRT2 = 2**0.5
ARCHITECTURES = {
    "fc_relu_d1_b0": (dense(1, nn.ReLU), {"bias_std": None}),
    "fc_relu_d2_b0.1": (dense(2, nn.ReLU), {"bias_std": 0.1}),
    "fc_relu_d3_b0.1": (dense(3, nn.ReLU), {"bias_std": 0.1}),
    "fc_gelu_d1": (dense(1, nn.GELU), {"bias_std": 0.1}),
    "fc_erf_d2": (dense(2, Erf), {"bias_std": 0.05, "weight_std": 1.5}),
    "fc_relu_d2_standard_w512_b0.1": (
        dense(2, nn.ReLU, width=512),
        {"bias_std": 0.1, "parameterization": "standard"},
    ),
    "cnn_relu_d2_same_flatten": (convolutional(2, nn.Flatten(), nn.Linear(16 * 64, 1)), {"bias_std": None}),
    "cnn_relu_d1_same_gap": (
        convolutional(1, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1)),
        {"bias_std": None},
    ),
    "resfc_relu_2blocks_b0.1": (
        nn.Sequential(
            nn.Linear(10, 32),
            Residual(nn.ReLU(), nn.Linear(32, 32)),
            Residual(nn.ReLU(), nn.Linear(32, 32)),
            nn.ReLU(),
            nn.Linear(32, 1),
        ),
        {"bias_std": 0.1},
    ),
    "ln_fc_relu_d2_b0.1": (dense(2, nn.ReLU, norm=no_affine), {"bias_std": 0.1}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_kernels_match_the_stored_ones(name):
    network, options = ARCHITECTURES[name]
    kind = "digits" if name.startswith("cnn") else "gauss"
    x1, x2 = torch.tensor(STORED[f"input/{kind}"]), torch.tensor(STORED[f"input/{kind}2"])
    if kind == "digits":
        x1, x2 = x1.permute(0, 3, 1, 2), x2.permute(0, 3, 1, 2)
    own, cross = infinite_width(network, x1, **options), infinite_width(network, x1, x2, **options)
    off = ~np.eye(len(x1), dtype=bool)
    for kernel in ("nngp", "ntk"):
        found, stored = getattr(own, kernel).numpy(), STORED[f"{name}/{kernel}"]
        np.testing.assert_allclose(found[off], stored[off], rtol=1e-10)
        np.testing.assert_allclose(found.diagonal(), stored.diagonal(), rtol=1e-7)
        np.testing.assert_allclose(getattr(cross, kernel), STORED[f"{name}/{kernel}_cross"], rtol=1e-10)
