"""Sweeps of real runs: the grid grows until the minimum is inside it, and is refined around the minimum."""

import math

import pytest

from mutransfer.training.events import RunStarted, SweepFinished
from mutransfer.training.run import run
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.sweep import MAX_EXTENSIONS, REFINED, Sweep, at_lr, sweep

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def shared():
    """The runs of this file: sweeps that overlap find each other's."""
    return Record()


@pytest.fixture
def swept(digits, make_spec, shared):
    def do(grid, record=shared, sink=lambda event: None, **options):
        runner = Runner(digits, record=record, device="cpu", sink=sink)
        return sweep(runner, make_spec(steps=10), grid, SEEDS, title="a sweep", **options)

    return do


def test_a_minimum_inside_the_grid_gets_two_points_half_way_between_others_and_nothing_else(swept):
    grid = [-7.0, -6.0, -5.0, -4.0, -3.0, -2.0]
    found = swept(grid)
    new = sorted(set(found.results) - set(grid))
    assert len(new) == REFINED == 2
    assert all(x % 1 == 0.5 for x in new)
    assert found.optimum.at_edge == ""


def test_a_minimum_above_the_grid_extends_it_upwards_step_by_step(swept):
    found = swept([-8.0, -7.0, -6.0])
    assert {-5.0, -4.0} <= set(found.results)
    assert min(found.results) == -8.0
    means = {x: sum(losses) for x, losses in found.curve.items()}
    assert means[max(means)] > min(means.values())  # and no further than until a point is worse
    assert found.optimum.at_edge == ""


def test_a_minimum_below_the_grid_extends_it_downwards(swept):
    found = swept([-2.0, -1.0, 0.0])
    assert {-3.0, -4.0, -5.0} <= set(found.results)
    assert max(found.results) == 0.0
    assert found.optimum.at_edge == ""


def test_after_the_last_extension_the_optimum_is_flagged_as_on_the_border(swept):
    found = swept([-14.0, -13.0, -12.0])
    assert max(found.results) == -12.0 + MAX_EXTENSIONS
    assert found.optimum.at_edge == "high"


def test_an_extended_sweep_finds_the_optimum_of_one_that_held_it_from_the_start(swept):
    # Both hold the same points around the minimum; at most they differ by a step of the refined grid.
    assert swept([-8.0, -7.0, -6.0]).optimum.log2_lr == pytest.approx(
        swept([-7.0, -6.0, -5.0, -4.0, -3.0, -2.0]).optimum.log2_lr, abs=0.5
    )


def test_the_spacing_of_the_grid_is_kept_when_it_is_extended_and_halved_when_refined(swept):
    found = swept([-6.0, -5.5, -5.0])
    added = sorted(set(found.results) - {-6.0, -5.5, -5.0})
    assert {x % 0.25 for x in added} == {0.0}
    assert -4.5 in added


def test_points_that_are_asked_for_are_run_too(swept):
    found = swept([-7.0, -6.0, -5.0, -4.0, -3.0], also=[-5.3, -4.0])
    assert -5.3 in found.results
    assert len(found.results[-4.0]) == len(SEEDS)


def test_results_are_those_of_single_runs_in_the_order_of_the_seeds(swept, digits, make_spec):
    found = swept([-7.0, -6.0, -5.0, -4.0, -3.0])
    for seed, result in zip(SEEDS, found.results[-6.0], strict=True):
        alone = run(at_lr(make_spec(steps=10), -6.0, seed), digits)
        assert result.final_loss == alone.final_loss
    assert found.curve[-6.0] == [r.final_loss for r in found.results[-6.0]]


def test_a_sweep_done_twice_makes_no_new_run(swept):
    first = swept([-7.0, -6.0, -5.0, -4.0, -3.0])
    started = []
    again = swept([-7.0, -6.0, -5.0, -4.0, -3.0], sink=lambda e: started.append(e) if isinstance(e, RunStarted) else 0)
    assert started == []
    assert again.results == first.results


def test_a_sweep_ends_by_telling_its_curve_and_optimum(swept):
    events = []
    found = swept([-7.0, -6.0, -5.0, -4.0, -3.0], sink=events.append)
    (told,) = [e for e in events if isinstance(e, SweepFinished)]
    assert events[-1] is told
    assert (told.curve, told.log2_lr) == (found.curve, found.optimum.log2_lr)


def test_diverged_runs_are_results_and_counted(swept):
    found = swept([-2.0, -1.0, 0.0, 1.0])
    assert [r.outcome for r in found.results[1.0]] == [Outcome.DIVERGED] * 2
    assert found.curve[1.0] == [math.inf, math.inf]
    assert (found.diverged_at(1.0), found.diverged_at(-2.0)) == (2, 0)


def test_the_ceiling_is_the_mean_loss_before_training_of_runs_that_have_one(make_spec):
    starts = [2.0, 3.0, math.inf]
    runs = [RunResult(outcome=Outcome.OK, initial_loss=s, final_loss=1.0, best_loss=1.0) for s in starts]
    assert Sweep(template=make_spec(), seeds=(0, 1, 2), results={-1.0: runs}).ceiling == 2.5


def test_another_learning_rate_leaves_the_other_hyperparameters(make_spec):
    spec = at_lr(make_spec(hyperparameters={"lr": 1.0, "beta1": 0.8}), -3.0, 7)
    assert spec.hyperparameters == {"lr": 0.125, "beta1": 0.8}
    assert spec.seed == 7


def test_a_lowest_point_outside_the_grid_is_bracketed_too(swept):
    # The transferred rate lies beyond the range and is the best there is: the sweep goes on from it.
    found = swept([-10.0, -9.0, -8.0], also=[-4.5])
    assert max(found.results) > -4.5
    assert found.optimum.at_edge == ""
