"""What has no kernel is refused; what no rule covers is seen by the probe."""

import pytest
import torch
from torch import nn

from mutransfer.errors import ConfigError, DataError, KernelError
from mutransfer.kernels import empirical_ntk
from mutransfer.kernels.empirical.as_function import ExampleBatch
from mutransfer.kernels.empirical.model_function import ModelFunction
from mutransfer.kernels.empirical.passes.sides import Heads, Side
from mutransfer.kernels.empirical.passes.survey import survey_operations
from mutransfer.kernels.empirical.passes.tangents import Tangents
from mutransfer.kernels.empirical.probe import Probe
from mutransfer.kernels.empirical.probe_check import failures
from mutransfer.kernels.empirical.tiles import Tiles, assemble
from tests.kernels.models import Hidden, perceptron

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
def test_batch_statistics_are_refused_by_name(options):
    norm = nn.BatchNorm1d(4, **options).train("track_running_stats" not in options)
    model = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 1))
    with pytest.raises(KernelError, match=r"1 \(BatchNorm1d\).*statistics of the batch"):
        empirical_ntk(model, torch.randn(5, 3))
    if options.get("track_running_stats", True):
        assert empirical_ntk(model.eval(), torch.randn(5, 3)).shape == (5, 5)


def test_examples_that_interact_in_other_ways_are_refused():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            out = self.layer(x)
            return out - out.mean(0)

    with pytest.raises(KernelError, match="examples interact"):
        empirical_ntk(Centred(), torch.randn(5, 3))


@pytest.mark.parametrize("n", [1, 5])
def test_active_dropout_is_refused_and_idle_dropout_is_not(n):
    model, x = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5), nn.Linear(40, 1)), torch.randn(n, 3)
    with pytest.raises(KernelError, match=r"random numbers.*model\.eval"):
        empirical_ntk(model, x)
    expected = empirical_ntk(model.eval(), x)
    model.train()[1].p = 0.0
    torch.testing.assert_close(empirical_ntk(model, x), expected)


class Labels(nn.Linear):
    def __init__(self):
        super().__init__(5, 3)

    def forward(self, x):
        return super().forward(x).argmax(-1)


def test_bad_arguments_are_refused():
    model, x = perceptron(), torch.randn(4, 5)
    with pytest.raises(ConfigError, match="sum"):
        empirical_ntk(model, x, outputs="sum")
    with pytest.raises(DataError, match="at least one"):
        empirical_ntk(model, x[:0])
    with pytest.raises(DataError, match=r"\(2, \.\.\.\)"):
        empirical_ntk(nn.Sequential(model, nn.Flatten(0)), x)
    with pytest.raises(KernelError, match="requires a gradient"):
        empirical_ntk(model.requires_grad_(False), x)
    with pytest.raises(DataError, match="floating-point"):
        empirical_ntk(Labels(), x)


def test_outputs_that_are_not_finite_are_refused():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias[0] = torch.inf
    with pytest.raises(KernelError, match="finite"):
        empirical_ntk(model, torch.randn(3, 3))


def _probed(model, x, skipped=(), wrong=None):
    """Names that fail the probe, when the kernel of ``wrong`` is off by one part in a thousand."""
    parameters = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
    model = ModelFunction(model, {}, ())
    seen = survey_operations(model, parameters, ExampleBatch.of(x), (), 2**30)
    side = Side(ExampleBatch.of(x), Heads(seen.outputs, None), seen)
    tangents = Tangents(model, parameters, (), tuple(skipped))
    tiles = Tiles.fitting(tangents, [side], False, 2**30)
    probe = Probe.drawn(side, side, False, tiles.heads, next(iter(parameters.values())))
    found = assemble(tangents, side, None, full=False, tiles=tiles, probe=probe, limit_bytes=2**30, add=lambda *_: None)
    if wrong is not None:
        found[wrong] *= 1.001
    return failures(tangents, [side], probe, found)


def test_a_use_out_of_sight_fails_the_probe_and_no_other_parameter_does():
    model, x = Hidden(), torch.randn(4, 5)
    assert _probed(model, x, skipped=["experts"]) == {"weight"}
    assert _probed(model, x, skipped=["experts", "weight"]) == set()


def test_the_probe_sees_a_part_in_a_thousand():
    model, x = perceptron(), torch.randn(4, 5)
    assert _probed(model, x) == set()
    for name, _ in model.named_parameters():
        assert _probed(model, x, wrong=name) == {name}


@pytest.mark.parametrize("seed", range(20))
def test_a_missed_bias_is_never_overlooked(seed):
    """Its kernel is the same for all pairs, which probes that sum to zero over examples would not see."""

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.bias = nn.Linear(4, 2), nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return Added.apply(self.layer(x), self.bias)

    torch.manual_seed(seed)
    model, x = Behind(), torch.randn(2 + seed, 4)
    assert empirical_ntk(model, x, per_layer=True)["bias"].eq(2).all()


class Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias):
        return x + bias

    @staticmethod
    def backward(ctx, gradient):
        return gradient, gradient.sum(0)


def test_a_readout_that_counts_examples_is_no_function_of_each():
    class Ranked(nn.Module):
        """The gradient of an example's output flows from its neighbour, its value does not."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            out = self.layer(x)
            return out + (out - out.detach()).roll(1, 0)

    with pytest.raises(KernelError, match="two backward passes"):
        empirical_ntk(Ranked(), torch.randn(6, 3))
