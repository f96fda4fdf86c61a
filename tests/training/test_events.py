"""Events are values, and a sink is any function of one."""

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from mutransfer.training.events import (
    Event,
    Note,
    PhaseFinished,
    PhaseStarted,
    RunFinished,
    RunStarted,
    Scalars,
    silent,
)
from mutransfer.training.spec import Outcome, RunResult

from .tiny import tiny_spec

RESULT = RunResult(outcome=Outcome.OK, initial_loss=1.0, final_loss=0.5, best_loss=0.5)
EVENTS = [
    PhaseStarted(title="tuning"),
    RunStarted(spec=tiny_spec()),
    Scalars(spec=tiny_spec(), step=1, values={"train/loss": 0.3}),
    RunFinished(spec=tiny_spec(), result=RESULT),
    PhaseFinished(title="tuning"),
    Note(text="a sentence"),
]


@pytest.mark.parametrize("kind", get_args(Event))
def test_every_event_is_frozen_and_named_by_keyword(kind):
    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(kind))


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_cannot_be_changed_by_a_sink_that_sees_it_first(event):
    field = next(iter(vars(event)))
    with pytest.raises(FrozenInstanceError):
        setattr(event, field, None)


def test_a_phase_with_nothing_queued_says_so():
    assert (EVENTS[0].queued, EVENTS[0].already_done) == ((), 0)


def test_notes_do_not_share_their_data():
    assert Note(text="a").data == {}
    assert Note(text="a").data is not Note(text="b").data


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_the_silent_sink_takes_every_event(event, capsys):
    assert silent(event) is None
    assert capsys.readouterr() == ("", "")
