"""Compiled steps of a population: the same numbers, only where they pay, nothing lost where there is no compiler."""

import contextlib
import logging
import math
import shutil

import pytest
import torch

from mutransfer.errors import StackError
from mutransfer.training.run import infer_plan, run
from mutransfer.training.stacked.compiling import CompiledSteps, compiled
from mutransfer.training.stacked.costs import Costs
from mutransfer.training.stacked.population import Population

from .test_population import With, assert_same, members
from .tiny import Tiny


def population(specs, task=None):
    task = task or Tiny()
    return Population(specs, task, plan=infer_plan(specs[0], task))


@pytest.fixture
def quiet(recwarn):
    """Compilers warn of what is none of our business."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++", "cl"))), reason="needs a C++ compiler")
def test_a_compiled_step_has_the_same_numbers(quiet):
    specs = members("adamw", lrs=(0.003, 0.01), clip_norm=0.5, eval_every=0)
    together = population(specs)
    together.compiled = compiled(together, math.inf)
    assert together.compiled is not None
    found = {spec.key: result for spec, result in together.train()}
    for spec in specs:
        assert found[spec.key].train_curve == pytest.approx(run(spec, Tiny()).train_curve, rel=2e-4)


def test_a_compiler_that_fails_is_logged_and_training_goes_on(quiet, caplog, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", fail)
    specs = members("adam", lrs=(0.003, 0.01))
    together = population(specs)
    costs = Costs(single=1e6, stacked={4: 1e6}, tensors=6)  # whatever it takes, it pays
    with caplog.at_level(logging.WARNING, "mutransfer"):
        CompiledSteps().equip(together, costs, steps=100)
    assert together.compiled is None
    assert "no C++ compiler found" in caplog.text
    assert len(list(together.train())) == len(specs)


def test_nothing_is_compiled_that_does_not_pay(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("compiled")

    monkeypatch.setattr(torch, "compile", fail)
    costs = Costs(single=1e-3, stacked={4: 1e-3}, tensors=6)
    together = population(members("adam", lrs=(0.003, 0.01)))
    assert 10_000 < costs.break_even(4) < 100_000
    CompiledSteps().equip(together, costs, steps=int(costs.break_even(4)) - 1)
    assert together.compiled is None


@pytest.mark.parametrize("between", [lambda width: torch.nn.Dropout(0.5), torch.nn.BatchNorm1d], ids=["masks", "norm"])
def test_looking_at_what_could_be_compiled_is_no_part_of_training(between, float64):
    specs, task = members("adam"), With(between)
    together = population(specs, task)
    with contextlib.suppress(StackError):
        together.traceable_step()
    found = {spec.key: result for spec, result in together.train()}
    assert_same([found[spec.key] for spec in specs], [run(spec, task) for spec in specs])


@pytest.mark.parametrize(
    ("specs", "task", "complaint"),
    [
        (members("adam"), With(lambda width: torch.nn.Dropout(0.5)), "dropout"),
        (members("adam", accumulate=2), Tiny(), "micro-batches"),
        (members("adam", precision="bfloat16"), Tiny(), "mixed precision"),
    ],
)
def test_what_a_compiler_cannot_follow_is_refused(specs, task, complaint):
    with pytest.raises(StackError, match=complaint):
        population(specs, task).traceable_step()
