"""Which runs are asked for next: on curves whose optimum is known, and what is estimated and afforded."""

import math

import numpy as np
import pytest

from mutransfer.errors import ConfigError
from mutransfer.transfer.verification.procedure import Judgement, Procedure, Request, Stop, affordable, estimate_cost

WIDTHS = [64, 128, 256, 512]
X0 = -6.25


def procedure(**changes):
    known = {
        "keys": WIDTHS,
        "octaves": [0.0, 1.0, 2.0, 3.0],
        "transferred": X0,
        "spacing": 1.0,
        "first": 2,
        "most": 4,
        "ceilings": dict.fromkeys(WIDTHS, 10.0),
    }
    return Procedure(**{**known, **changes})


def loss(x, doublings, *, drift, seed=0, cliff=math.inf):
    centre = X0 + drift * doublings
    if x > centre + cliff:
        return math.inf
    return math.exp(0.3 * (x - centre) ** 2 - 0.2 * doublings + 0.01 * seed)


def base_curve(**law):
    return {x: [loss(x, 0, seed=s, **law) for s in range(4)] for x in [*map(float, range(-11, -1)), X0]}


def follow(decided, *, most=100, **law):
    """(requests in order, why it stopped, curves in the end)."""
    curves, asked, p = {64: base_curve(**law)}, [], procedure()
    for _ in range(most):
        step = p.next_runs(curves, lambda c: Judgement(verdict=decided(c)))
        if isinstance(step, Stop):
            return asked, step.reason, curves
        asked.append(step)
        doublings = WIDTHS.index(step.key)
        curve = curves.setdefault(step.key, {})
        for x in step.points:
            curve[x] = [loss(x, doublings, seed=s, **law) for s in range(step.seeds)]
        assert len({len(losses) for losses in curve.values()}) == 1  # a judge compares the same seeds everywhere
    raise AssertionError("no end")


def test_the_transferred_learning_rate_at_the_largest_width_comes_first():
    asked, _, _ = follow(lambda curves: "TRANSFERS", drift=0.0)
    assert asked[0] == Request(key=512, points=(X0,), seeds=2)


def test_where_it_diverges_there_nothing_else_is_run():
    asked, reason, _ = follow(lambda curves: "UNSTABLE" if math.inf in curves[512][X0] else None, drift=-1.0, cliff=1)
    assert (len(asked), reason) == (1, "UNSTABLE")


@pytest.mark.parametrize("drift", [0.0, -0.5, 0.5, -1.0, 1.0])
def test_every_width_is_bracketed_at_half_the_spacing_and_holds_the_transferred_learning_rate(drift):
    _, reason, curves = follow(lambda curves: "decided", drift=drift)
    assert reason == "decided"
    for j, width in enumerate(WIDTHS):
        points = np.array(sorted(curves[width]))
        best = min(curves[width], key=lambda x: np.mean(curves[width][x]))
        assert X0 in curves[width]
        assert points[0] < best < points[-1]
        assert abs(best - (X0 + drift * j)) <= 0.5
        if width > 64:
            near = points[np.abs(points - best) < 1]
            assert len(near) == 3
            assert np.diff(near).max() <= 0.5 + 1e-9
            assert len(points) <= 9


def test_a_steady_drift_is_extrapolated_so_that_wide_brackets_need_no_extension():
    asked, _, _ = follow(lambda curves: "decided", drift=-1.0)
    largest = [r for r in asked if r.key == 512]
    assert [len(r.points) for r in largest] == [1, 3, 2]  # the transferred one, a bracket, its halves
    assert sorted(largest[1].points) == [X0 - 4, X0 - 3, X0 - 2]


def test_seeds_are_added_at_the_largest_width_alone_while_the_verdict_is_open():
    asked, reason, curves = follow(lambda curves: "TRANSFERS" if len(curves[512][X0]) == 3 else None, drift=0.0)
    assert reason == "TRANSFERS"
    assert (asked[-1].key, asked[-1].seeds) == (512, 3)
    assert set(asked[-1].points) == set(curves[512])
    assert {len(losses) for width in (128, 256) for losses in curves[width].values()} == {4}


def test_it_stops_where_all_seeds_are_used():
    _, reason, curves = follow(lambda curves: None, drift=0.0)
    assert reason == "all 4 seeds are used"
    assert len(curves[512][X0]) == 4


def test_a_curve_without_a_minimum_is_not_followed_forever():
    class Falling(dict):
        pass

    curves, p, n = {64: base_curve(drift=0.0)}, procedure(), 0
    while not isinstance(step := p.next_runs(curves, lambda c: Judgement()), Stop):
        n += len(step.points)
        for x in step.points:
            curves.setdefault(step.key, Falling())[x] = [math.exp(x / 10)] * step.seeds  # the lower the better
    assert min(curves[128]) == X0 - 1 - 6
    assert n < 60


def test_an_optimum_that_the_judge_sees_on_a_border_is_followed_before_seeds_are_added():
    _, _, curves = follow(lambda c: "decided", drift=0.0)
    step = procedure().next_runs(curves, lambda c: Judgement(edges={64: "low", 256: "high"}))
    assert step == Request(key=256, points=(max(curves[256]) + 1,), seeds=4)
    curves[256][X0 + 9] = [9.0] * 4  # as far as it goes
    step = procedure().next_runs(curves, lambda c: Judgement(edges={64: "low", 256: "high"}))
    assert (step.key, step.seeds) == (512, 3)


def test_runs_that_are_there_are_not_asked_for_again():
    curves = {64: base_curve(drift=0.0), 512: {X0: [1.0, 1.0]}}
    curves[128] = {x: [loss(x, 1, drift=0.0)] * 4 for x in (X0 - 1, X0, X0 + 1)}
    step = procedure().next_runs(curves, lambda c: Judgement())
    assert step == Request(key=128, points=(X0 - 0.5, X0 + 0.5), seeds=4)


@pytest.mark.parametrize(("first", "most"), [(1, 4), (5, 4)])
def test_seeds_that_give_no_interval_are_refused(first, most):
    with pytest.raises(ConfigError, match="2 <= first <= most"):
        procedure(first=first, most=most)


def test_the_estimate_is_what_a_study_without_drift_takes():
    costs = [4.0, 16.0, 64.0]
    expected = estimate_cost(costs, grid=10, first=2, most=4)
    for needed in (2, 3):
        asked, _, curves = follow(lambda c, n=needed: "yes" if len(c[512][X0]) >= n else None, drift=0.0)
        taken = sum(c * sum(map(len, curves[w].values())) for c, w in zip(costs, WIDTHS[1:], strict=True))
        assert expected.least < taken < expected.most
        assert taken == pytest.approx(expected.usual, rel=0.35), asked
    assert expected.full == sum(costs) * 13 * 4


def test_a_budget_pays_for_the_smaller_widths_first():
    costs = [4.0, 16.0, 64.0]
    needs = [estimate_cost(costs[:n], grid=10, first=2, most=4).usual for n in (1, 2, 3)]
    assert [affordable(costs, need, first=2, most=4) for need in needs] == [1, 2, 3]
    assert [affordable(costs, 0.99 * need, first=2, most=4) for need in needs] == [0, 1, 2]
