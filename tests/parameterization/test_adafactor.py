"""torch's Adafactor: its floor under a weight's size follows the init, so that the forms stay one function."""

import warnings

import pytest
import torch
from torch import nn

from mutransfer import param_groups, parameterize

from .models import D_OUT, losses, mlp, regression

pytestmark = pytest.mark.usefixtures("float64")
# So high a floor that it decides the steps of every matrix; a first entry that never does.
EPS, LR = (1e-30, 0.5), 1e-2


def zero_readout(width):
    model = mlp(width)
    nn.init.zeros_(model[-1].weight)
    return model


def trained(build, eps=EPS, **plan):
    torch.manual_seed(1)
    x, y = regression()
    model, found = parameterize(build, width=64, base_width=4, optimizer="adafactor", **plan, check=False)
    return losses(model, torch.optim.Adafactor(param_groups(model, found, lr=LR, eps=eps)), x, y)


@pytest.mark.parametrize("build", [mlp, zero_readout])
@pytest.mark.parametrize(
    "other",
    [{"form": "absorbed"}, {"parameterization": "mf"}, {"parameterization": "mup_t9"}, {"parameterization": "mup_t3"}],
    ids=str,
)
def test_the_forms_of_mup_train_to_the_same_losses_bit_for_bit_on_the_floor(build, other):
    assert trained(build, **other) == trained(build)
    assert trained(build)[-1] != pytest.approx(trained(build)[0], rel=1e-3)


def test_a_floor_that_is_not_scaled_tells_the_forms_apart():
    plain, absorbed = (trained(mlp, scale_eps=False, form=form) for form in ("forward", "absorbed"))
    assert absorbed[-1] != pytest.approx(plain[-1], rel=0.01)


def test_only_the_floor_is_scaled_and_torchs_is_the_default():
    model, plan = parameterize(mlp, width=64, base_width=4, optimizer="adafactor", form="absorbed", check=False)
    groups = param_groups(model, plan, lr=LR)
    floors = {name: g["eps"] for g in groups for p in g["params"] for name, q in model.named_parameters() if p is q}
    assert floors["2.weight"] == (None, 1e-3 / 4)  # std falls like m^-1/2
    assert floors["4.weight"] == (None, 1e-3 / 16)  # and like 1/m
    assert floors["0.weight"] == (None, 1e-3)
    assert model[-1].out_features == D_OUT


def test_a_rate_that_torchs_clamp_soon_flattens_is_warned_of():
    model, plan = parameterize(mlp, width=64, base_width=4, optimizer="adafactor", check=False)
    with pytest.warns(UserWarning, match="from step 400 on"):
        param_groups(model, plan, lr=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        param_groups(model, plan, lr=1e-2)
