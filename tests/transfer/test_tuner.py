"""The search of the learning rate alone: an even grid, refined; what is returned and what is refused."""

import math
from dataclasses import replace

import pytest

from mutransfer.errors import ConfigError
from mutransfer.theory.content import named_by_content
from mutransfer.theory.rules import MUP
from mutransfer.training.events import RunStarted
from mutransfer.training.spec import Outcome
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.space import Range
from mutransfer.transfer.search.tune import tune

SPACE = {"lr": (2.0**-7, 2.0**-2)}


@pytest.fixture(scope="module")
def record():
    """The runs of this file: searches that overlap find each other's."""
    return Record()


@pytest.fixture
def tuned(digits, record):
    def do(space=SPACE, **options):
        known = {"base_width": 8, "optimizer": "adam", "steps": 10, "seeds": 2, "device": "cpu", "record": record}
        return tune(digits, space=space, **{**known, **options})

    return do


def test_the_grid_is_even_over_the_range_and_refined_by_half_steps(tuned):
    found = tuned()
    points = sorted(found.sweep.results)
    grid = [float(x) for x in range(-7, -1)]
    refined = sorted(set(points) - set(grid))
    assert set(grid) <= set(points)
    assert [x % 1 for x in refined] == [0.5, 0.5]
    assert all(abs(x - found.optimum.log2_lr) < 2 for x in refined)


def test_the_best_learning_rate_is_the_optimum_of_the_sweep_in_natural_units_with_its_interval(tuned):
    found = tuned()
    assert found.best == {"lr": 2.0**found.optimum.log2_lr}
    assert found.interval == {"lr": (2.0**found.optimum.low, 2.0**found.optimum.high)}
    assert found.interval["lr"][0] <= found.best["lr"] <= found.interval["lr"][1]
    assert found.optimum == found.sweep.optimum


def test_the_best_learning_rate_is_near_the_lowest_point_of_the_curve(tuned):
    found = tuned()
    means = {x: sum(losses) for x, losses in found.sweep.curve.items()}
    assert found.optimum.log2_lr == pytest.approx(min(means, key=means.get), abs=1.0)


def test_the_study_holds_a_trial_per_point_with_the_mean_loss_over_seeds(tuned):
    found = tuned()
    trials = {t.params["lr"]: t.value for t in found.study.trials}
    assert len(trials) == len(found.study.trials)
    assert trials == pytest.approx(
        {2.0**x: sum(min(v, found.sweep.ceiling) for v in losses) / 2 for x, losses in found.sweep.curve.items()},
        rel=1e-12,
    )


def test_the_template_is_the_run_to_transfer(tuned):
    found = tuned(fixed={"beta1": 0.8}, schedule="linear")
    assert (found.template.width, found.template.base_width, found.template.schedule) == (8, 8, "linear")
    assert found.template.hyperparameters == found.best
    assert found.best["beta1"] == 0.8


def test_a_search_done_twice_makes_no_new_run_and_no_second_trial(tuned):
    first = tuned()
    started, n_trials = [], len(first.study.trials)
    again = tuned(sink=lambda e: started.append(e) if isinstance(e, RunStarted) else None)
    assert started == []
    assert (again.best, again.interval) == (first.best, first.interval)
    assert len(again.study.trials) == n_trials


def test_a_finished_search_is_found_again_in_the_file(tuned, database):
    space = {"lr": (2.0**-5, 2.0**-3)}
    first = tuned(space, record=Record(database), steps=3)
    started = []
    again = tuned(
        space, record=Record(database), steps=3, sink=lambda e: started.append(e) if isinstance(e, RunStarted) else 0
    )
    assert started == []
    assert again.best == first.best
    assert len(again.study.trials) == len(first.sweep.results)


def test_at_base_width_the_parameterization_makes_no_difference(tuned):
    found = {name: tuned(parameterization=name) for name in ("mup", "sp", "as_is")}
    assert found["mup"].best == found["sp"].best == found["as_is"].best
    assert [f.template.parameterization for f in found.values()] == list(found)


def test_a_table_of_the_users_own_can_be_tuned(tuned):
    mine = replace(MUP, name="mine")
    found = tuned(parameterization=mine)
    assert found.template.parameterization == named_by_content(mine).name
    assert found.best == tuned().best


def test_diverged_runs_are_recorded_as_results(tuned, database):
    found = tuned({"lr": Range(low=2.0**-2, high=2.0**4, spacing=2.0)}, record=Record(database))
    results = found.sweep.results[4.0]
    assert [(r.outcome, r.final_loss) for r in results] == [(Outcome.DIVERGED, math.inf)] * 2
    again = Record(database)
    assert {again.find(replace(found.template, hyperparameters={"lr": 16.0}, seed=s)).outcome for s in (0, 1)} == {
        Outcome.DIVERGED
    }
    worst = max(found.study.trials, key=lambda t: t.params["lr"])
    assert worst.value == pytest.approx(found.sweep.ceiling, rel=0.2)  # each seed starts at its own loss


def test_seeds_may_be_named(tuned):
    assert tuned(seeds=(3, 5), steps=3).seeds == (3, 5)


def test_it_prints_the_best_value_with_its_interval(tuned):
    found = tuned()
    low, high = found.interval["lr"]
    assert str(found) == f"lr = {found.best['lr']:.4g} [{low:.4g}, {high:.4g}]"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"space": {"lr": (0.01, 0.1), "learning_rate": (1, 2)}}, "adam has no hyperparameter 'learning_rate'"),
        ({"space": {"lr": (0.01, 0.1), "momentum": (0.0, 0.9)}}, "expected lr, beta1, beta2, eps"),
        ({"space": {"weight_decay": (0.01, 0.1)}}, "use adamw"),
        ({"space": {"beta1": (0.5, 0.9)}}, "lr must be positive.*found None"),
        ({"space": {}}, "the search space is empty"),
        ({"fixed": {"dropout": 0.1}}, "adam has no hyperparameter 'dropout'"),
        ({"optimizer": "muon"}, "optimizer must be one of sgd, adam, adamw, lion, nadam, found 'muon'"),
        ({"seeds": 0}, "at least one seed"),
        ({"sheduler": "linear"}, "not a training setting: .*sheduler"),
        ({"schedule": "exponential"}, "schedule must be one of"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_any_run(digits, options, complaint):
    started = []
    known = {"base_width": 8, "space": SPACE, "optimizer": "adam", "steps": 3, "sink": started.append}
    with pytest.raises(ConfigError, match=complaint):
        tune(digits, **{**known, **options})
    assert started == []
