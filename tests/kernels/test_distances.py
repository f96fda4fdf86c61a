"""Distances have their closed-form values; intervals cover as often as they say."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.errors import DataError
from mutransfer.kernels import (
    effective_rank,
    eigenspace_overlap,
    jackknife,
    kernel_distance,
    kernel_velocity,
    participation_ratio,
    relative_drift,
    target_alignment,
    target_overlap,
)

pytestmark = pytest.mark.usefixtures("float64")
SEEDS = st.integers(0, 10**6)


def _kernel(seed, n=6, rank=None):
    features = torch.randn(n, rank or 2 * n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return features @ features.mT


@given(SEEDS, st.floats(0.1, 10))
def test_a_factor_is_drift_and_no_distance(seed, factor):
    k = _kernel(seed)
    assert relative_drift(k, factor * k) == pytest.approx(abs(factor - 1), abs=1e-12)
    assert kernel_distance(k, factor * k) == pytest.approx(0, abs=1e-12)


@given(SEEDS)
def test_the_distance_is_one_minus_the_cosine(seed):
    a, b = _kernel(seed), _kernel(seed + 1)
    cosine = float((a * b).sum() / (a.norm() * b.norm()))
    assert kernel_distance(a, b) == pytest.approx(1 - cosine, abs=1e-12)
    assert kernel_velocity(a, b, 0.5) == pytest.approx(2 * (1 - cosine), abs=1e-12)


def test_a_small_distance_keeps_its_digits():
    k, change = torch.eye(2), torch.tensor([[0.0, 1e-10], [1e-10, 0.0]])
    assert kernel_distance(k, k + change) == pytest.approx(5e-21, rel=1e-6)


@given(SEEDS)
def test_a_full_kernel_is_one_over_examples_and_outputs(seed):
    a, b = _kernel(seed), _kernel(seed + 1)
    full = [k.view(3, 2, 3, 2).permute(0, 2, 1, 3) for k in (a, b)]
    y = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert relative_drift(*full) == pytest.approx(relative_drift(a, b))
    assert participation_ratio(full[0]) == pytest.approx(participation_ratio(a))
    assert target_alignment(full[0], y) == pytest.approx(target_alignment(a, y.flatten()))


@given(SEEDS)
def test_alignment_is_one_for_the_targets_own_kernel_and_centring_removes_a_constant(seed):
    y = torch.randn(6, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for centred in (True, False):
        assert target_alignment(y @ y.mT, y, centred=centred) == pytest.approx(1)
    k = _kernel(seed)
    assert target_alignment(k + 100, y) == pytest.approx(target_alignment(k, y), abs=1e-9)
    assert target_alignment(k + 100, y, centred=False) != pytest.approx(target_alignment(k, y, centred=False), abs=1e-3)


def test_equal_eigenspaces_overlap_by_one_and_orthogonal_ones_by_nothing():
    u = torch.linalg.qr(torch.randn(6, 6)).Q
    first, second = (
        u @ torch.diag(torch.tensor([6.0, 5, 4, 3, 2, 1])) @ u.mT,
        u @ torch.diag(torch.arange(1.0, 7)) @ u.mT,
    )
    assert eigenspace_overlap(first, first, 2) == pytest.approx(1)
    assert eigenspace_overlap(first, second, 2) == pytest.approx(0, abs=1e-12)
    assert eigenspace_overlap(first, second, 4) == pytest.approx(0.5)
    assert target_overlap(first, u[:, 0] + u[:, 5], 1, centred=False) == pytest.approx(0.5)
    with pytest.raises(DataError, match="rank"):
        eigenspace_overlap(first, second, 7)


def test_a_rotation_towards_the_targets_is_told_from_noise():
    y = torch.sign(torch.randn(20))
    start = _kernel(0, 20, 5)
    noise = _kernel(1, 20, 5)
    towards = start + 5 * torch.outer(y, y)
    assert target_overlap(towards, y, 5) > 0.9
    assert target_overlap(start + noise, y, 5) < 0.6
    assert eigenspace_overlap(start, towards, 5) < 1


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_ranks_of_a_projection_are_its_rank(rank):
    u = torch.linalg.qr(torch.randn(6, 6)).Q[:, :rank]
    assert participation_ratio(u @ u.mT) == pytest.approx(rank)
    assert effective_rank(u @ u.mT) == pytest.approx(rank)
    assert participation_ratio(_kernel(0)) <= effective_rank(_kernel(0)) <= 6


def test_kernels_and_targets_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="one size"):
        relative_drift(torch.eye(2), torch.eye(3))
    with pytest.raises(DataError, match="one size"):
        participation_ratio(torch.ones(2, 3))
    with pytest.raises(DataError, match="targets"):
        target_alignment(torch.eye(3), torch.ones(2))
    with pytest.raises(DataError, match="zero once centred"):
        target_alignment(torch.eye(3), torch.ones(3))
    with pytest.raises(DataError, match="dt"):
        kernel_velocity(torch.eye(2), torch.eye(2), 0.0)
    with pytest.raises(DataError, match="at least 3"):
        jackknife(participation_ratio, torch.eye(2))


def test_the_jackknife_of_a_mean_is_the_t_interval():
    x = torch.randn(12, 1)
    found = jackknife(lambda x: float(x.mean()), x)
    half = 1.7958848 * float(x.std() / math.sqrt(12))  # t, 11 degrees of freedom, 95 %
    assert (found.value, found.low, found.high) == pytest.approx(
        (float(x.mean()), float(x.mean()) - half, float(x.mean()) + half)
    )


def test_the_jackknife_covers_the_drift_of_all_examples():
    """90 % of intervals from 40 of 400 examples cover the drift of all: within 4 binomial standard errors, and below
    what intervals of half the width would reach."""
    features = torch.randn(400, 8)
    moved = features + 0.3 * torch.randn(400, 8).abs() * features[:, :1]
    start, now = (f @ f.mT for f in (features, moved))
    truth, covered, halved = relative_drift(start, now), 0, 0
    repeats = 150
    for _ in range(repeats):
        at = torch.randperm(400)[:40]
        found = jackknife(relative_drift, start[at][:, at], now[at][:, at])
        covered += found.low <= truth <= found.high
        halved += abs(truth - found.value) <= (found.high - found.low) / 4
    assert abs(covered / repeats - 0.9) < 4 * math.sqrt(0.09 / repeats)
    assert halved / repeats < 0.75


def test_targets_with_as_many_columns_as_examples_are_no_kernel_where_it_is_said():
    kernel, targets = torch.eye(4) + 0.1 * torch.ones(4, 4), torch.randn(4, 4)
    at_once = jackknife(target_alignment, kernel, targets, kernels=1)
    three_axes = jackknife(lambda k, y: target_alignment(k, y[..., 0]), kernel, targets[..., None])
    assert at_once == three_axes
    assert at_once.value == pytest.approx(target_alignment(kernel, targets))
    with pytest.raises(DataError, match="first 2 arrays must be kernels"):
        jackknife(target_alignment, kernel, targets[:, :3], kernels=2)
