"""What curves of all widths say together: tolerances, and regrets that begin where the transferred rate is."""

import numpy as np
import pytest

from mutransfer.transfer.curves.optimum import fit_curve
from mutransfer.transfer.verification.evidence import DRIFT_BOUNDS, tolerated_drift, weigh

GRID = [float(x) for x in range(-11, -1)]
SIZES = [64, 128, 256, 512]


def curves(*, shift=0.0, k=0.2, noise=0.02, seeds=4, gain=0.3):
    rng = np.random.default_rng(0)
    return {
        width: {
            x: np.exp(k * (x + 6.4 - shift * j) ** 2 - gain * j - 3 + rng.normal(0, noise, seeds))
            for x in (*GRID, -6.4)
        }
        for j, width in enumerate(SIZES)
    }


def weighed(**law):
    return weigh(curves(**law), dict.fromkeys(SIZES, 1e3), SIZES, -6.4)


def test_the_drift_and_the_regrets_that_curves_were_made_with_are_found():
    found = weighed(shift=-0.5)
    assert found.drift.low <= -0.5 <= found.drift.high
    assert found.drift.high - found.drift.low < 0.3
    for j, width in enumerate(SIZES):  # k times the octaves squared; the curve between its points errs by some 0.03
        assert found.regret[width].value == pytest.approx(0.2 * (0.5 * j) ** 2, abs=0.05)


def test_the_tolerance_is_a_tenth_of_what_width_buys_or_what_a_pair_of_runs_cannot_tell():
    assert weighed(gain=0.3).tolerance == pytest.approx(0.1 * 0.9, rel=0.1)
    # 4 widths, some 5 learning rates near the best, 4 seeds: 48 degrees of freedom, three standard errors are 31 %.
    assert weighed(gain=0.0, noise=0.1).tolerance == pytest.approx(0.1 * np.sqrt(2), rel=0.31)


def test_one_seed_has_no_regret():
    assert weighed(seeds=1).regret == {}


def test_the_tolerated_drift_costs_the_tolerance_at_the_largest_width():
    # 0.2 d^2 = 0.05 at half an octave, over 3 doublings; the grid that is searched has 12 points per octave.
    fit = fit_curve(curves(noise=0.001)[512], ceiling=1e3)
    assert tolerated_drift(fit, 0.05, 3.0) == pytest.approx(0.5 / 3, abs=0.1)
    assert tolerated_drift(fit, 1e-6, 3.0) == DRIFT_BOUNDS[0]
    assert tolerated_drift(fit, 1e6, 3.0) == DRIFT_BOUNDS[1]
