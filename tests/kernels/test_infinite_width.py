"""infinite_width against the recursion written out by hand, on architectures beyond the stored ones."""

import importlib
import math

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer.kernels import Residual, Scale, infinite_width

from .recursion import Kernels, arc_cosine

W, B = 1.3, 0.2


def images(height=5, width=4, channels=2, count=3):
    x = np.random.default_rng(0).standard_normal((count, channels, height, width))
    x[0, :, :2, :2] = 0  # pixels of variance zero, unless a bias reaches them
    return x


def close(found, exact, rtol=1e-12):
    nngp, ntk = exact
    off = ~np.eye(len(nngp), dtype=bool)
    for a, b in ((found.nngp, nngp), (found.ntk, ntk)):
        np.testing.assert_allclose(a[off], b[off], rtol=rtol)
        np.testing.assert_allclose(a.diagonal(), b.diagonal(), rtol=1e-7)  # arccos in the hand-written one


CONVOLUTIONAL = {
    "circular, pooled": (
        [nn.Conv2d(2, 8, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()],
        lambda k: k.conv(3, padding=1, circular=True).relu().conv(3, padding=1).relu(),
        "pool",
    ),
    "stride and dilation, flattened": (
        [nn.Conv2d(2, 8, 2, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 2, padding=1, dilation=2), nn.ReLU()],
        lambda k: k.conv(2, stride=2, padding=1).relu().conv(2, padding=1, dilation=2).relu(),
        "flatten",
    ),
    "average pooling between, flattened": (
        [nn.Conv2d(2, 8, 3, padding="same"), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 1), nn.ReLU()],
        lambda k: k.conv(3, padding=1).relu().pool(2).conv(1).relu(),
        "flatten",
    ),
    "scaled residual blocks, pooled": (
        [
            nn.Conv2d(2, 8, 1),
            Residual(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), scale=0.5),
            Residual(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), Scale(-0.7)),
            nn.ReLU(),
        ],
        lambda k: (
            k.conv(1)
            .residual(lambda h: h.relu().conv(3, padding=1), 0.5)
            .residual(lambda h: h.relu().conv(3, padding=1), 0.7)
            .relu()
        ),
        "pool",
    ),
    "groups": (
        [nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 2, groups=2), nn.ReLU()],
        lambda k: k.conv(1).relu().conv(2).relu(),
        "pool",
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_kernels_are_those_of_the_recursion_by_hand(name):
    layers, by_hand, head = CONVOLUTIONAL[name]
    x = images()
    kernels = by_hand(Kernels(x, W, B))
    pixels = kernels.h * kernels.w
    if head == "pool":
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        kernels.global_pool()
    else:
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * pixels, 3))
        kernels.flatten()
    exact = kernels.layer().result()
    close(infinite_width(network, x, weight_std=W, bias_std=B), exact)
    cross = infinite_width(network, x[:2], x[1:], weight_std=W, bias_std=B)
    np.testing.assert_allclose(cross.ntk[0], exact[1][0, 1:], rtol=1e-12)


def test_blocks_of_pairs_make_no_difference(monkeypatch):
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    x = images(count=7)
    whole = infinite_width(network, x, bias_std=B)
    # The module, not the function of its name. Six pixels are left: blocks of 3 x 3 examples
    module = importlib.import_module("mutransfer.kernels.infinite.infinite_width")
    monkeypatch.setattr(module, "_BLOCK", 6**2 * 9)
    torch.testing.assert_close(infinite_width(network, x, bias_std=B).ntk, whole.ntk, rtol=1e-14, atol=0)


@pytest.mark.parametrize("depth", [1, 2, 5, 40])
def test_he_relu_on_the_diagonal_is_depth_plus_one_times_the_norm(depth):
    """Exactly: (L + 1) 2 |x|^2 / d without biases; also off the diagonal, for examples that are equal."""
    x = torch.randn(3, 7, dtype=torch.float64)
    layers = [m for _ in range(depth - 1) for m in (nn.Linear(9, 9), nn.ReLU())]
    network = nn.Sequential(nn.Linear(7, 9, bias=False), nn.ReLU(), *layers, nn.Linear(9, 1))
    exact = (depth + 1) * 2 * (x * x).sum(1) / 7
    torch.testing.assert_close(infinite_width(network, x).ntk.diagonal(), exact, rtol=1e-14, atol=0)
    torch.testing.assert_close(infinite_width(network, x, x.clone()).ntk.diagonal(), exact, rtol=1e-13, atol=0)
    torch.testing.assert_close(infinite_width(network, x, -x).nngp.diagonal() < exact, torch.ones(3, dtype=torch.bool))


def test_standard_parameterization_sums_layers_weighted_by_fan_in():
    """By hand for one hidden layer: input weights, input biases, readout weights, readout bias."""
    x = np.random.default_rng(1).standard_normal((4, 6))
    gram = x @ x.T / 6
    first = W**2 * gram + B**2
    relu = np.array([[arc_cosine(first[i, j], first[i, i], first[j, j]) for j in range(4)] for i in range(4)])
    value, slope = relu[..., 0], relu[..., 1]
    exact = W**2 * slope * (6 * gram + 1) + 50 * value + 1
    network = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 1))
    found = infinite_width(network, x, weight_std=W, bias_std=B, parameterization="standard")
    np.testing.assert_allclose(found.ntk, exact, rtol=1e-7)
    without = infinite_width(network, x, weight_std=W, bias_std=None, parameterization="standard")
    none = infinite_width(
        nn.Sequential(nn.Linear(6, 50, bias=False), nn.ReLU(), nn.Linear(50, 1, bias=False)),
        x,
        weight_std=W,
        bias_std=B,
        parameterization="standard",
    )
    torch.testing.assert_close(without.ntk, none.ntk, rtol=0, atol=0)
    # biases of size zero are still trained
    zero = infinite_width(network, x, weight_std=W, bias_std=0.0, parameterization="standard")
    assert (zero.ntk - without.ntk).min() > 1


def test_a_transition_to_positions_without_channels_last_is_a_convolution_of_size_one():
    """nn.Linear on (N, T, D) acts on each position, like Conv1d(kernel_size=1) on (N, D, T)."""
    x = np.random.default_rng(2).standard_normal((3, 4, 5))
    linear = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 1))
    conv = nn.Sequential(nn.Conv1d(5, 8, 1), nn.GroupNorm(1, 8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 1))
    one, other = infinite_width(linear, x, bias_std=B), infinite_width(conv, x.transpose(0, 2, 1), bias_std=B)
    assert one.nngp.shape == (3, 3)
    # GroupNorm normalises over positions too: equal only for inputs whose positions have one variance
    x = x / np.linalg.norm(x, axis=2, keepdims=True)
    one, other = infinite_width(linear, x, bias_std=B), infinite_width(conv, x.transpose(0, 2, 1), bias_std=B)
    torch.testing.assert_close(one.ntk, other.ntk, rtol=1e-12, atol=0)


def test_depth_sends_correlations_to_one():
    """Hayou et al. 2019: a ReLU network at weight_std^2 = 2 converges as 1 - c ~ 9 pi^2 / (2 L^2)."""
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    depth = 400
    layers = [m for _ in range(depth - 1) for m in (nn.Linear(2, 2), nn.ReLU())]
    nngp = infinite_width(nn.Sequential(*layers, nn.Linear(2, 1)), x).nngp
    assert (1 - nngp[0, 1] / nngp[0, 0]) * 2 * depth**2 / (9 * math.pi**2) == pytest.approx(1, abs=0.1)
