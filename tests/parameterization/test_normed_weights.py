"""Weights under weight_norm and spectral_norm, old and new: a multiplier always stands on the layer's input."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from mutransfer import apply, attach, fold, param_groups, parameterize, plain_state_dict
from mutransfer.errors import PlanError
from mutransfer.parameterization.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")  # torch's own, of the old one
BASE, WIDTH = 32, 512
M = WIDTH / BASE
X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
GAINED = {"weight_norm": parametrizations.weight_norm, "weight_norm, old": weight_norm}
NORMS = {**GAINED, "spectral_norm": parametrizations.spectral_norm, "spectral_norm, old": spectral_norm}


class Net(nn.Module):
    """``norm`` is on the layer named ``on``."""

    def __init__(self, width, norm, on, std=None):
        super().__init__()
        self.inward, self.hidden, self.head = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 3)
        layer = getattr(self, on)
        if std is not None:
            nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(self.head.bias)
        norm(layer)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(torch.tanh(self.inward(x)))))


def built(norm, on, std=None):
    return lambda width: Net(width, NORMS[norm], on, std)


def normed(plan, on):
    (name,) = [n for n in plan if n.startswith(f"{on}.") and n.endswith(("original1", "original", "_v", "_orig"))]
    return plan[name]


def spectral(n_out, n_in):
    """A random matrix's entries over its largest singular value."""
    return 1 / (n_out**0.5 + n_in**0.5)


@pytest.mark.parametrize("form", ["forward", "absorbed"])
@pytest.mark.parametrize("norm", NORMS)
def test_roles_are_those_of_the_layer_and_the_multiplier_stands_on_its_input(norm, form):
    for on, role, shape, target in (
        ("inward", "input", lambda w: (w, 8), 1.0),
        ("hidden", "hidden", lambda w: (w, w), M**-0.5),
        ("head", "output", lambda w: (3, w), 1 / M),
    ):
        plan = Plan.infer(built(norm, on), width=WIDTH, base_width=BASE, form=form, check=False)
        drawn = 1.0 if on == "inward" else M**-0.5  # torch's own: fan_in^-1/2, which weight_norm starts from
        size = drawn if norm in GAINED else spectral(*shape(WIDTH)) / spectral(*shape(BASE))
        scaling = normed(plan, on)
        assert scaling.role == role
        assert scaling.forward_mult == pytest.approx(target / size)
        assert scaling.lr_mult == (1 / M if role == "hidden" else 1)


def test_other_tables_get_their_own_sizes():
    for name, target in (("ntk", M**-0.5), ("mf", 1 / M), ("mup_t3", 1 / M), ("mup_t9", 1 / M), ("sp", M**-0.5)):
        plan = Plan.infer(
            built("weight_norm", "head"), width=WIDTH, base_width=BASE, parameterization=name, check=False
        )
        assert normed(plan, "head").forward_mult == pytest.approx(target / M**-0.5), name


def test_a_gain_that_starts_with_what_was_drawn_is_counted():
    # N(0, 0.02): the gain of a hidden layer starts at 0.02 sqrt(fan_in), which grows; a vector's start does not.
    plan = Plan.infer(built("weight_norm, old", "hidden", 0.02), width=WIDTH, base_width=BASE, check=False)
    assert plan["hidden.weight_g"].init_mult == pytest.approx(M**-0.5, rel=0.02)
    assert normed(plan, "hidden").forward_mult == pytest.approx(1, rel=0.02)


def change(norm, on, width, optimizer):
    """Of the outputs, by three steps."""
    torch.manual_seed(0)
    model, plan = parameterize(built(norm, on), width=width, base_width=BASE, optimizer=optimizer, check=False)
    how, lr = (torch.optim.SGD, 0.02) if optimizer == "sgd" else (torch.optim.Adam, 2e-3)
    step = how(param_groups(model, plan, lr=lr))
    before = model(X).detach()
    for _ in range(3):
        step.zero_grad()
        (model(X) - 1).square().mean().backward()
        step.step()
    return (model(X) - before).square().mean().sqrt().item()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("on", ["inward", "hidden", "head"])
@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_the_change_of_the_outputs_does_not_grow_with_width(norm, on, optimizer):
    slope = change(norm, on, 512, optimizer) / change(norm, on, 64, optimizer)
    assert abs(torch.tensor(slope).log2().item() / 3) < 0.15


@pytest.mark.parametrize("norm", GAINED)
def test_folding_multiplies_the_gain(norm):
    model, plan = parameterize(built(norm, "head"), width=WIDTH, base_width=BASE, check=False)
    plain = built(norm, "head")(WIDTH)
    out = model(X).detach()
    plain.load_state_dict(plain_state_dict(model, plan))
    torch.testing.assert_close(plain(X), out)
    again = attach(built(norm, "head")(WIDTH), plan)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(X), out)
    torch.testing.assert_close(fold(model, plan)(X), out)


def test_nothing_can_be_folded_into_a_spectral_norm():
    model, plan = parameterize(built("spectral_norm", "head"), width=WIDTH, base_width=BASE, check=False)
    with pytest.raises(PlanError, match="largest singular value"):
        plain_state_dict(model, plan)


def test_convolutions_and_the_base_width():
    def build(width):
        layers = nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3)
        return nn.Sequential(*map(parametrizations.weight_norm, layers), nn.Flatten(), nn.Linear(16 * width, 3))

    plan = Plan.infer(build, width=64, base_width=16, example=torch.randn(2, 3, 8, 8), check=False)
    scaling = plan["1.parametrizations.weight.original1"]
    assert (scaling.role, scaling.lr_mult, scaling.forward_mult) == ("hidden", 0.25, 1)
    same = Plan.infer(build, width=16, base_width=16, example=torch.randn(2, 3, 8, 8), check=False)
    assert all((s.init_mult, s.forward_mult, s.lr_mult) == (1, 1, 1) for s in same.values())
    image = torch.randn(2, 3, 8, 8)
    torch.manual_seed(0)
    model = build(16)
    torch.testing.assert_close(apply(model, same)(image), model(image), rtol=0, atol=0)
