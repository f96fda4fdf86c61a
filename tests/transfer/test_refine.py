"""Where the next runs go: near the optimum, where it is known least, and where runs are cheap."""

import numpy as np
import pytest

from mutransfer.transfer.curves.optimum import fit_curve
from mutransfer.transfer.curves.placement import half_way, place_runs


def fit(centre=-6.3, *, k=0.2, noise=0.03, grid=range(-11, -1), seed=0):
    rng = np.random.default_rng(seed)
    losses = {float(x): np.exp(k * (x - centre) ** 2 + rng.normal(0, noise, 4) - 3) for x in grid}
    return fit_curve(losses, ceiling=1e3)


def test_runs_are_placed_half_way_between_others_and_near_the_optimum():
    places = place_runs({64: fit()}, 2)
    assert len({p.log2_lr for p in places}) == 2
    for p in places:
        assert p.log2_lr in half_way(fit())
        assert abs(p.log2_lr + 6.3) < 2


def test_the_runs_that_are_placed_shorten_the_interval_more_than_others_do():
    """The mean variance of ten curves after two more learning rates: placed, against the farthest candidates."""
    placed, far = [], []
    for seed in range(10):
        before = fit(k=0.1, noise=0.05, seed=seed)
        candidates = sorted(half_way(before), key=lambda x: abs(x - before.optimum.log2_lr))
        for chosen, variances in (
            ([p.log2_lr for p in place_runs({0: before}, 2)], placed),
            (candidates[-2:], far),
        ):
            after = fit(k=0.1, noise=0.05, seed=seed, grid=[*range(-11, -1), *chosen])
            variances.append(np.var(after.optimum.draws))
    assert np.mean(placed) < np.mean(far)


def test_a_width_that_is_known_well_gets_none_and_a_vague_one_gets_them():
    sharp, vague = fit(k=0.8, noise=0.003), fit(k=0.05, noise=0.1)
    assert {p.key for p in place_runs({"sharp": sharp, "vague": vague}, 2)} == {"vague"}


def test_of_two_alike_widths_the_cheap_one_is_chosen():
    same = fit()
    assert place_runs({64: same, 1024: same}, 1, costs={64: 1.0, 1024: 10.0})[0].key == 64
    assert place_runs({64: same, 1024: same}, 1, costs={64: 10.0, 1024: 1.0})[0].key == 1024


def test_a_width_of_more_weight_is_chosen():
    same = fit()
    assert place_runs({64: same, 1024: same}, 1, weights={64: 0.1, 1024: 1.0})[0].key == 1024


def test_no_more_runs_are_placed_than_there_are_places():
    small = fit(grid=[-7.0, -6.0, -5.0])
    assert sorted(p.log2_lr for p in place_runs({0: small}, 5)) == pytest.approx([-6.5, -5.5])
