"""Doing many runs: together where that is faster, one by one where it is not or cannot be."""

import logging

import pytest
import torch

from mutransfer.training import dispatch
from mutransfer.training.dispatch import Dispatcher
from mutransfer.training.events import Note, RunStarted
from mutransfer.training.run import run
from mutransfer.training.stacked import costs as cost_model
from mutransfer.training.stacked import timing
from mutransfer.training.stacked.costs import Costs
from mutransfer.training.stacked.population import Population
from mutransfer.transfer.runs.runner import Runner

from .test_population import Branches, With, assert_same, members
from .tiny import Tiny

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_timed(monkeypatch):
    monkeypatch.setattr(Dispatcher, "_timed", {})


@pytest.fixture
def together(monkeypatch):
    """A stack takes as long as a single run, so that everything is done together; compiling it would take for ever."""
    costs = Costs(single=1.0, stacked={8: 1.0, 32: 1.0}, tensors=10**6)
    monkeypatch.setattr(dispatch, "measure_costs", lambda *args, **options: costs)


def perform(specs, task=None, *, sink=lambda event: None, **options):
    runner = Runner(task or Tiny(), device=CPU)  # infers a plan once for all specs that share it
    return list(Dispatcher(runner.task, device=CPU, sink=sink, **options).perform(specs, runner.plan))


def test_runs_done_together_are_those_done_alone(together, float64):
    specs = [*members("adam"), *members("sgd"), *members("adam", steps=9), *members("adam", width=8)]
    found = {spec.key: result for spec, result in perform(specs)}
    assert_same([found[spec.key] for spec in specs], [run(spec, Tiny()) for spec in specs])


def test_a_sweep_is_trained_as_one_program_and_the_screen_says_so(together, monkeypatch):
    sizes = []

    class Counted(Population):
        def __init__(self, specs, *args, **kwargs):
            sizes.append(len(specs))
            super().__init__(specs, *args, **kwargs)

    monkeypatch.setattr(dispatch, "Population", Counted)
    events = []
    specs = members("adam", lrs=[2.0**-i for i in range(12, 2, -1)], seeds=(0, 1), eval_every=0)
    assert len(perform(specs, sink=events.append)) == 20
    assert sizes == [20]
    (note,) = (event for event in events if isinstance(event, Note))
    assert note.text == (
        "width 32: runs are trained up to 20 at once, 20.0x faster than one by one (1e+03 ms per step); compiling them "
        "would pay beyond about 7e+06 steps"
    )
    assert note.data == {"members": 20}
    assert len([event for event in events if isinstance(event, RunStarted)]) == 20
    assert perform(specs[:4], sink=events.append)  # timed once
    assert len([event for event in events if isinstance(event, Note)]) == 1


def test_one_by_one_where_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(dispatch, "Population", None)
    specs = members("adam")
    assert [spec for spec, _ in perform(specs, members=1)] == specs


def test_a_model_that_cannot_be_stacked_is_trained_one_by_one_with_the_reason_logged(together, caplog):
    specs = members("adam")
    task = With(lambda width: Branches())
    with caplog.at_level(logging.WARNING, "mutransfer"):
        found = perform(specs, task)
    assert_same([result for _, result in found], [run(spec, task) for spec in specs])
    assert "trained one by one: RuntimeError: vmap" in caplog.text


def test_what_a_stack_has_finished_is_kept_where_the_rest_fails(together, monkeypatch):
    specs = members("sgd", lrs=(0.01, 1e38), seeds=(0, 5))
    step = Population.step

    def fails(self, i):
        if i == 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, i)

    monkeypatch.setattr(Population, "step", fails)
    found = perform(specs)
    assert sorted(spec.key for spec, _ in found) == sorted(spec.key for spec in specs)
    assert [spec.lr for spec, _ in found] == [1e38, 1e38, 0.01, 0.01]


def test_a_stack_that_exhausts_the_memory_is_halved(together, monkeypatch, float64):
    sizes = []
    step = Population.step

    def limited(self, i):
        sizes.append(len(self.specs))
        if len(self.specs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, i)

    monkeypatch.setattr(Population, "step", limited)
    specs = members("adam")
    found = {spec.key: result for spec, result in perform(specs)}
    assert_same([found[spec.key] for spec in specs], [run(spec, Tiny()) for spec in specs])
    assert set(sizes) == {6, 3}


def test_timings_are_remembered_per_width(monkeypatch):
    asked = []
    measure = timing.measure_costs

    def counted(specs, *args, **kwargs):
        asked.append(specs[0].width)
        return measure(specs, *args, **kwargs)

    monkeypatch.setattr(dispatch, "measure_costs", counted)
    for name in ("mup", "sp"):
        for width in (16, 32):
            lrs = [2.0**-i for i in range(12, 2, -1)]
            perform(members("adam", lrs=lrs, width=width, parameterization=name, steps=42, eval_every=0))
    assert asked == [16, 32]


def test_stacks_that_only_pay_compiled_give_way_where_compiling_fails(monkeypatch, caplog, float64):
    costs = Costs(single=1e-3, stacked={8: 1e-3 * 9}, tensors=6)
    monkeypatch.setattr(dispatch, "measure_costs", lambda *args, **options: costs)
    monkeypatch.setattr(cost_model, "SECONDS_PER_TENSOR", 0.0)
    monkeypatch.setattr(torch, "compile", lambda *args, **options: None)  # a platform without a compiler
    specs = members("adam")
    with caplog.at_level(logging.WARNING, "mutransfer"):
        found = perform(specs)
    assert_same([result for _, result in found], [run(spec, Tiny()) for spec in specs])
    assert "compiling it did not change that" in caplog.text
