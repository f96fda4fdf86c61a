"""Runs as members of a population beside the same runs alone, and how well the two agree."""

import pytest

from mutransfer.training.run import infer_plan, run
from mutransfer.training.stacked.population import Population

ROUNDING = 1e-11  # float64: 25 steps of a few hundred operations at 1e-16, some of them in another order


def both(specs, task, *, sink=None):
    """(results in the order of the specs together, the same alone)."""
    plan = infer_plan(specs[0], task)
    found = {
        spec.key: result
        for spec, result in Population(specs, task, plan=plan, **({"sink": sink} if sink else {})).train()
    }
    assert len(found) == len(specs)
    return [found[spec.key] for spec in specs], [run(spec, task, plan=plan) for spec in specs]


def assert_same(together, alone, rounding=ROUNDING):
    for one, other in zip(together, alone, strict=True):
        assert one.outcome is other.outcome
        assert one.train_curve == pytest.approx(other.train_curve, rel=rounding, nan_ok=True)
        assert [step for step, _ in one.eval_curve] == [step for step, _ in other.eval_curve]
        mine, its = ([loss for _, loss in result.eval_curve] for result in (one, other))
        assert mine == pytest.approx(its, rel=rounding, nan_ok=True)
        assert one.final_loss == pytest.approx(other.final_loss, rel=rounding)
        assert one.movement == pytest.approx(other.movement, rel=max(1e-5, rounding))  # in single precision
        assert (one.n_parameters, one.device, one.accumulate) == (other.n_parameters, other.device, other.accumulate)
