"""Runs, curves and widths in one line of text."""

import math

import pytest

from mutransfer.report.console_lines import run_line, spark, widths_text
from mutransfer.training.events import RunFinished
from mutransfer.training.spec import Outcome, RunResult, RunSpec

INF, NAN = math.inf, math.nan


def finished(outcome):
    spec = RunSpec(
        task="t", width=16, base_width=8, optimizer="adam", steps=5, seed=3, hyperparameters={"lr": 2.0**0.5}
    )
    result = RunResult(outcome=outcome, initial_loss=2.3, final_loss=INF, best_loss=2.3, seconds=2.0)
    return RunFinished(spec=spec, result=result)


def test_a_diverged_run_is_told_by_its_outcome():
    assert run_line(finished(Outcome.DIVERGED)).endswith("seed 3: diverged (2.00 s on cpu)")
    no_memory = finished(Outcome.OUT_OF_MEMORY)
    assert ": out of memory (" in run_line(no_memory)


@pytest.mark.parametrize(
    ("losses", "line"),
    [
        ({-3.0: [1.0], -2.0: [0.1], -1.0: [INF]}, "2^-3 █▁x 2^-1"),
        ({-1.0: [1.0], -3.0: [8.0], -2.0: [2.0**1.5]}, "2^-3 █▅▁ 2^-1"),  # log loss: half way is half way
        ({-3.0: [1.0, INF], -2.0: [2.0, 2.0]}, "2^-3 ▁█ 2^-2"),  # a seed that survived speaks for the point
        ({-3.0: [INF], -2.0: [NAN]}, "2^-3 xx 2^-2"),
        ({-3.5: [0.5], -3.0: [0.5]}, "2^-3.5 ▁▁ 2^-3"),
        ({-3.0: [0.0], -2.0: [1.0]}, "2^-3 x▁ 2^-2"),  # no logarithm, no bar
    ],
)
def test_a_curve_in_one_line_is_low_where_the_loss_is_and_x_where_all_diverged(losses, line):
    assert spark(losses) == line


def test_widths_are_told_as_words():
    assert widths_text([64, {"d": 16, "ff": 64}]) == "64, d=16,ff=64"
