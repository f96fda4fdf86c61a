"""The reference implementation of mup (microsoft/mup 1.0.0) trains to the same parameters.

Both start from the same draws of the user's factory: mup rescales them in ``set_base_shapes``, we in ``apply``.
eps is left unscaled, as mup leaves it. Double precision; twenty steps amplify rounding (1e-16) to some 1e-13.
"""

import copy

import mup
import pytest
import torch
from torch import nn

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply

from .models import D_IN, D_OUT, OPTIMIZERS, VOCAB, losses, regression

pytestmark = pytest.mark.usefixtures("float64")
BASE, WIDTHS, STEPS, TOLERANCE = 8, (2, 8, 20, 128), 20, 1e-8  # a quarter to sixteen times the base
REFERENCE = {"sgd": mup.MuSGD, "adam": mup.MuAdam, "adamw": mup.MuAdamW}
HYPERPARAMETERS = {
    "sgd": {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9},
    "adam": {"lr": 0.01, "eps": 1e-4},
    "adamw": {"lr": 0.01, "eps": 1e-4, "weight_decay": 0.3},
}


def mlp(width, readout, bias):
    return nn.Sequential(
        nn.Linear(D_IN, width, bias=bias),
        nn.Tanh(),
        nn.Linear(width, 3 * width, bias=bias),
        nn.GELU(),
        nn.Linear(3 * width, width, bias=bias),
        nn.Tanh(),
        readout(width, D_OUT, bias=bias),
    )


def normed_mlp(width, readout, bias):
    return nn.Sequential(
        nn.Linear(D_IN, width, bias=bias),
        nn.LayerNorm(width),
        nn.GELU(),
        nn.Linear(width, 2 * width, bias=bias),
        nn.RMSNorm(2 * width),
        nn.GELU(),
        readout(2 * width, D_OUT, bias=bias),
    )


def cnn(width, readout, bias):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=bias),
        nn.Tanh(),
        nn.Conv2d(width, 2 * width, 3, bias=bias),
        nn.GELU(),
        nn.Flatten(),
        readout(8 * width, D_OUT, bias=bias),
    )


def normed_cnn(width, readout, bias):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=bias),
        nn.BatchNorm2d(width),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=bias),  # depthwise
        nn.Conv2d(width, 2 * width, 1, bias=bias),
        nn.GroupNorm(1, 2 * width),
        nn.GELU(),
        nn.Flatten(),
        readout(32 * width, D_OUT, bias=bias),
    )


def embedding(width, readout, bias):
    return nn.Sequential(
        nn.Embedding(VOCAB, width),
        nn.Linear(width, width, bias=bias),
        nn.Tanh(),
        readout(width, D_OUT, bias=bias),
    )


def bottleneck(width, readout, bias):
    return nn.Sequential(
        nn.Linear(D_IN, width, bias=bias),
        nn.Tanh(),
        readout(width, 4, bias=bias),  # mup refuses an nn.Linear here
        nn.Linear(4, width, bias=bias),
        nn.Tanh(),
        readout(width, D_OUT, bias=bias),
    )


DATA = {
    mlp: regression,
    normed_mlp: regression,
    cnn: lambda: regression(8, (3, 6, 6)),
    normed_cnn: lambda: regression(8, (3, 6, 6)),
    embedding: lambda: (torch.arange(VOCAB), torch.randn(VOCAB, D_OUT)),
}


def both(make, width, bias, optimizer):
    """Our model and mup's after the same steps, and their losses."""

    def ours(w):
        return make(w, nn.Linear, bias)

    def theirs(w):
        return make(w, mup.MuReadout, bias)

    x, y = DATA.get(make, regression)()
    plan = Plan.infer(
        ours, width=width, base_width=BASE, parameterization="mup", optimizer=optimizer, scale_eps=False, check=False
    )
    model, reference = ours(width), theirs(width)
    reference.load_state_dict(model.state_dict())
    apply(model, plan)
    mup.set_base_shapes(reference, theirs(BASE), delta=theirs(2 * BASE))
    start = copy.deepcopy(model.state_dict()), copy.deepcopy(reference.state_dict())
    arguments = HYPERPARAMETERS[optimizer]
    groups = param_groups(model, plan, **{k: v for k, v in arguments.items() if k != "momentum"})
    histories = (
        losses(model, OPTIMIZERS[optimizer](groups), x, y, STEPS),
        losses(reference, REFERENCE[optimizer](reference.parameters(), **arguments), x, y, STEPS),
    )
    return model, reference, start, histories


