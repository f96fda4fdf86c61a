"""The runner does what the record does not hold, and an interruption loses nothing that was finished."""

import pytest

from mutransfer.errors import ConfigError
from mutransfer.training.events import PhaseFinished, PhaseStarted, RunFinished, RunStarted, Scalars
from mutransfer.training.run import run
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner


class Events(list):
    """A sink that keeps every event."""

    def __call__(self, event):
        self.append(event)

    def of(self, kind):
        return [e for e in self if isinstance(e, kind)]


@pytest.fixture
def specs(make_spec):
    return [make_spec(log2_lr=x, seed=s) for x in (-7.0, -6.0) for s in (0, 1)]


def runner(task, record, sink):
    return Runner(task, record=record, device="cpu", sink=sink)


def test_results_come_in_the_order_of_the_specs_and_are_those_of_single_runs(digits, specs):
    results = runner(digits, None, Events()).perform(specs[::-1], "some")
    assert [r.train_curve for r in results] == [run(s, digits).train_curve for s in specs[::-1]]


def test_what_is_recorded_is_not_done_again(digits, specs, database):
    events = Events()
    first = runner(digits, Record(database), Events()).perform(specs[:3], "some")
    results = runner(digits, Record(database), events).perform(specs, "all")
    (phase,) = events.of(PhaseStarted)
    assert (phase.title, list(phase.queued), phase.already_done) == ("all", specs[3:], 3)
    assert [e.spec for e in events.of(RunStarted)] == specs[3:]
    assert results[:3] == first  # seconds included: no clock was started anew


def test_the_events_of_a_run_come_in_order(digits, specs):
    events = Events()
    runner(digits, None, events).perform(specs[:1], "one")
    kinds = [type(e) for e in events if not isinstance(e, Scalars)]
    assert kinds == [PhaseStarted, RunStarted, RunFinished, PhaseFinished]
    assert {type(e) for e in events[2:-2]} == {Scalars}


def test_a_spec_asked_for_twice_is_done_once(digits, specs):
    events = Events()
    one, two = runner(digits, None, events).perform([specs[0], specs[0]], "twice")
    assert one == two
    assert len(events.of(RunStarted)) == 1


def test_at_base_width_one_run_serves_all_parameterizations(digits, make_spec):
    events = Events()
    specs = [make_spec(width=8, parameterization=name) for name in ("mup", "sp", "ntk")]
    results = runner(digits, None, events).perform(specs, "base")
    assert len(events.of(RunStarted)) == 1
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("done", "when"), [(1, RunStarted), (3, Scalars), (2, RunFinished)])
def test_after_an_interruption_only_the_rest_is_done(digits, specs, database, done, when):
    finished = []

    def interrupt(event):
        if isinstance(event, RunFinished):
            finished.append(event)
        if isinstance(event, when) and len(finished) == done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(digits, Record(database), interrupt).perform(specs, "all")
    events = Events()
    record = Record(database)
    assert len(record) == done
    results = runner(digits, record, events).perform(specs, "all")
    assert [e.spec for e in events.of(RunStarted)] == specs[done:]
    assert results[:done] == [e.result for e in finished]
    assert len(Record(database)) == len(specs)


def test_a_plan_is_not_taken_for_one_of_another_weight_decay_or_eps_rule(make_spec):
    one = runner(DigitsMLP(hidden_layers=2), None, Events())
    usual = one.plan(make_spec(optimizer="adamw"))["3.weight"]
    standard = one.plan(make_spec(optimizer="adamw", wd_policy="standard"))["3.weight"]
    plain_eps = one.plan(make_spec(optimizer="adamw", scale_eps=False))["3.weight"]
    # A hidden matrix at twice the base width: Adam's learning rate is halved, and eps with it.
    assert (usual.wd_mult, standard.wd_mult) == (2.0, 1.0)
    assert (usual.eps_mult, plain_eps.eps_mult) == (0.5, 1.0)


def test_a_plan_is_inferred_once_for_specs_that_differ_in_seed_and_learning_rate(digits, make_spec):
    one = runner(digits, None, Events())
    assert one.plan(make_spec()) is one.plan(make_spec(log2_lr=-3.0, seed=5))


def test_what_is_no_task_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="dict is not a Task: it has no build, batch, loss, evaluate"):
        Runner({})
