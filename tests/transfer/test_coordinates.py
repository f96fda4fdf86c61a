"""The coordinate check tells right parameterizations from wrong ones, and names the module that is off."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.errors import ConfigError
from mutransfer.parameterization.judging.offenders import TOLERANCE
from mutransfer.theory.regimes import Kind
from mutransfer.theory.rules import MUP, ONE, Family, Role
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.coordinates.check import coordinate_check

WIDTHS = [64, 128, 256, 512]
FIRST, HIDDEN, READOUT = "1", "3", "5"  # flatten, linear, relu, linear, relu, linear


@pytest.fixture(scope="module")
def check():
    def do(parameterization="mup", widths=WIDTHS, **options):
        known = {"optimizer": "adam", "device": "cpu"}
        return coordinate_check(DigitsMLP(), widths=widths, parameterization=parameterization, **{**known, **options})

    return do


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("name", ["mup", "mf", "ntk"])
def test_the_stable_parameterizations_pass(check, name, optimizer):
    found = check(name, optimizer=optimizer)
    assert found.passed, found.failures
    assert found.failures == ()


def test_mup_moves_features_alike_at_every_width(check):
    found = check("mup")
    assert found.regime.kind is Kind.FEATURE_LEARNING
    for module in (FIRST, HIDDEN):
        assert found.slopes[module]["change"].predicted == 0.0
        assert abs(found.slopes[module]["change"].value) < TOLERANCE


def test_ntk_passes_as_a_kernel_whose_features_freeze_like_one_over_the_root_of_width(check):
    found = check("ntk")
    assert found.regime.kind is Kind.KERNEL
    for module in (FIRST, HIDDEN):
        slope = found.slopes[module]["change"]
        assert slope.predicted == -0.5
        assert abs(slope.value + 0.5) < TOLERANCE
    assert found.slopes[READOUT]["change"].predicted == 0.0


def test_sp_fails_for_its_hidden_layer_and_logits_grow(check):
    found = check("sp")
    assert not found.passed
    assert found.regime.kind is Kind.UNSTABLE
    text = "\n".join(found.failures)
    assert f"change of {HIDDEN} goes like n^+0.5" in text
    assert f"size of {READOUT} goes like n^+" in text
    assert f"of {FIRST} goes" not in text  # the first layer of sp is right


def test_a_model_left_as_it_is_is_judged_by_growth_alone(check):
    found = check("as_is")
    assert found.regime is None
    assert not found.passed
    assert all("go" in failure and "n^+" in failure for failure in found.failures)


def wrong(role, **changes):
    return replace(MUP, name="wrong", rows={**MUP.rows, role: replace(MUP.rows[role], **changes)})


def test_mup_with_an_unscaled_hidden_learning_rate_fails_and_names_the_hidden_layer(check):
    found = check(wrong(Role.HIDDEN, lr={Family.SGD: ONE, Family.ADAM: ONE}))
    assert not found.passed
    assert any(f"change of {HIDDEN} goes like n^+" in failure for failure in found.failures)
    assert not any(f"of {FIRST} goes" in failure for failure in found.failures)


def test_mup_without_the_readouts_multiplier_fails_and_names_the_readout(check):
    found = check(wrong(Role.OUTPUT, forward=ONE))
    assert not found.passed
    assert any(f"size of {READOUT} goes like n^+" in failure for failure in found.failures)
    assert not any(f"of {HIDDEN} goes" in failure for failure in found.failures)


@dataclass(frozen=True, kw_only=True)
class Amplified(DigitsMLP):
    """A model that multiplies its hidden activations by a power of its width behind the plan's back."""

    power: float
    hidden: bool

    def build(self, width, /):
        model = super().build(width)
        model[4] = Times((width / 64) ** self.power, self.hidden)
        return model


class Times(nn.Module):
    def __init__(self, factor, hidden):
        super().__init__()
        self.factor, self.hidden = factor, hidden

    def forward(self, x):
        return x * torch.full_like(x, self.factor) if self.hidden else self.factor * x


@pytest.mark.parametrize("power", [0.5, -1.0])
def test_a_factor_in_the_models_code_is_made_up_for_where_the_plan_sees_it(power):
    found = coordinate_check(Amplified(power=power, hidden=False), widths=WIDTHS, optimizer="adam", device="cpu")
    assert found.passed, found.failures
    assert found.factored == {"3"}
    assert abs(found.slopes[READOUT]["size"].value) < 0.15


