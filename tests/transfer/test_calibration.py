"""A small part of experiments/verdict_calibration: rates of right verdicts and of intervals that hold the truth."""

import math

import pytest

from experiments.verdict_calibration.synthetic import study
from experiments.verdict_calibration.table import right

FAMILIES = ("asymmetric", "cliff", "saturating", "heavy_tails")
N_EACH = 5  # drift 0, 0, 0.25, 0.5, 1


@pytest.fixture(scope="module")
def studies():
    return [study((family, 4, i)) for family in FAMILIES for i in range(N_EACH)]


def least(rate, n):
    """Below which a rate over n is found once in a thousand."""
    return rate - 3.1 * math.sqrt(rate * (1 - rate) / n)


def test_verdicts_are_right_at_the_rate_that_is_promised(studies):
    told = [s for s in studies if s["drift"] != 0.25]
    assert sum(map(right, told)) / len(told) >= least(0.8, len(told))


def test_false_verdicts_are_as_rare_as_is_promised(studies):
    still = [s["verdict"] == "DRIFTS" for s in studies if s["drift"] == 0]
    moved = [s["verdict"] == "TRANSFERS" for s in studies if s["drift"] >= 0.5 and s["large"]]
    for false in (still, moved):
        assert len(false) >= 6
        assert sum(false) / len(false) <= 1 - least(0.95, len(false))


@pytest.mark.parametrize("quantity", ["optimum_held", "regret_held"])
def test_intervals_hold_the_truth(studies, quantity):
    # Widths of a study are not independent of each other (one law, one grid): as many as there are studies count.
    held = [h for s in studies for h in s[quantity]]
    assert sum(held) / len(held) >= least(0.9, len(studies))


def test_the_drift_is_in_its_interval(studies):
    assert sum(s["drift_held"] for s in studies) / len(studies) >= least(0.9, len(studies))
