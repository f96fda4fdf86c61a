"""What a person, a log file and a program are told of a running study."""

import json
import math
from io import StringIO

import pytest
from rich.console import Console

from mutransfer.report.console import JsonSink, PlainSink, TerminalSink, fan_out
from mutransfer.training.events import Note, PhaseFinished, PhaseStarted, RunFinished, RunStarted, SweepFinished
from mutransfer.training.spec import Outcome, RunResult, RunSpec

INF, NAN = math.inf, math.nan


def spec(width=16, log2_lr=-6.0, **fields):
    known = {"task": "t", "base_width": 8, "optimizer": "adam", "steps": 5, "hyperparameters": {"lr": 2.0**log2_lr}}
    return RunSpec(width=width, **{**known, **fields})


def finished(loss=0.5, seconds=2.0, outcome=Outcome.OK, **fields):
    result = RunResult(outcome=outcome, initial_loss=2.3, final_loss=loss, best_loss=min(loss, 2.3), seconds=seconds)
    return RunFinished(spec=spec(**fields), result=result)


DIVERGED = finished(INF, outcome=Outcome.DIVERGED, log2_lr=0.5, seed=3)
SWEEP = SweepFinished(title="mup, width 16", curve={-2.0: [1.0], -1.0: [INF]}, log2_lr=-2.0, low=-2.5, high=-1.5)
STUDY = [
    PhaseStarted(title="mup, width 16", queued=[spec(), DIVERGED.spec], already_done=4),
    RunStarted(spec=spec()),
    finished(),
    DIVERGED,
    PhaseFinished(title="mup, width 16"),
    SWEEP,
    Note(text="done [here]", data={"n": 3, "worst": INF}),
]


def lines_of(sink_type):
    lines = []
    sink = sink_type(lines.append)
    for event in STUDY:
        sink(event)
    return lines


def test_plain_is_one_line_per_event_with_its_place_in_the_phase():
    assert lines_of(PlainSink) == [
        "mup, width 16: 2 runs, 4 already in the record",
        "1/2 mup width 16 lr 2^-6.00 seed 0: loss 0.5 (2.00 s on cpu)",
        "2/2 mup width 16 lr 2^0.50 seed 3: diverged (2.00 s on cpu)",
        "mup, width 16                2^-2 ▁x 2^-1  best 2^-2.00 [-2.50, -1.50]",
        "done [here]",
    ]


def test_plain_says_nothing_of_a_phase_without_runs():
    lines = []
    PlainSink(lines.append)(PhaseStarted(title="tune", queued=[], already_done=9))
    assert lines == []


def test_json_lines_hold_the_same_events_with_null_for_what_json_cannot_say():
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines_of(JsonSink)]
    assert [e["event"] for e in events] == ["phase", "run", "run", "sweep", "note"]
    assert events[0] == {"event": "phase", "title": "mup, width 16", "queued": 2, "already_done": 4}
    assert (events[1]["loss"], events[1]["outcome"], events[1]["hyperparameters"]) == (0.5, "ok", {"lr": 2.0**-6})
    assert (events[2]["loss"], events[2]["outcome"], events[2]["seed"]) == (None, "diverged", 3)
    assert (events[3]["log2_lr"], events[3]["low"], events[3]["high"]) == (-2.0, -2.5, -1.5)
    assert events[4] == {"event": "note", "text": "done [here]", "n": 3, "worst": None}


def test_json_has_no_word_for_infinity_however_deep_it_is():
    lines = []
    JsonSink(lines.append)(Note(text="", data={"a": {"b": [1.0, INF, (NAN, -INF)]}, "c": NAN, "ok": [2, "x", None]}))
    assert json.loads(lines[0]) == {
        "event": "note",
        "text": "",
        "a": {"b": [1.0, None, [None, None]]},
        "c": None,
        "ok": [2, "x", None],
    }


def test_json_keeps_a_width_that_is_a_mapping():
    lines = []
    JsonSink(lines.append)(finished(width={"d": 16, "ff": 64}, base_width={"d": 8, "ff": 32}))
    assert json.loads(lines[0])["width"] == {"d": 16, "ff": 64}


def terminal(width=200):
    return Console(file=StringIO(), force_terminal=True, width=width)


def test_a_terminal_shows_progress_and_then_the_curve_with_its_optimum():
    console = terminal()
    sink = TerminalSink(console)
    for event in STUDY:
        sink(event)
    text = console.file.getvalue()
    assert "2/2" in text
    assert "1 diverged  on cpu" in text
    assert "2^-2 ▁x 2^-1  best 2^-2.00 [-2.50, -1.50]" in text
    assert "done [here]" in text  # not taken for markup


def test_a_terminal_survives_events_outside_of_a_phase_and_closing_twice():
    console = terminal()
    sink = TerminalSink(console)
    sink(finished())
    sink(PhaseStarted(title="again", queued=[spec()]))
    sink.close()
    sink.close()
    sink(PhaseFinished(title="again"))


def test_fan_out_passes_every_event_to_every_sink_in_order():
    one, two = [], []
    send = fan_out(one.append, two.append)
    for event in STUDY:
        send(event)
    assert one == two == STUDY
