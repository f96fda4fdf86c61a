"""Sketched kernels: unbiased, the same every time, and their split products free of noise."""

import math

import pytest
import torch
from torch import nn

from mutransfer.errors import DataError
from mutransfer.kernels import (
    empirical_ntk,
    kernel_distance,
    relative_drift,
    sketched_ntk,
    split_distance,
    split_drift,
)

pytestmark = pytest.mark.usefixtures("float64")


def _net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3))


def test_sketches_have_the_kernel_as_their_mean_and_are_the_same_every_time():
    model, x = _net(), torch.randn(5, 6)
    exact = empirical_ntk(model, x)
    sketches = sketched_ntk(model, x, probes=200, size=256)
    error = sketches.std(0) / math.sqrt(200)
    assert ((sketches.mean(0) - exact).abs() < 4.5 * error).all()
    assert (error < 0.2 * exact.abs().max()).all()
    assert torch.equal(sketched_ntk(model, x, probes=3, size=256), sketches[:3])


def test_products_of_different_probes_have_no_bias_where_one_sketch_has():
    """The drift, from 4 small sketches at a time: the mean over 60 seeds is within its error of the exact one, and the
    naive drift of each sketch is larger by many times that."""
    model, x = _net(), torch.randn(5, 6)
    exact_start = empirical_ntk(model, x)
    moved = _net()
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.03 * torch.randn(p.shape))
    exact_now = empirical_ntk(moved, x)
    squares, naive, distances, covered = [], [], [], 0
    truth = relative_drift(exact_start, exact_now)
    for seed in range(60):
        start, now = (sketched_ntk(m, x, probes=4, size=512, seed=seed) for m in (model, moved))
        found = split_drift(start, now)
        squares.append(found.value**2)
        covered += found.low <= truth <= found.high
        naive.append(sum(relative_drift(a, b) ** 2 for a, b in zip(start, now, strict=True)) / 4)
        distances.append(split_distance(start, now).value)
    squares, naive, distances = (torch.tensor(v) for v in (squares, naive, distances))
    error = float(squares.std() / math.sqrt(60))
    assert abs(float(squares.mean()) - truth**2) < 4 * error
    assert float(naive.mean()) - truth**2 > 4 * error
    spread = float(distances.std() / math.sqrt(60))
    assert abs(float(distances.mean()) - kernel_distance(exact_start, exact_now)) < 4 * spread
    assert covered >= 45


def test_fewer_than_three_probes_and_other_shapes_are_refused():
    with pytest.raises(DataError, match="at least three"):
        split_drift(torch.ones(2, 3, 3), torch.ones(2, 3, 3))
    with pytest.raises(DataError, match="positive"):
        sketched_ntk(_net(), torch.randn(2, 6), probes=0)
