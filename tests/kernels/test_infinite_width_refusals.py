"""What infinite_width refuses, and that it says where and why."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from mutransfer.errors import KernelError
from mutransfer.kernels import Residual, infinite_width


def hooked():
    linear = nn.Linear(4, 4)
    linear.register_forward_hook(lambda *_: None)
    return linear


shared = nn.Linear(4, 4)

AFTER_A_LAYER = {
    r"network\.2\.0 \(BatchNorm1d\) has no closed form": nn.Sequential(nn.BatchNorm1d(4)),
    r"network\.2 \(Softmax\) has no closed form": nn.Softmax(-1),
    r"network\.2 \(PReLU\) has no closed form": nn.PReLU(),
    r"network\.2\.0 \(Dropout\) draws at random": nn.Sequential(nn.Dropout(0.1)),
    r"network\.2 \(Linear\) has in_features=3": nn.Linear(3, 4),
    r"network\.2 \(Linear\) carries forward hooks": hooked(),
    r"network\.2 \(ParametrizedLinear\) computes its weights": spectral_norm(nn.Linear(4, 4)),
    r"network\.2\.1 \(Linear\) shares its weights with network\.2\.0": nn.Sequential(shared, shared),
    r"network\.2 \(Residual\) adds two summands without weights": Residual(nn.LayerNorm(4)),
    r"network\.2 \(Residual\) adds shapes \(4,\) and \(3,\)": Residual(nn.Linear(4, 3)),
    r"network\.2\.layers\.0 \(Tanh\) is a nonlinear function of what is not Gaussian": Residual(
        nn.Tanh(), nn.Linear(4, 4)
    ),
    r"network\.2 \(GroupNorm\) has one channel to a group": nn.GroupNorm(4, 4),
    r"network\.2 \(LayerNorm\) has normalized_shape": nn.LayerNorm(3),
    r"network\.2 \(Conv1d\) needs": nn.Conv1d(4, 4, 1),
    r"network\.2 \(MultiheadAttention\) has no closed form": nn.MultiheadAttention(4, 1),
}


@pytest.mark.parametrize("message", AFTER_A_LAYER)
def test_a_layer_without_a_closed_form_is_refused_where_it_stands(message):
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), AFTER_A_LAYER[message], nn.Linear(4, 1))
    with pytest.raises(KernelError, match=message):
        infinite_width(network, torch.randn(2, 4))


IMAGES = {
    r"network\.0 \(Conv2d\) has groups of the input's channels": [nn.Conv2d(4, 4, 3, groups=2)],
    r"network\.1 \(Conv2d\) has groups of one channel": [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4)],
    r"network\.1 \(Linear\) would mix the last axis": [nn.Conv2d(4, 4, 1), nn.Linear(5, 4)],
    r"network\.1 \(Conv2d\) has a window of 7 for a padded axis of 5": [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 7)],
    r"the outputs have shape \(4, 5, 5\)|ends in outputs of shape \(4, 5, 5\)": [nn.Conv2d(4, 4, 1)],
    r"network\.0 \(Residual\) adds to the inputs": [Residual(nn.Conv2d(4, 4, 1))],
    r"network\.0 \(LayerNorm\) trains gains of the inputs": [nn.LayerNorm((4, 5, 5)), nn.Conv2d(4, 4, 1)],
    r"no Linear or Conv layer": [nn.Flatten(), nn.ReLU()],
}


@pytest.mark.parametrize("message", IMAGES)
def test_networks_on_images_that_do_not_fit_are_refused(message):
    with pytest.raises(KernelError, match=message):
        infinite_width(nn.Sequential(*IMAGES[message]), torch.randn(2, 4, 5, 5))


def test_arguments_that_do_not_fit_are_refused():
    network, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)), torch.randn(2, 4)
    with pytest.raises(KernelError, match="parameterization is 'mup'"):
        infinite_width(network, x, parameterization="mup")
    with pytest.raises(KernelError, match="weight_std is nan"):
        infinite_width(network, x, weight_std=float("nan"))
    with pytest.raises(KernelError, match=r"x1 has examples of shape \(4,\) and x2 of \(3,\)"):
        infinite_width(network, x, torch.randn(2, 3))
    with pytest.raises(KernelError, match="finite real numbers"):
        infinite_width(network, x / 0)
    with pytest.raises(KernelError, match="not finite"):
        infinite_width(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, eps=0.0), nn.Linear(4, 1)), 0 * x)


def test_what_changes_nothing_is_accepted():
    x = torch.randn(3, 4)
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    wrapped = nn.Sequential(
        nn.Identity(),
        nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 1)),
    ).eval()
    before = x.clone()
    torch.testing.assert_close(infinite_width(wrapped, x).ntk, infinite_width(plain, x).ntk, rtol=0, atol=0)
    torch.testing.assert_close(infinite_width(plain, x.numpy()).ntk, infinite_width(plain, x).ntk, rtol=0, atol=0)
    assert torch.equal(x, before)
