"""The multilayer perceptron and its initialisation."""

import math

import pytest
import torch
from torch import nn

from mutransfer.training.models.mlp import Flatten, mlp


def _mlp(width: int, hidden_layers: int) -> nn.Module:
    torch.manual_seed(0)
    return mlp(width, n_inputs=64, n_outputs=10, hidden_layers=hidden_layers)


@pytest.mark.parametrize("hidden_layers", [1, 2, 5])
def test_there_is_a_relu_after_every_layer_but_the_last(hidden_layers):
    kinds = [type(m).__name__ for m in _mlp(16, hidden_layers)]
    assert kinds == ["Flatten", *["Linear", "ReLU"] * hidden_layers, "Linear"]


@pytest.mark.parametrize("width", [64, 512])
def test_weights_are_drawn_with_std_sqrt_2_over_fan_in_and_biases_are_zero(width):
    for layer in _mlp(width, 3):
        if isinstance(layer, nn.Linear):
            n, fan_in = layer.weight.numel(), layer.weight.shape[1]
            rms = float(layer.weight.detach().pow(2).mean().sqrt())
            assert rms == pytest.approx(math.sqrt(2 / fan_in), rel=5 / (2 * n) ** 0.5)  # five standard errors
            assert not layer.bias.any()


def test_activations_keep_their_size_over_depth():
    """Squared size over layers is a martingale; one ReLU layer of n units spreads its log by sqrt(5 / n)."""
    width, layers = 1024, 8
    model = _mlp(width, layers)
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    sizes = []
    with torch.no_grad():
        for layer in model[:-1]:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                sizes.append(float(x.pow(2).mean()))
    spread = math.sqrt(5 * (layers - 1) / width)
    assert abs(math.log(sizes[-1] / sizes[0])) < 4 * spread


def test_images_of_any_shape_are_flattened():
    assert Flatten()(torch.zeros(3, 2, 4, 8)).shape == (3, 64)
    assert _mlp(16, 1)(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