@pytest.mark.parametrize(("power", "sign"), [(0.5, "+"), (-1.0, "-")])
def test_a_factor_hidden_in_the_models_code_is_caught_where_the_plan_sees_nothing(power, sign):
    found = coordinate_check(Amplified(power=power, hidden=True), widths=WIDTHS, optimizer="adam", device="cpu")
    assert found.regime.kind is Kind.FEATURE_LEARNING  # the table itself is right
    assert not found.passed
    (offender,) = found.offenders
    assert offender.where == READOUT
    assert offender.slope.value == pytest.approx(power - 0.5, abs=0.3)
    assert "the model's own code multiplies by a power of its width" in offender.cause
    assert f"of {READOUT} goes like n^{sign}" in found.failures[-1]


def build(width):
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def mse(model, batch):
    inputs, targets = batch
    return F.mse_loss(model(inputs), targets)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 6, generator=generator), torch.randn(32, 3, generator=generator)


def test_a_factory_with_a_batch_and_a_loss_needs_no_task(batch):
    found = coordinate_check(build, widths=WIDTHS, batch=batch, loss=mse, device="cpu")
    assert found.passed, found.failures
    assert set(found.slopes) == {"0", "2", "4"}


def test_a_batch_may_be_a_function_of_seed_and_step(batch):
    asked = []

    def draw(seed, step):
        asked.append((seed, step))
        return batch

    once = coordinate_check(build, widths=[8, 16], batch=draw, loss=mse, steps=2, seeds=[7], device="cpu")
    assert {(7, 0), (7, 1)} < set(asked)
    assert once.sizes == coordinate_check(build, widths=[8, 16], batch=batch, loss=mse, steps=2, seeds=[7]).sizes


class OwnLoss(nn.Module):
    """A model that returns its loss, as those of transformers do."""

    def __init__(self, width, wrap):
        super().__init__()
        self.body, self.wrap = build(width), wrap

    def forward(self, inputs, targets):
        return self.wrap(F.mse_loss(self.body(inputs), targets))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"loss": x}, lambda x: SimpleNamespace(loss=x)])
def test_a_model_may_return_its_own_loss(batch, wrap):
    found = coordinate_check(lambda width: OwnLoss(width, wrap), widths=[8, 16], batch=batch, steps=1, device="cpu")
    named = {"inputs": batch[0], "targets": batch[1]}
    again = coordinate_check(lambda width: OwnLoss(width, wrap), widths=[8, 16], batch=named, steps=1, device="cpu")
    assert found.sizes == again.sizes
    assert "body.2" in found.slopes


def test_the_check_leaves_the_global_random_state_as_it_was(check):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    check(widths=[8, 16], steps=1, seeds=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_check_gives_the_same_numbers(check):
    assert check(widths=[8, 16], steps=1).sizes == check(widths=[16, 8], steps=1).sizes


def test_activations_that_are_not_finite_are_a_failure_that_names_the_width(check):
    found = check("sp", widths=[8, 64], optimizer="sgd", lr=1e20)
    assert not found.passed
    assert "activations are not finite at width 64" in found.failures


def test_the_table_has_a_line_per_module_with_both_slopes(check):
    found = check(widths=[8, 16, 64])
    lines = found.table().splitlines()
    assert len(lines) == 1 + 3 * 4  # steps 0, 1, 2 and 5
    assert [line.split()[0] for line in lines[::4]] == ["module", "5", "5", "5"]
    assert [line.split()[0] for line in lines[1::4]] == [FIRST, HIDDEN, READOUT]
    assert str(found.slopes[HIDDEN]["change"]) in lines[8]


def test_sizes_hold_a_number_per_width_and_seed(check):
    found = check(widths=[8, 16, 32], seeds=2)
    rows = found.sizes[HIDDEN]["size"]
    assert [len(row) for row in rows] == [2, 2, 2]
    assert all(math.isfinite(v) and v > 0 for row in rows for v in row)
    assert found.at_init == {READOUT: -0.5}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"widths": [8]}, r"at least two widths, found \[8\]"),
        ({"widths": [8, 8]}, r"at least two widths, found \[8, 8\]"),
        ({"seeds": 0}, "at least one step and one seed, found 5 and 0"),
        ({"steps": 0}, "at least one step and one seed, found 0 and 3"),
    ],
)
def test_a_check_that_would_measure_nothing_is_refused(check, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        check(**options)


def test_a_factory_without_a_batch_is_refused():
    with pytest.raises(ConfigError, match="a coordinate check of a factory needs batch="):
        coordinate_check(build, widths=[8, 16])


def test_a_model_without_a_loss_is_refused_with_what_to_give(batch):
    with pytest.raises(ConfigError, match="the model returns no scalar loss: give loss="):
        coordinate_check(build, widths=[8, 16], batch=batch[0], device="cpu")
