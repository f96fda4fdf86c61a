"""The cost of a study: operations and seconds of widths that were never built, from those that were."""

import time
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from mutransfer.study.step_times import Estimate, StepTimes
from mutransfer.training.flops import flops_per_step
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.tasks.digits import DigitsMLP


@dataclass(frozen=True)
class Conv:
    def build(self, width, /):
        return nn.Sequential(
            nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.Flatten(), nn.Linear(16 * width, 3)
        )

    def batch(self, seed, step, /):
        return torch.ones(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)

    def loss(self, model, batch, /):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model, /):
        return float(self.loss(model, self.batch(0, 0)).detach())


@dataclass(frozen=True)
class Attention(Conv):
    """Its products of queries and keys have no parameters, and an embedding's parameters no products."""

    def build(self, width, /):
        return nn.Sequential(nn.Embedding(50, width), nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True))

    def batch(self, seed, step, /):
        return (torch.arange(48).reshape(2, 24),)

    def loss(self, model, batch, /):
        return model(batch[0]).square().mean()


@dataclass(frozen=True)
class Slow(DigitsMLP):
    """A step that takes a millisecond per unit of width, whatever the machine is."""

    def loss(self, model, batch, /):
        time.sleep(1e-3 * model[-1].in_features)
        return super().loss(model, batch)


def step_times(task, *widths, steps=20, plain=None):
    spec = RunSpec(task="t", width=widths[0], base_width=widths[0], hyperparameters={"lr": 1e-3}, steps=steps)
    plans = {str(w): infer_plan(replace(spec, width=w), plain or task) for w in widths}
    return StepTimes(spec, task, plans, torch.device("cpu")), plans, spec


@pytest.mark.parametrize("task", [DigitsMLP(hidden_layers=2), DigitsMLP(hidden_layers=4), Conv(), Attention()])
def test_operations_of_a_width_that_was_not_timed_are_those_that_are_counted_there(task):
    times, plans, spec = step_times(task, 32, 64, 256)
    times.timed.pop("256", None)
    assert list(times.timed) == ["32", "64"]
    counted = flops_per_step(replace(spec, width=256), task, plans["256"])
    assert times.flops(256) == pytest.approx(counted, rel=0.05)


def test_a_width_that_was_timed_has_what_was_measured():
    times, plans, spec = step_times(Slow(hidden_layers=1, n_train=256), 16, 32)
    assert times.flops(32) == flops_per_step(replace(spec, width=32), times.task, plans["32"])
    assert 0.032 < times.seconds(32).usual < 0.2
    assert times.seconds(32).least <= times.seconds(32).usual <= times.seconds(32).most


def test_wide_models_are_not_tried_and_lie_within_their_bounds():
    plain = DigitsMLP(hidden_layers=1, n_train=256)
    times, _, _ = step_times(Slow(hidden_layers=1, n_train=256), 64, 128, 4096, 65536, plain=plain)
    started = time.perf_counter()
    assert not {"4096", "65536"} & times.timed.keys()
    assert time.perf_counter() - started < 10
    for width in (4096, 65536):
        seconds = times.seconds(width)
        assert seconds.least <= 1e-3 * width <= seconds.most  # all that a step takes, all but
        assert seconds.least <= seconds.usual <= seconds.most
    assert times.ends(65536) > times.ends(128)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_are_timed_too(steps):
    times, _, _ = step_times(DigitsMLP(hidden_layers=1, n_train=256), 8, 16, steps=steps)
    assert times.seconds(16).usual > 0


def test_estimates_add_up_and_keep_their_bounds():
    total = Estimate(2, 1, 3) + Estimate(20, 10, 30).times(2)
    assert total == Estimate(42, 21, 63)
