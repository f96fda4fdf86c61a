"""How many runs are trained at once, from what was timed."""

import math

import pytest
import torch

from mutransfer.training.run import infer_plan
from mutransfer.training.stacked import timing
from mutransfer.training.stacked.costs import Costs, even_parts
from mutransfer.training.stacked.timing import measure_costs

from .test_population import Branches, With, members
from .tiny import Tiny

CPU = torch.device("cpu")


def measured(specs, task=None, **options):
    task = task or Tiny()
    return measure_costs(specs, task, plan=infer_plan(specs[0], task), device=CPU, **options)


def many(**changes):
    return members("adam", lrs=[2.0**-i for i in range(12, 2, -1)], seeds=(0, 1), **{"steps": 400, **changes})


def test_single_runs_and_stacks_are_timed():
    costs = measured(many())
    assert list(costs.stacked) == [8]
    assert costs.single > 0
    assert 0 < costs.stacked_start[8] < 8 * costs.start  # two seeds: two models are built and evaluated, not eight
    assert costs.stacked[8] > costs.single  # eight times the work
    assert costs.tensors == 6


def test_the_sentence_says_what_is_done_and_what_it_saves():
    costs = Costs(single=1e-3, stacked={8: 2e-3, 32: 4e-3}, tensors=6)
    assert costs.describe(33, 100) == (
        "runs are trained up to 33 at once, 8.0x faster than one by one (1 ms per step); compiling them would pay "
        "beyond about 1e+04 steps"
    )


def test_a_stack_that_is_slower_than_single_runs_is_not_taken():
    costs = Costs(single=1.0, stacked={8: 9.0, 32: 40.0}, tensors=6)
    assert costs.members(32, 1) == 1
    assert "faster than together" in costs.describe(32, 1)


def test_a_stack_that_is_faster_once_compiled_is_taken_for_long_sweeps_alone():
    costs = Costs(single=1e-3, stacked={8: 9e-3}, tensors=6)
    steps = int(costs.break_even(8))
    assert costs.members(32, steps // 8) == 1  # four stacks of that size share one program
    assert costs.members(32, 2 * steps) == 8
    assert "at once, compiled" in costs.describe(32, 2 * steps)
    for slower in (11e-3, 13e-3):  # where stacks lose by as much, compiling gains little
        assert Costs(single=1e-3, stacked={8: slower}, tensors=6).members(32, 10**9) == 1
    assert Costs(single=1e-3, stacked={8: 13e-3}, tensors=6).break_even(8) == math.inf


@pytest.mark.parametrize(
    ("stacked", "runs", "members"),
    [
        ({8: 2.0, 32: 4.0}, 33, 48),  # calls dominate: all at once, and one more is no second stack
        ({8: 2.0, 32: 16.0}, 32, 8),  # 32 members fall out of the cache
        ({8: 2.0, 32: 4.0}, 3, 3),
        ({8: 7.7, 32: 31.0}, 32, 1),  # within the margin
    ],
)
def test_the_number_of_members_is_the_one_that_is_done_soonest(stacked, runs, members):
    costs = Costs(single=1.0, stacked=stacked, tensors=6)
    assert min(costs.members(runs, 1), runs) == min(members, runs)


def test_between_timed_numbers_the_time_is_interpolated():
    costs = Costs(single=1.0, stacked={8: 2.0, 32: 8.0})
    assert costs.of(20) == pytest.approx(5.0)
    assert costs.of(64) == pytest.approx(16.0)
    assert costs.of(4) == pytest.approx(1.0)
    assert costs.seconds(33, 8, 10) == pytest.approx(10 * (3 * costs.of(7) + 2 * costs.of(6)))
    assert costs.seconds(33, 1, 10) == 330


def test_short_runs_are_stacked_for_what_they_do_before_their_first_step():
    costs = Costs(single=1.0, stacked={8: 9.6}, start=10.0, stacked_start={8: 12.0}, tensors=6)
    assert costs.seconds(16, 1, 5) == 16 * 15
    assert costs.seconds(16, 8, 5) == pytest.approx(2 * (12 + 5 * 9.6))
    assert costs.members(16, 5) == 8
    assert costs.members(16, 10**4) == 1  # the steps are what counts, and no faster in a stack


def test_parts_are_even():
    assert even_parts(33, 32) == [17, 16]
    assert even_parts(5, 8) == [5]


@pytest.mark.parametrize(
    ("specs", "task", "options", "reason"),
    [
        (many()[:1], Tiny(), {}, "one run"),
        (many(), Tiny(), {"most": 1}, "one at a time was asked for"),
        (many(steps=12), Tiny(), {}, "too short"),
        (many(), With(lambda width: Branches()), {}, "data-dependent control flow"),
        (many(precision="float16"), Tiny(), {}, "float16"),
    ],
    ids=["one", "asked", "short", "branches", "float16"],
)
def test_what_is_not_stacked_says_why(specs, task, options, reason):
    costs = measured(specs, task, **options)
    assert not costs.stacked
    assert reason in costs.reason
    assert costs.members(len(specs), 10**9) == 1


def test_a_stack_is_as_large_as_asked_for():
    assert list(measured(many(), most=4).stacked) == [4]


def test_members_that_do_not_fit_the_memory_are_not_tried(monkeypatch):
    monkeypatch.setattr(timing, "available_bytes", lambda device: 10_000)
    assert measured(many()).reason == "the memory holds one run at a time"


def test_a_long_step_is_not_stacked(monkeypatch):
    monkeypatch.setattr(timing, "LONG_STEP", 0.0)
    costs = measured(many())
    assert "calls no longer count" in costs.reason
    assert math.isfinite(costs.single)


class Counts(torch.nn.Module):
    """What it adds grows with the number of calls, which it counts outside torch's sight: by its weight's sign."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.calls = self.calls + 1  # put in place of the buffer, not into it
        return x * (1 + self.calls)


def test_a_member_that_does_not_train_as_alone_is_noticed():
    costs = measured(many(), With(Counts))
    assert "does not train as it does alone" in costs.reason


def test_the_random_state_is_left_untouched():
    before = torch.get_rng_state()
    measured(many(), With(lambda width: torch.nn.Dropout(0.5)))
    assert torch.equal(before, torch.get_rng_state())
