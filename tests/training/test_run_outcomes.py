"""How runs end: divergence, evaluations on the way, events."""

import math
from dataclasses import dataclass

import pytest
import torch

from mutransfer.training.batches import mean_loss
from mutransfer.training.events import Scalars
from mutransfer.training.run import run
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.training.task import EVAL_SEED

from .tiny import BASE, Tiny, tiny_spec, train_by_hand


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e30), ("sgd", 1e4), ("adam", 1e30), ("adamw", 1e4)])
def test_a_huge_learning_rate_is_an_outcome_and_not_an_exception(optimizer, lr):
    result = run(tiny_spec(optimizer=optimizer, hyperparameters={"lr": lr}), Tiny())
    assert result.outcome is Outcome.DIVERGED
    assert result.final_loss == math.inf
    assert result.best_loss == result.initial_loss
    assert all(map(math.isfinite, result.movement.values()))


@dataclass(frozen=True)
class TestedOnWrongLabels(Tiny):
    """Training goes well and the evaluation gets worse."""

    __test__ = False

    def evaluate(self, model, /):
        x, y = self.batch(EVAL_SEED, 0)
        return mean_loss(self.loss, model, [(x, (y + 1) % 3)])


def test_an_end_worse_than_the_beginning_is_diverged_although_every_loss_is_finite():
    result = run(tiny_spec(), TestedOnWrongLabels())
    assert all(map(math.isfinite, result.train_curve))
    assert len(result.train_curve) == 25
    assert result.eval_curve[-1][1] > result.initial_loss
    assert (result.outcome, result.final_loss) == (Outcome.DIVERGED, math.inf)
    assert run(tiny_spec(), Tiny()).outcome is Outcome.OK


@dataclass(frozen=True)
class NanFrom(Tiny):
    """Training batches hold a NaN from a step on, the evaluation does too where it is asked to."""

    step: int = 0
    in_evaluation: bool = False

    def batch(self, seed, step, /):
        x, y = super().batch(seed, step)
        bad = self.in_evaluation if seed == EVAL_SEED else step >= self.step
        return (x * math.nan if bad else x), y


def test_a_nan_at_step_0_is_recorded():
    result = run(tiny_spec(), NanFrom())
    assert result.outcome is Outcome.DIVERGED
    assert math.isnan(result.train_curve[0])
    assert len(result.train_curve) == 1
    assert result.best_loss == result.initial_loss


def test_a_nan_in_the_first_evaluation_is_recorded():
    result = run(tiny_spec(), NanFrom(in_evaluation=True))
    assert math.isnan(result.initial_loss)
    assert (result.outcome, result.final_loss, result.best_loss) == (Outcome.DIVERGED, math.inf, math.inf)


@pytest.mark.parametrize("step", [3, 10, 24])
def test_a_nan_on_the_way_is_found_and_stops_the_run_within_ten_steps(step):
    result = run(tiny_spec(), NanFrom(step=step))
    assert result.outcome is Outcome.DIVERGED
    finite = [math.isfinite(x) for x in result.train_curve]
    assert finite.index(False) == step
    assert len(finite) <= min(step + 10, 25)


@dataclass(frozen=True)
class OneInfiniteLoss(Tiny):
    """The loss of step 3 alone is infinite, with gradients that are not."""

    def loss(self, model, batch, /):
        loss = super().loss(model, batch)
        return loss + math.inf if model.training and torch.equal(batch[0], self.batch(3, 3)[0]) else loss


def test_a_loss_that_is_infinite_once_is_not_forgotten():
    result = run(tiny_spec(), OneInfiniteLoss())
    assert result.train_curve[3] == math.inf
    assert math.isfinite(result.train_curve[4])
    assert result.outcome is Outcome.DIVERGED


@pytest.mark.parametrize(
    ("every", "steps", "at"),
    [(0, 10, [0, 10]), (4, 10, [0, 4, 8, 10]), (5, 10, [0, 5, 10]), (1, 3, [0, 1, 2, 3]), (99, 10, [0, 10])],
)
def test_evaluations_are_recorded_at_every_multiple_and_at_both_ends(every, steps, at):
    result = run(tiny_spec(eval_every=every, steps=steps), Tiny())
    assert [step for step, _ in result.eval_curve] == at
    assert result.eval_curve[0][1] == result.initial_loss
    assert result.eval_curve[-1][1] == result.final_loss
    assert result.best_loss == min(loss for _, loss in result.eval_curve)


def test_an_evaluation_on_the_way_is_that_of_the_run_which_ends_there():
    curve = dict(run(tiny_spec(eval_every=4, steps=9), Tiny()).eval_curve)
    assert curve[4] == run(tiny_spec(steps=4), Tiny()).final_loss
    assert curve[8] == run(tiny_spec(steps=8), Tiny()).final_loss


def test_scalars_carry_training_loss_learning_rate_and_evaluations():
    events: list[Scalars] = []
    spec = tiny_spec(
        width=4 * BASE, schedule="linear", eval_every=10, hyperparameters={"lr": 0.5}, parameterization="mup"
    )
    result = run(spec, Tiny(), sink=events.append)
    assert all(e.spec == spec for e in events)
    train = {e.step: e.values["train/loss"] for e in events if "train/loss" in e.values}
    assert train == {step: result.train_curve[step - 1] for step in (1, 11, 21, 25)}
    assert {e.step: e.values["lr"] for e in events if "lr" in e.values} == pytest.approx(
        {step: 0.5 * (1 - (step - 1) / 25) for step in (1, 11, 21, 25)}  # at base width, so that widths compare
    )
    evaluations = [(e.step, e.values["val/loss"]) for e in events if "val/loss" in e.values]
    assert evaluations == list(result.eval_curve[1:])


def test_the_cost_is_recorded():
    result = run(tiny_spec(steps=2), Tiny())
    assert isinstance(result, RunResult)
    assert result.seconds > 0
    assert (result.device, result.accumulate) == ("cpu", 1)


def test_evaluations_on_the_way_do_not_change_the_training():
    often, never = (run(tiny_spec(eval_every=every), Tiny()) for every in (1, 0))
    assert often.train_curve == never.train_curve
    torch.manual_seed(3)
    model = Tiny().build(BASE)
    by_hand, _ = train_by_hand(Tiny(), tiny_spec(), model, torch.optim.SGD(model.parameters(), lr=0.05, fused=True))
    assert often.train_curve == tuple(by_hand)