def disagreement(a, b):
    """The largest relative difference of two state dicts, each tensor by its own size."""
    return max(((a[name] - b[name]).double().norm() / b[name].double().norm().clamp_min(1e-300)).item() for name in b)


@pytest.mark.parametrize("optimizer", REFERENCE)
@pytest.mark.parametrize(("width", "bias"), [*((width, True) for width in WIDTHS), (20, False)])
@pytest.mark.parametrize("make", DATA, ids=lambda make: make.__name__)
def test_parameters_after_twenty_steps_are_those_of_the_mup_package(make, width, bias, optimizer):
    model, reference, start, (found, expected) = both(make, width, bias, optimizer)
    assert disagreement(*start) < 1e-14  # the two corrections of the init law are the same
    assert abs(expected[-1] / expected[0] - 1) > 0.01  # something was learned
    assert found == pytest.approx(expected, rel=TOLERANCE)
    assert disagreement(model.state_dict(), reference.state_dict()) < TOLERANCE


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_bottleneck_trains_to_the_losses_of_the_mup_packages_readout(width, bias):
    """Losses and not parameters: mup keeps a multiplier 1/m in front of this weight, we absorb it.

    SGD only: absorbing moves Adam's eps, which is left unscaled for the comparison.
    """
    model, reference, _, (found, expected) = both(bottleneck, width, bias, "sgd")
    assert found == pytest.approx(expected, rel=TOLERANCE)
    m = width / BASE
    assert torch.allclose(model[2].weight, reference[2].weight / m, rtol=TOLERANCE, atol=0)
    assert torch.allclose(model[5].weight, reference[5].weight, rtol=TOLERANCE, atol=0)


def test_a_tied_readout_is_the_shared_readout_of_the_mup_package():
    """With rescale_params=False: mup would multiply the embedding's own values by sqrt(m), we keep them.

    For the same reason there are no biases, which it would then leave at torch's 1/sqrt(fan_in).
    """

    class Tied(nn.Module):
        def __init__(self, width, shared):
            super().__init__()
            self.embedding = nn.Embedding(VOCAB, width)
            self.hidden = nn.Linear(width, width, bias=False)
            if shared:
                self.head = mup.MuSharedReadout(self.embedding.weight, bias=False)
            else:
                self.head = nn.Linear(width, VOCAB, bias=False)
                self.head.weight = self.embedding.weight

        def forward(self, tokens):
            return self.head(torch.tanh(self.hidden(self.embedding(tokens))))

    x, y = torch.arange(VOCAB), torch.eye(VOCAB)
    for optimizer, arguments in HYPERPARAMETERS.items():
        plan = Plan.infer(
            lambda w: Tied(w, False), width=32, base_width=8, optimizer=optimizer, scale_eps=False, check=False
        )
        model, reference = Tied(32, False), Tied(32, True)
        reference.load_state_dict(model.state_dict())
        apply(model, plan)
        mup.set_base_shapes(reference, Tied(8, True), delta=Tied(16, True), rescale_params=False)
        groups = param_groups(model, plan, **{k: v for k, v in arguments.items() if k != "momentum"})
        losses(model, OPTIMIZERS[optimizer](groups), x, y, STEPS)
        losses(reference, REFERENCE[optimizer](reference.parameters(), **arguments), x, y, STEPS)
        assert disagreement(model.state_dict(), reference.state_dict()) < TOLERANCE
