"""Seed noise: what all learning rates of a seed share is taken off, the rest is pooled and told apart from smooth."""

import numpy as np
import pytest

from mutransfer.transfer.curves.seed_noise import alike, noise_of_mean, pool_noise

GRID = np.arange(-8.0, -2.0)
N_WIDTHS, N_SEEDS = 200, 3


def curves(share, *, luck=0.0, noise=0.1):
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(alike(GRID, share) + 1e-9 * np.eye(len(GRID)))
    shape = 0.05 * (GRID + 5) ** 2
    return [
        shape[:, None] + noise * root @ rng.standard_normal((len(GRID), N_SEEDS)) + luck * rng.standard_normal(N_SEEDS)
        for _ in range(N_WIDTHS)
    ]


@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_the_pooled_variance_is_that_of_independent_noise_whatever_seeds_share(luck):
    found = pool_noise(curves(0.0, luck=luck), [GRID] * N_WIDTHS)
    assert found.degrees == N_WIDTHS * (N_SEEDS - 1) * (len(GRID) - 1)
    assert found.variance == pytest.approx(0.01, rel=4 * np.sqrt(2 / found.degrees))
    assert found.share == 0.0


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_noise_that_neighbours_have_in_common_is_seen(share):
    found = pool_noise(curves(share), [GRID] * N_WIDTHS)
    assert found.share == share  # of a grid in steps of 0.2, with 2000 degrees of freedom
    assert found.variance == pytest.approx(0.01, rel=0.15)


def test_points_far_above_the_best_do_not_count():
    logs = np.vstack([curves(0.0)[0], [[5.0, 50.0, 500.0]]])
    grid = np.append(GRID, -2.0)
    assert pool_noise([logs], [grid]) == pool_noise([logs[:-1]], [GRID])


def test_one_seed_tells_no_noise():
    found = pool_noise([np.zeros((6, 1))], [GRID])
    assert found.degrees == 0
    assert found.variance > 0


def test_a_learning_rate_whose_seeds_scatter_more_is_trusted_less():
    logs = curves(0.0)[0]
    logs[5] = [0.0, 1.0, 2.0]
    covariance = noise_of_mean(logs, GRID, pool_noise([logs[:5]], [GRID[:5]]))
    assert covariance[5, 5] > 10 * covariance[2, 2]
    assert np.count_nonzero(covariance - np.diag(np.diag(covariance))) in (0, 30)
