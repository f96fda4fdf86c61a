"""The transfer check on small real studies: what it returns, and the ways to call it."""

import math
from dataclasses import dataclass, replace

import pytest
from torch import nn

from mutransfer.errors import ConfigError
from mutransfer.intervals import Interval, Slope
from mutransfer.theory.content import named_by_content
from mutransfer.theory.rules import MUP
from mutransfer.training.events import RunStarted
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.curves.optimum import Optimum
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.transfer.search.tune import tune
from mutransfer.transfer.verification.result import Verification
from mutransfer.transfer.verification.verdict import Movement, Verdict
from mutransfer.transfer.verification.verify import verify

SEARCH = {"space": {"lr": (2.0**-6, 2.0**-2)}, "optimizer": "adam", "steps": 10, "seeds": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def record():
    return Record()


@pytest.fixture(scope="module")
def tuned(digits, record):
    return tune(digits, base_width=8, record=record, **SEARCH)


@pytest.fixture(scope="module")
def verified(digits, tuned, record):
    return verify(digits, tuned, widths=[32, 16], record=record, device="cpu")


def test_the_result_has_the_documented_fields(verified):
    assert isinstance(verified, Verification)
    assert isinstance(verified.verdict, Verdict)
    assert isinstance(verified.movement, Movement)
    assert isinstance(verified.drift, Slope)
    assert {type(o) for o in verified.optima.values()} == {Optimum}
    assert {type(r) for r in verified.regret.values()} == {Interval}
    assert {type(s) for s in verified.sweeps.values()} == {Sweep}
    assert verified.exit_code in (0, 1, 3)


def test_the_base_width_is_added_and_widths_are_in_order(verified):
    assert list(verified.optima) == list(verified.regret) == list(verified.sweeps) == [8, 16, 32]


def test_the_tuned_learning_rate_is_run_at_every_width_with_every_seed(verified, tuned):
    assert verified.transferred_log2_lr == pytest.approx(math.log2(tuned.best["lr"]), abs=1e-6)
    for sweep in verified.sweeps.values():
        assert len(sweep.results[verified.transferred_log2_lr]) == 2


def test_the_optimum_at_base_width_is_in_the_middle_of_what_was_tuned(verified, tuned):
    # The same runs and those at the transferred learning rate itself: the estimate moves by less than its interval.
    assert tuned.optimum.low <= verified.optima[8].log2_lr <= tuned.optimum.high


def test_the_movement_at_the_transferred_learning_rate_is_that_of_its_runs(verified):
    runs = verified.sweeps[32].results[verified.transferred_log2_lr]
    assert verified.feature_change["1"][32] == tuple(r.movement["1"] for r in runs)
    assert set(verified.feature_change) == {"1"}  # the readout's outputs are no features


def test_a_verification_done_twice_makes_no_new_run(digits, tuned, verified, record):
    started = []
    again = verify(
        digits,
        tuned,
        widths=[16, 32],
        record=record,
        device="cpu",
        sink=lambda e: started.append(e) if isinstance(e, RunStarted) else None,
    )
    assert started == []
    assert again == verified


def test_a_control_shares_the_runs_at_base_width(digits, tuned, verified, record):
    started = []
    control = verify(
        digits,
        tuned,
        widths=[16],
        parameterization="sp",
        record=record,
        device="cpu",
        sink=lambda e: started.append(e.spec) if isinstance(e, RunStarted) else None,
    )
    assert control.parameterization == "sp"
    assert {(s.width, s.parameterization) for s in started} == {(16, "sp")}
    assert control.sweeps[8].results == verified.sweeps[8].results  # the optimum also depends on the pooled noise


def test_hyperparameters_alone_may_be_verified_without_a_search(digits, record):
    found = verify(
        digits,
        {"lr": 0.2, "momentum": 0.5},
        base_width=8,
        widths=[16],
        optimizer="sgd",
        steps=3,
        seeds=2,
        record=record,
        device="cpu",
    )
    transferred = round(math.log2(0.2), 6)
    assert found.parameterization == "mup"
    assert found.transferred_log2_lr == transferred
    for sweep in found.sweeps.values():  # four octaves to each side of what was given
        assert min(sweep.results) <= transferred - 4 <= transferred + 4 <= max(sweep.results)
        assert sweep.template.hyperparameters["momentum"] == 0.5


def test_the_grid_and_the_seeds_may_be_given(digits, tuned, record):
    found = verify(digits, tuned, widths=[16], grid=[-6.0, -4.0, -2.0], seeds=[5, 6], record=record, device="cpu")
    assert {-6.0, -4.0, -2.0} <= set(found.sweeps[16].results)
    assert found.sweeps[16].seeds == (5, 6)


def test_a_table_of_the_users_own_that_was_tuned_is_verified(digits, record):
    mine = replace(MUP, name="mine")
    tuned = tune(digits, base_width=8, parameterization=mine, record=record, **SEARCH)
    found = verify(digits, tuned, widths=[16], record=record, device="cpu")
    same = verify(digits, tuned, widths=[16], parameterization="mup", record=record, device="cpu")
    assert found.parameterization == named_by_content(mine).name
    assert [o.log2_lr for o in found.optima.values()] == [o.log2_lr for o in same.optima.values()]


@dataclass(frozen=True, kw_only=True)
class TwoWidths(DigitsMLP):
    """A width is a mapping: the first layer's and the second's."""

    def build(self, width, /):
        d, ff = width["d"], width["ff"]
        return nn.Sequential(nn.Flatten(), nn.Linear(64, d), nn.ReLU(), nn.Linear(d, ff), nn.ReLU(), nn.Linear(ff, 10))


def test_widths_may_be_mappings():
    task = TwoWidths(batch_size=32, n_train=256)
    base, wide = {"d": 8, "ff": 16}, {"d": 16, "ff": 32}
    record = Record()
    tuned = tune(task, base_width=base, record=record, **{**SEARCH, "steps": 3})
    found = verify(task, tuned, widths=[wide], record=record, device="cpu")
    assert list(found.optima) == ["d=8,ff=16", "d=16,ff=32"]
    assert found.sweeps["d=16,ff=32"].template.width == wide
    assert "width d=16,ff=32" in found.sentence or found.verdict in (Verdict.UNSTABLE, Verdict.EDGE)


@dataclass(frozen=True, kw_only=True)
class FrozenFirstLayer(DigitsMLP):
    def build(self, width, /):
        model = super().build(width)
        model[1].requires_grad_(False)
        return model


def test_a_module_that_cannot_move_does_not_count_as_lazy():
    task = FrozenFirstLayer(hidden_layers=2, batch_size=32, n_train=256)
    record = Record()
    tuned = tune(task, base_width=8, record=record, **{**SEARCH, "steps": 3})
    found = verify(task, tuned, widths=[16, 32], record=record, device="cpu")
    assert set(found.feature_change) == {"3"}
    assert math.isfinite(found.overall_features.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"widths": []}, "at least one width besides the base 8"),
        ({"widths": [8]}, r"at least one width besides the base 8, found \[8\]"),
        ({"widths": [16], "sheduler": "linear"}, "not a training setting: .*sheduler"),
        ({"widths": [16], "steps": 0}, "steps must be at least 1"),
    ],
)
def test_what_cannot_be_verified_is_refused(digits, tuned, options, complaint):
    started = []
    with pytest.raises(ConfigError, match=complaint):
        verify(digits, tuned, sink=started.append, device="cpu", **options)
    assert started == []


def test_hyperparameters_alone_need_their_base_width(digits):
    with pytest.raises(ConfigError, match="verify needs base_width"):
        verify(digits, {"lr": 0.1}, widths=[16])
