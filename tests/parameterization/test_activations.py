"""Activations: what is kept, and that looking changes nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mutransfer.parameterization.measuring.activations import activations, changes, evaluating, relative_changes, rms
from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.measuring.watcher import Watcher


class Net(nn.Module):
    """Modules with and without parameters, a tuple output, a repeated module, and a parameter of the model's own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Dropout(0.5))
        self.rnn = nn.GRU(5, 5, batch_first=True)
        self.twice = nn.Linear(5, 5)
        self.gain = nn.Parameter(torch.ones(5))
        self.unused = nn.Linear(7, 7)

    def forward(self, x):
        x, _ = self.rnn(self.first(x)[:, None])
        return self.twice(self.twice(x[:, 0])) * self.gain


def _hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_outputs_of_modules_with_parameters_of_their_own_are_kept_under_their_paths():
    model, x = Net(), torch.randn(4, 3)
    found = activations(model, lambda: model(x))
    assert set(found) == {"first.0", "rnn", "twice", "model"}
    assert torch.equal(found["first.0"], model.first[0](x))
    model.eval()
    assert torch.equal(found["model"], model(x))


def test_of_a_tuple_the_first_tensor_is_kept():
    model, x = Net(), torch.randn(4, 3)
    with evaluating(model):
        expected, _ = model.rnn(model.first(x)[:, None])
    assert torch.equal(activations(model, lambda: model(x))["rnn"], expected)


def test_a_module_that_is_called_twice_keeps_its_last_output():
    model, x = Net(), torch.randn(4, 3)
    found = activations(model, lambda: model(x))
    assert torch.equal(found["twice"] * model.gain, found["model"])


def test_dropout_is_off_while_looking():
    model, x = Net(), torch.randn(4, 3)
    one, other = (activations(model, lambda: model(x)) for _ in range(2))
    assert torch.equal(one["model"], other["model"])


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("frozen", ["", "first", "first.2", "twice"])
def test_modes_hooks_and_gradients_are_as_before_also_after_an_error(frozen, fails):
    model, x = Net(), torch.randn(4, 3)
    model.get_submodule(frozen).training = False  # of this one module, as for a frozen normalisation
    before = [m.training for m in model.modules()]

    def forward():
        assert not any(m.training for m in model.modules())
        assert not torch.is_grad_enabled()
        assert _hooks(model) == 5
        model(x if not fails else x[:, :2])

    if fails:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            activations(model, forward)
    else:
        activations(model, forward)
    assert [m.training for m in model.modules()] == before
    assert _hooks(model) == 0
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("examples", "kept"), [(1, 1), (64, 64), (65, 64), (300, 64)])
def test_at_most_64_rows_are_kept_the_first_ones(examples, kept):
    model, x = nn.Linear(3, 2), torch.randn(examples, 3)
    found = activations(model, lambda: model(x))["model"]
    assert found.shape == (kept, 2)
    assert torch.equal(found, model(x[:kept]))


def test_what_is_kept_is_a_copy_that_later_training_cannot_change():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)), torch.randn(8, 3)
    found = activations(model, lambda: model(x))["0"]
    assert torch.equal(found, model[0](x))  # the ReLU behind it worked in place
    assert float(found.min()) < 0
    assert not found.requires_grad


@pytest.mark.parametrize("output", [None, (), ("text",), torch.arange(3), {"a": torch.ones(2)}])
def test_outputs_that_are_no_activations_are_left_out(output):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self):
            return output

    model = Odd()
    assert activations(model, model) == {}


def test_rms_is_the_root_of_the_mean_square():
    assert rms(torch.tensor([[3.0, -4.0], [0.0, 5.0]])) == pytest.approx((50 / 4) ** 0.5)
    assert rms(torch.full((2000,), 300.0, dtype=torch.float16)) == pytest.approx(300.0)  # squares overflow float16


def test_changes_are_the_size_of_the_difference_over_the_size_before():
    before = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([2.0, 0.0]), "gone": torch.ones(2)}
    after = {"a": torch.tensor([3.0, 9.0]), "b": torch.tensor([2.0, 0.0]), "new": torch.ones(2)}
    assert changes(before, after) == pytest.approx({"a": 5 / 2**0.5, "b": 0.0})
    assert relative_changes(before, after) == pytest.approx({"a": 1.0, "b": 0.0})


def test_what_was_zero_before_has_no_relative_change():
    zero, one = torch.zeros(3), torch.ones(3)
    assert relative_changes({"a": zero, "b": one}, {"a": one, "b": one}) == {"b": 0.0}


def test_changes_in_half_precision_are_taken_in_float32():
    before, after = torch.full((4,), -60000.0, dtype=torch.float16), torch.full((4,), 60000.0, dtype=torch.float16)
    assert relative_changes({"a": before}, {"a": after}) == pytest.approx({"a": 2.0})


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_a_relative_change_does_not_depend_on_the_unit(factor, unit):
    x = torch.linspace(-1, 2, 12)
    found = relative_changes({"a": unit * x}, {"a": unit * x * (1 + factor)})
    assert found["a"] == pytest.approx(factor, rel=1e-3)  # float32, with 1 + factor rounded


def test_what_makes_a_weight_is_no_activation():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4, bias=False)), nn.Linear(4, 2))
    assert set(activations(model, lambda: model(torch.ones(5, 3)))) == {"0", "1"}


WITH_BIAS = {  # the same number of channels and positions: a size does not tell which is which
    "linear": (lambda: nn.Linear(3, 6), (4, 6, 3)),
    "convolution": (lambda: nn.Conv1d(3, 6, 1), (4, 3, 6)),
    "convolution of one example": (lambda: nn.Conv1d(3, 6, 1), (3, 6)),
    "of images": (lambda: nn.Conv2d(3, 6, 3, padding=1), (4, 3, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose1d(3, 6, 1), (4, 3, 6)),
    "under weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 6, 1)), (4, 3, 6)),
}


@pytest.mark.parametrize("case", WITH_BIAS)
def test_a_spread_is_the_output_without_its_bias_wherever_channels_are(case):
    make, shape = WITH_BIAS[case]
    torch.manual_seed(0)
    layer, x = make(), torch.randn(shape)
    nn.init.uniform_(layer.bias, 10, 20)
    spread = Watcher(layer, lambda m: m(x).sum(), attention=False).at_start(layer)[Quantity.SPREAD]["model"]
    nn.init.zeros_(layer.bias)
    assert float(spread) == pytest.approx(rms(layer(x).detach()), rel=1e-5)
