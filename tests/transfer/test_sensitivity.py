"""Perturbing the other hyperparameters: which values are tried, what is judged from known losses, and real runs."""

import math

import numpy as np
import pytest

from mutransfer.errors import ConfigError
from mutransfer.training.events import RunStarted
from mutransfer.training.spec import RunSpec
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.space import Choice
from mutransfer.transfer.verification.sensitivity import judged, perturbed
from mutransfer.transfer.verification.verify import verify


def spec(**changes):
    return RunSpec(**{"task": "none", "width": 8, "base_width": 8, "hyperparameters": {"lr": 0.1}, **changes})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("output_mult", 3.0, [1.5, 6.0]),
        ("beta2", 0.96, [0.92, 0.98]),
        ("beta1", 0.5, [0.0, 0.75]),
        ("weight_decay", 0.1, [0.025, 0.4]),
        ("weight_decay", 0.0, []),
    ],
)
def test_a_step_is_a_factor_or_one_of_the_distance_to_one(name, value, expected):
    assert perturbed(spec(hyperparameters={"lr": 0.1, name: value}), name) == pytest.approx(expected, rel=1e-12)


def test_a_multiplier_that_was_not_set_is_moved_from_one():
    assert perturbed(spec(), "lr_mult_hidden") == [0.5, 2.0]


def test_choices_give_their_neighbours_or_their_other_names():
    assert perturbed(spec(batch_size=32), "batch_size", Choice((64, 16, 32, 128))) == [16, 64]
    assert perturbed(spec(batch_size=128), "batch_size", Choice((64, 16, 32, 128))) == [64]
    schedules = Choice(("constant", "linear", "cosine"))
    assert perturbed(spec(schedule="linear"), "schedule", schedules) == ["constant", "cosine"]
    assert perturbed(spec(warmup_steps=5), "warmup_steps") == [2, 10]
    with pytest.raises(ConfigError, match="schedule: which of its values to compare is not known"):
        perturbed(spec(), "schedule")


def losses(best, *, noise=0.02, seeds=4, rng):
    """Log losses at the transferred value, an octave below and above it, of a bowl with its optimum at ``best``."""
    luck = rng.normal(0, 0.3, seeds)  # the same at every value: it must not widen an interval
    return np.array([0.2 * (x - best) ** 2 + luck + rng.normal(0, noise, seeds) for x in (0.0, -1.0, 1.0)])


def test_the_interval_of_a_gain_holds_the_truth_in_nine_of_ten():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        found = judged("x", 1.0, [0.5, 2.0], {8: losses(0.3, rng=rng)}, 0.05)
        truth = {0.5: 0.2 * (0.3**2 - 1.3**2), 2.0: 0.2 * (0.3**2 - 0.7**2)}
        held += sum(found.gain[8][x].low <= t <= found.gain[8][x].high for x, t in truth.items())
    assert held / 2000 == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / 1000))


def test_the_findings_on_bowls_of_known_optimum():
    rng = np.random.default_rng(0)
    findings = {
        (base, large): [
            judged("x", 1.0, [0.5, 2.0], {8: losses(base, rng=rng), 64: losses(large, rng=rng)}, 0.05).finding
            for _ in range(200)
        ]
        for base, large in ((0, 0), (0, 1.5), (1.5, 1.5))
    }
    for truth, finding in (((0, 0), "transfers"), ((0, 1.5), "drifts"), ((1.5, 1.5), "not tuned")):
        assert findings[truth].count(finding) >= 190, truth


def test_regret_of_values_that_are_all_alike_is_not_biased():
    rng = np.random.default_rng(1)
    regrets = [judged("x", 1.0, [0.5, 2.0], {8: rng.normal(0, 0.1, (3, 4))}, 0.05).regret[8].value for _ in range(2000)]
    error = np.std(regrets) / math.sqrt(len(regrets))
    assert abs(np.mean(regrets)) < 4 * error
    naive = [float((x := rng.normal(0, 0.1, (3, 4)).mean(axis=1))[0] - x.min()) for _ in range(2000)]
    assert np.mean(naive) > 10 * error  # what the minimum over means would give


@pytest.fixture(scope="module")
def checked(digits):
    record, started = Record(), []
    point = {"lr": 2.0**-5, "output_mult": 16.0, "beta1": 0.9, "weight_decay": 0.0}
    found = verify(
        digits,
        point,
        base_width=8,
        widths=[16, 32],
        optimizer="adamw",
        steps=12,
        seeds=3,
        grid=[-7.0, -5.0, -3.0],
        record=record,
        device="cpu",
        sink=lambda e: started.append(e.spec) if isinstance(e, RunStarted) else None,
    )
    return found, started


def test_all_other_hyperparameters_are_perturbed_at_base_and_largest_width_with_the_same_seeds(checked):
    found, started = checked
    assert set(found.sensitivity) == {"output_mult", "beta1"}  # a decay of 0 has no factor
    assert list(found.sensitivity["output_mult"].gain) == list(found.sensitivity["output_mult"].regret) == [8, 32]
    assert list(found.sensitivity["output_mult"].gain[32]) == [8.0, 32.0]
    runs = [s for s in started if s.hyperparameters["output_mult"] == 8.0]
    assert sorted((s.width, s.seed) for s in runs) == [(w, seed) for w in (8, 32) for seed in range(3)]
    assert {s.hyperparameters["lr"] for s in runs} == {2.0**-5}


def test_an_output_multiplier_that_is_far_too_large_is_seen_to_be_not_tuned(checked):
    found, _ = checked
    worst = found.sensitivity["output_mult"]
    gain = worst.gain[32][8.0]
    transferred = found.sweeps[32].results[-5.0]
    assert gain.low > 0
    assert math.isfinite(sum(r.final_loss for r in transferred))
    assert worst.regret[32].value == pytest.approx(gain.value, abs=1e-12)  # the others choose 8 for every seed
