"""A watched run is the same run, with looks at what moved; alone or in a population it sees the same."""

import json
from dataclasses import dataclass, replace

import pytest
import torch

from mutransfer.parameterization.model.factory import build_at
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.training.run import infer_plan, run
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.training.stacked.population import Population
from mutransfer.training.task import PROBE_SEED
from tests.training.tiny import Tiny, tiny_spec

SPEC = tiny_spec(width=16, steps=16, hyperparameters={"lr": 0.3}, watched=True)


@pytest.fixture(scope="module")
def plan():
    return infer_plan(SPEC, Tiny())


@pytest.fixture(scope="module")
def watched(plan):
    return run(SPEC, Tiny(), plan=plan)


def test_watching_changes_nothing_else_nor_the_key(watched, plan):
    plain = run(replace(SPEC, watched=False), Tiny(), plan=plan)
    assert plain.looks == ()
    assert replace(watched, looks=(), seconds=0.0) == replace(plain, seconds=0.0)
    assert replace(SPEC, watched=False).key == SPEC.key


def test_there_are_four_looks_and_the_last_agrees_with_the_runs_movement(watched):
    assert [look.step for look in watched.looks] == [0, 2, 8, 16]
    last = watched.looks[-1]
    for module, relative in watched.movement.items():
        assert last.change[module] / watched.looks[0].size[module] == pytest.approx(relative, rel=1e-5)
    drifts = [look.kernel_drift for look in watched.looks]
    assert drifts[0] == 0.0
    assert drifts == sorted(drifts)
    assert drifts[-1] > 0.05
    assert all(-1 <= look.target_alignment <= 1 for look in watched.looks)
    assert last.propagated["0"] == 0.0
    assert last.propagated["2"] > 0.0


def test_populations_see_what_single_runs_see(plan):
    specs = [
        replace(SPEC, seed=seed, hyperparameters={"lr": lr}, watched=lr == 0.3) for seed in (0, 1) for lr in (0.1, 0.3)
    ]
    together = {spec.key: result for spec, result in Population(specs, Tiny(), plan=plan).train()}
    for spec in specs:
        alone, stacked = run(spec, Tiny(), plan=plan), together[spec.key]
        assert alone.initial_loss == pytest.approx(stacked.initial_loss, rel=1e-6)
        assert len(stacked.looks) == (4 if spec.watched else 0)
        for one, other in zip(alone.looks, stacked.looks, strict=True):
            assert one.step == other.step
            for quantity in ("size", "change", "effective", "propagated", "alignment"):
                assert getattr(one, quantity) == pytest.approx(getattr(other, quantity), rel=1e-3, abs=1e-6)
            assert one.kernel_drift == pytest.approx(other.kernel_drift, rel=1e-3, abs=1e-6)
            assert one.target_alignment == pytest.approx(other.target_alignment, rel=1e-3)


def test_results_survive_json_and_records_from_before_there_were_looks_load(watched):
    stored = json.loads(json.dumps(watched.to_dict(), allow_nan=False))
    assert RunResult.from_dict(stored) == watched
    del stored["looks"]
    assert RunResult.from_dict(stored) == replace(watched, looks=())


def test_a_run_that_diverges_keeps_the_looks_it_had(plan):
    result = run(replace(SPEC, hyperparameters={"lr": 1e30}), Tiny(), plan=plan)
    assert result.outcome is Outcome.DIVERGED
    assert result.looks[0].step == 0
    json.dumps([look.size for look in result.looks], allow_nan=False)


def test_no_more_examples_are_looked_at_than_a_micro_batch_has(plan):
    cut, whole = (run(replace(SPEC, accumulate=n, steps=1), Tiny(), plan=plan).looks[0] for n in (3, 1))
    assert cut.size["0"] == pytest.approx(_first_layer(4), rel=1e-6)
    assert whole.size["0"] == pytest.approx(_first_layer(12), rel=1e-6)


def _first_layer(examples):
    model = first_model()
    return float(model[0](Tiny().batch(PROBE_SEED, 0)[0][:examples]).detach().square().mean().sqrt())


def first_model():
    with preserved_random_state():
        seed_everything(SPEC.seed)
        return apply(build_at(Tiny().build, SPEC.width), infer_plan(SPEC, Tiny()))


@dataclass(frozen=True)
class Twice(Tiny):
    """Calls its model twice for one loss: there is no kernel of its outputs."""

    def loss(self, model, batch, /):
        return super().loss(model, batch) + super().loss(model, (batch[0].flip(1), batch[1]))


def test_a_task_without_a_kernel_is_watched_without_one():
    result = run(SPEC, Twice())
    assert len(result.looks) == 4
    assert result.looks[-1].kernel_drift is None
    assert result.looks[-1].effective["2"] > 0.0


def test_the_random_state_is_left_alone(plan):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(SPEC, Tiny(), plan=plan)
    assert torch.equal(torch.get_rng_state(), before)
