"""Durations in words, and the time left by the runs that finished."""

import pytest

from mutransfer.report.time_left import Clock, duration
from mutransfer.training.spec import RunSpec


def spec(width, steps=5):
    return RunSpec(task="t", width=width, base_width=8, optimizer="adam", steps=steps, hyperparameters={"lr": 2.0**-6})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (100, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7300, "2 h 1 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_a_duration_is_said_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


def test_the_clock_adds_the_mean_seconds_of_each_width():
    clock = Clock()
    for seconds in (1.0, 3.0):
        clock.add(spec(16), seconds)
    clock.add(spec(64), 10.0)
    assert clock.left([spec(16), spec(16), spec(64)]) == 2.0 + 2.0 + 10.0
    assert clock.left([]) == 0.0


def test_the_clock_does_not_guess_for_a_width_or_a_length_that_has_not_finished():
    clock = Clock()
    clock.add(spec(16), 1.0)
    assert clock.left([spec(16), spec(32)]) is None
    assert clock.left([spec(16, steps=500)]) is None


def test_the_clock_goes_by_the_last_eight_runs():
    clock = Clock()
    for seconds in [100.0] * 5 + [2.0] * 8:
        clock.add(spec(16), seconds)
    assert clock.left([spec(16)]) == 2.0
