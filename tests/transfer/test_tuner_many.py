"""The search of several hyperparameters: TPE that is interrupted, resumed and repeated."""

import pytest
from optuna.trial import TrialState

from mutransfer.errors import ConfigError
from mutransfer.training.events import RunFinished, RunStarted
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.space import Choice
from mutransfer.transfer.search.tune import tune

SPACE = {"lr": (2.0**-7, 2.0**-1), "momentum": (0.0, 0.9)}


@pytest.fixture
def tuned(digits):
    def do(n_trials, record=None, **options):
        known = {"space": SPACE, "base_width": 8, "optimizer": "sgd", "steps": 3, "seeds": 2, "device": "cpu"}
        return tune(digits, n_trials=n_trials, record=record, **{**known, **options})

    return do


def points(study):
    return [(t.params["lr"], t.params["momentum"]) for t in study.get_trials(states=(TrialState.COMPLETE,))]


def test_every_trial_lies_in_the_space_and_is_run_with_every_seed(tuned):
    record = Record()
    found = tuned(7, record)
    assert len(points(found.study)) == 7
    assert len(record) == 7 * 2
    for lr, momentum in points(found.study):
        assert 2.0**-7 <= lr <= 2.0**-1
        assert 0.0 <= momentum <= 0.9
    assert len(set(points(found.study))) == 7


def test_the_best_is_one_of_the_points_inside_its_intervals_and_better_than_most(tuned):
    found = tuned(8, steps=10)
    assert (found.best["lr"], found.best["momentum"]) in points(found.study)
    assert found.interval.keys() == {"lr", "momentum"}
    for name, (low, high) in found.interval.items():
        assert low <= found.best[name] <= high
    values = sorted(t.value for t in found.study.trials)
    chosen = next(t.value for t in found.study.trials if t.params["lr"] == found.best["lr"])
    assert chosen in values[:2]  # a posterior mean may prefer the second best of 8, seed noise being what it is
    assert (found.sweep, found.optimum) == (None, None)
    assert found.template.hyperparameters == found.best


def test_the_same_search_proposes_the_same_points(tuned):
    one, two = tuned(7), tuned(7)
    assert points(one.study) == points(two.study)
    assert one.best == two.best


def test_a_resumed_search_goes_on_exactly_as_an_uninterrupted_one(tuned, database):
    tuned(3, Record(database))
    resumed = tuned(7, Record(database))
    assert points(resumed.study) == points(tuned(7).study)
    assert len(set(points(resumed.study))) == 7  # a sampler seeded anew would repeat its first proposals


def test_a_finished_search_is_not_continued(tuned, database):
    first = tuned(4, Record(database))
    started = []
    again = tuned(4, Record(database), sink=lambda e: started.append(e) if isinstance(e, RunStarted) else None)
    assert started == []
    assert (again.best, again.interval) == (first.best, first.interval)


def test_the_point_of_an_interrupted_trial_is_retried_and_its_finished_seed_kept(tuned, database):
    finished, started = [], []

    def interrupt(event):
        if isinstance(event, RunFinished):
            finished.append(event.spec)
        if isinstance(event, RunStarted) and len(finished) == 5:  # two whole trials, and one of two seeds
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(4, Record(database), sink=interrupt)
    record = Record(database)
    found = tuned(4, record, sink=lambda e: started.append(e.spec) if isinstance(e, RunStarted) else None)
    states = [t.state for t in found.study.trials]
    assert TrialState.RUNNING not in states
    assert states.count(TrialState.FAIL) == 4  # of one batch, none of which was told
    assert len(points(found.study)) == 4
    assert points(found.study)[2] == (finished[4].lr, finished[4].hyperparameters["momentum"])
    assert started[0].hyperparameters == finished[4].hyperparameters
    assert started[0].seed != finished[4].seed
    assert len(record) == 8  # four points, two seeds: nothing was done twice


def test_a_search_without_the_learning_rate_takes_the_fixed_one(tuned):
    found = tuned(3, space={"momentum": (0.0, 0.9)}, fixed={"lr": 0.05})
    assert found.best["lr"] == 0.05
    assert found.interval.keys() == {"momentum"}


def test_diverged_points_count_as_the_loss_before_training_and_are_not_best(tuned):
    found = tuned(8, space={"lr": (2.0**-6, 2.0**6), "momentum": (0.0, 0.9)}, steps=10)
    worst = max(found.study.trials, key=lambda t: t.value)
    assert worst.params["lr"] > 1
    assert 2.0 < worst.value < 4.0  # cross-entropy of ten digits before training
    assert found.best["lr"] < 1


def test_constants_schedule_warmup_and_batch_size_are_searched_together(tuned):
    space = {
        "lr": (2.0**-7, 2.0**-3),
        "lr_mult_output": (0.25, 4.0),
        "init_mult": (0.5, 2.0),
        "output_mult": (0.25, 4.0),
        "schedule": Choice(("constant", "linear")),
        "warmup_steps": Choice((0, 1, 2)),
        "batch_size": Choice((16, 32, 64)),
    }
    record = Record()
    found = tuned(16, record, space=space, optimizer="adam")
    trials = [t.params for t in found.study.trials]
    assert {name: len({t[name] for t in trials}) for name in ("schedule", "warmup_steps", "batch_size")} == {
        "schedule": 2,
        "warmup_steps": 3,
        "batch_size": 3,
    }
    assert all(found.best[name] in {t[name] for t in trials} for name in space)
    assert set(found.interval) == set(space) - {"schedule"}
    spec = found.template
    assert (spec.schedule, spec.warmup_steps) == (found.best["schedule"], found.best["warmup_steps"])
    assert spec.batch_size == found.best["batch_size"]
    assert spec.hyperparameters == {n: found.best[n] for n in ("lr", "lr_mult_output", "init_mult", "output_mult")}
    assert f"schedule = {found.best['schedule']}" in str(found)


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ({"schedule": Choice(("linear", "cosin"))}, r"space\['schedule'\]: schedule must be one of"),
        ({"warmup_steps": Choice((0, 3))}, r"space\['warmup_steps'\]: warmup_steps must be in 0..steps-1"),
        ({"lr_mult_hiddn": (0.5, 2.0)}, "sgd has no hyperparameter 'lr_mult_hiddn'.*did you mean 'lr_mult_hidden'"),
        ({"momentum": Choice(("high", "low"))}, "momentum: expected a number, found 'high'"),
    ],
)
def test_a_space_that_makes_no_run_is_refused_before_the_first(tuned, space, complaint):
    record = Record()
    with pytest.raises(ConfigError, match=complaint):
        tuned(4, record, space={"lr": (0.01, 0.1), **space})
    assert len(record) == 0
