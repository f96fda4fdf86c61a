"""Slopes: exact where the law is exact, honest where it is noisy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.intervals import CONFIDENCE, Slope, fit_slope

WIDTHS = [64, 128, 256, 512, 1024]


@given(st.floats(-3, 3), st.floats(1e-6, 1e6), st.integers(1, 4), st.sampled_from([WIDTHS, [3, 17, 1000], [8, 8192]]))
def test_a_power_law_is_fitted_exactly(exponent, constant, seeds, widths):
    seeds = max(seeds, 2)
    slope = fit_slope(widths, [[constant * w**exponent] * seeds for w in widths])
    assert slope.value == pytest.approx(exponent, abs=1e-9)
    assert slope.low == pytest.approx(exponent, abs=1e-6)
    assert slope.high == pytest.approx(exponent, abs=1e-6)
    assert slope.low <= slope.value <= slope.high


def _noisy(rng: np.random.Generator, noise: float, exponent: float, seeds: int) -> list[list[float]]:
    return [[w**exponent * math.exp(noise * rng.standard_normal()) for _ in range(seeds)] for w in WIDTHS]


@pytest.mark.parametrize(("noise", "exponent", "seeds"), [(0.1, -0.5, 1), (0.5, 0.0, 3), (1.0, 1.0, 2)])
def test_the_interval_covers_the_true_slope_nine_times_in_ten(noise, exponent, seeds):
    """With lognormal noise the t-interval is exact: hits are binomial, and four standard errors are the tolerance."""
    rng, n = np.random.default_rng(0), 2000
    fits = [fit_slope(WIDTHS, _noisy(rng, noise, exponent, seeds)) for _ in range(n)]
    covered = sum(s.low <= exponent <= s.high for s in fits) / n
    assert abs(covered - CONFIDENCE) < 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / n)


def test_misses_are_as_often_above_as_below():
    rng, n = np.random.default_rng(1), 2000
    fits = [fit_slope(WIDTHS, _noisy(rng, 0.3, 0.5, 2)) for _ in range(n)]
    above, below = sum(s.low > 0.5 for s in fits), sum(s.high < 0.5 for s in fits)
    assert abs(above - below) < 4 * math.sqrt(0.1 * n)  # the difference of two halves of the misses


def test_a_bend_away_from_a_power_law_widens_the_interval():
    straight = fit_slope(WIDTHS, [[w**-0.5] * 3 for w in WIDTHS])
    bent = fit_slope(WIDTHS, [[w**-0.5 + 0.05] * 3 for w in WIDTHS])
    assert straight.high - straight.low < 1e-6
    assert bent.high - bent.low > 0.02


@pytest.mark.parametrize(
    ("widths", "values"),
    [
        ([], []),
        ([64], [[1.0, 2.0, 3.0]]),  # one width
        ([64, 128], [[1.0], [2.0]]),  # two points leave nothing for the interval
        ([64, 128, 256], [[], [1.0, 1.0], []]),
        ([64, 128, 256], [[math.nan], [1.0], [math.inf]]),
        ([64, 64, 64], [[1.0], [2.0], [3.0]]),
    ],
)
def test_too_little_to_fit_is_none(widths, values):
    assert fit_slope(widths, values) is None


def test_two_widths_with_a_second_seed_are_enough():
    assert fit_slope([64, 128], [[1.0, 1.0], [2.0]]).value == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_values_without_a_logarithm_are_left_out(bad):
    clean = [[1.0, 1.1], [0.6, 0.5], [0.2, 0.3]]
    dirty = [[1.0, bad, 1.1], [0.6, 0.5], [bad, 0.2, 0.3]]
    assert fit_slope([64, 128, 256], dirty) == fit_slope([64, 128, 256], clean)


def test_a_width_that_only_diverged_does_not_spoil_the_others():
    values = [[1.0, 1.0], [2.0, 2.0], [math.inf, math.nan]]
    assert fit_slope([64, 128, 256], values).value == pytest.approx(1.0)


def test_slopes_do_not_depend_on_the_unit_nor_on_the_order():
    rng = np.random.default_rng(2)
    values = _noisy(rng, 0.3, -0.5, 3)
    one = fit_slope(WIDTHS, values)
    other = fit_slope(WIDTHS[::-1], [[1000 * v for v in row] for row in values[::-1]])
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=1e-9)


def test_as_many_rows_as_widths_are_needed():
    with pytest.raises(ValueError, match="zip"):
        fit_slope([64, 128], [[1.0]])


def test_the_prediction_is_carried_along_and_shown():
    slope = fit_slope(WIDTHS, [[w**-0.5] * 2 for w in WIDTHS], predicted=-0.5)
    assert slope.predicted == -0.5
    assert str(slope) == "-0.50 [-0.50, -0.50] (theory -0.50)"
    assert str(Slope(value=0.1, low=-0.2, high=0.4)) == "+0.10 [-0.20, +0.40]"
