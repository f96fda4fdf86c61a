"""infinite_width against finite networks: means over initialisations, extrapolated in 1 / width from two widths."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer.errors import KernelError
from mutransfer.kernels import Residual, infinite_width, monte_carlo

W, B, SAMPLES = 1.4, 0.3, 150
WIDTHS = (32, 64)


def dense(n, *layers):
    return nn.Sequential(nn.Linear(5, n), *layers, nn.Linear(n, 1))


def no_affine(n):
    return nn.LayerNorm(n, elementwise_affine=False)


def overlapping(n, **options):
    pool = nn.AvgPool2d(2, stride=1, padding=1, **options)
    return [nn.ReLU(), nn.Conv2d(n, n, 2, padding="same"), nn.ReLU(), pool, nn.Flatten(), nn.Linear(n * 16, 1)]


def bordered(n, **options):
    conv = nn.Conv2d(n, n, 3, padding=1, **options)
    return [nn.ReLU(), conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 1)]


# Per case: the network at width n, and one that differs in the point at issue: its kernels must not pass.
DENSE = {
    "norm with gain and bias": (
        lambda n: dense(n, nn.LayerNorm(n), nn.Tanh()),
        lambda n: dense(n, no_affine(n), nn.Tanh()),
    ),
    "norm behind an activation is centred by its mean": (
        lambda n: dense(n, nn.ReLU(), no_affine(n), nn.Linear(n, n), nn.ReLU()),
        lambda n: dense(n, nn.ReLU(), nn.RMSNorm(n, elementwise_affine=False), nn.Linear(n, n), nn.ReLU()),
    ),
    "sum of two activations: their means correlate": (
        lambda n: dense(n, nn.ReLU(), Residual(nn.Linear(n, n), nn.ReLU())),
        lambda n: dense(n, nn.ReLU(), Residual(nn.Linear(n, n), nn.ReLU(), scale=-1.0)),
    ),
    "projected shortcut, scaled branch": (
        lambda n: dense(n, Residual(nn.GELU(), nn.Linear(n, n), scale=0.5, shortcut=nn.Linear(n, n)), nn.ELU()),
        lambda n: dense(n, Residual(nn.GELU(), nn.Linear(n, n), scale=0.5), nn.ELU()),
    ),
    "integrated functions": (
        lambda n: dense(n, nn.SiLU(), nn.Linear(n, n), nn.Hardtanh()),
        lambda n: dense(n, nn.SiLU(), nn.Linear(n, n), nn.Hardtanh(-1.5, 1.5)),
    ),
}
IMAGES = {
    "layer norm over channels and positions": (
        lambda n: [nn.LayerNorm((n, 3, 3)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 1)],
        lambda n: [nn.GroupNorm(1, n), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, 1)],
    ),
    "even kernel with padding same, overlapping pooling": (
        lambda n: overlapping(n),
        lambda n: overlapping(n, count_include_pad=False),
    ),
    "reflected borders, groups": (
        lambda n: bordered(n, padding_mode="reflect", groups=2),
        lambda n: bordered(n),
    ),
}


def deviations(build, x, exact):
    """(estimate - exact) / standard error of every entry. The extrapolation 2 K(2n) - K(n) leaves a bias of 1 / n^2."""
    small, large = (monte_carlo(build(n), x, weight_std=W, bias_std=B, samples=SAMPLES, seed=n) for n in WIDTHS)
    found = []
    for name in ("nngp", "ntk"):
        estimate = 2 * getattr(large, name) - getattr(small, name)
        error = torch.sqrt(4 * getattr(large, f"{name}_error") ** 2 + getattr(small, f"{name}_error") ** 2)
        found.append((estimate - getattr(exact, name)) / error)
    return torch.stack(found)


@pytest.mark.parametrize("name", DENSE)
def test_finite_dense_networks_tend_to_the_closed_form(name):
    build, wrong = DENSE[name]
    x = torch.from_numpy(np.random.default_rng(3).standard_normal((3, 5)))
    check(build, wrong, x)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", IMAGES)
def test_finite_networks_on_images_tend_to_the_closed_form(name):
    build, wrong = IMAGES[name]
    x = torch.from_numpy(np.random.default_rng(4).standard_normal((2, 1, 3, 3)))

    def network(layers):
        return lambda n: nn.Sequential(nn.Conv2d(1, n, 3, padding=1), *layers(n))

    check(network(build), network(wrong), x)


def check(build, wrong, x):
    options = {"weight_std": W, "bias_std": B}
    exact, other = (infinite_width(b(64), x, **options) for b in (build, wrong))
    # 18 entries at most, correlated; 4 standard errors are passed by chance once in 900 such tests
    assert deviations(build, x, exact).abs().max() < 4
    assert deviations(build, x, other).abs().max() > 6


def test_in_standard_parameterization_the_closed_form_is_right_to_one_over_width():
    """Its tangent kernel grows with width, so relative to it: the closed form is right to order 1 / width."""
    build = DENSE["integrated functions"][0]
    x = torch.from_numpy(np.random.default_rng(3).standard_normal((3, 5)))
    options = {"weight_std": W, "bias_std": B, "parameterization": "standard"}
    found, exact = monte_carlo(build(64), x, samples=200, **options), infinite_width(build(64), x, **options)
    size = exact.ntk.diagonal().sqrt()
    tolerance = 1 / 64 + 4 * (found.ntk_error / (size[:, None] * size)).max()
    assert ((found.ntk - exact.ntk) / (size[:, None] * size)).abs().max() < tolerance
    wrong = infinite_width(build(48), x, **options)  # whose layers weigh by another fan_in
    assert ((found.ntk - wrong.ntk) / (size[:, None] * size)).abs().max() > 1.5 * tolerance


def test_without_a_closed_form_monte_carlo_answers():
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(2, 1, 6, 6)
    with pytest.raises(KernelError, match=r"network.2 \(MaxPool2d\) has no closed form .*monte_carlo"):
        infinite_width(network, x)
    found = monte_carlo(network, x, x[:1], samples=40)
    assert found.ntk.shape == (2, 1)
    assert float(found.ntk_error.max()) < 0.1 * float(found.ntk.max())


def test_batch_norm_in_train_mode_is_refused():
    with pytest.raises(KernelError, match="train mode"):
        monte_carlo(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), torch.eye(2))


def test_a_parameter_that_nobody_knows_is_named():
    with pytest.raises(KernelError, match=r"1\.weight.*PReLU"):
        monte_carlo(nn.Sequential(nn.Linear(2, 4), nn.PReLU(), nn.Linear(4, 1)), torch.eye(2))


def test_standard_errors_are_those_of_the_mean():
    """Over repetitions the mean scatters by its standard error: 30 of them, whose own spread is 1 / sqrt(60)."""
    network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    runs = [monte_carlo(network, torch.eye(2), samples=30, seed=seed) for seed in range(30)]
    scatter = torch.stack([r.ntk for r in runs]).std(0) / torch.stack([r.ntk_error for r in runs]).mean(0)
    assert (scatter - 1).abs().max() < 4 / math.sqrt(60)
