"""The end of a verb: its exit code, which only the verb decides, and what is said of everything else that ends it.

A model, its data or its loss may do anything while a verb runs: raise, call ``sys.exit(0)``, close a pipe. None of it
may pass for a verdict (0, 1, 3).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from mutransfer.errors import Interruption, MutransferError
from mutransfer.report.text import for_terminal
from mutransfer.study.own_code import is_users_file
from mutransfer.transfer.runs.storage_url import without_passwords

USAGE_ERROR, INTERRUPTED, NO_READER = 2, 130, 141  # the last as of a program that SIGPIPE ends

_CLICK_ENDS = ("Exit", "Abort")  # exceptions by which a command line of the user's own ends


class NoReader(Exception):
    """Nobody reads the output any more, as behind ``| head``."""


def print_line(text: str) -> None:
    """One line of output; NoReader where nobody takes it."""
    try:
        print(_shown(text), flush=True)
    except BrokenPipeError:
        raise NoReader from None


def ending_code(verb: Callable[[], int | None]) -> int:
    """The code that ``verb`` returns (None: 0), or that of how it ended otherwise, which is told on stderr."""
    try:
        return verb() or 0
    except MutransferError as error:
        _say(f"error: {error}{_place(error)}")
    except (Interruption, KeyboardInterrupt) as interruption:
        _say(str(interruption) or "interrupted")
        return INTERRUPTED
    except NoReader:
        _leave_stdout()
        _say("the reader of the output has gone; finished runs are kept")
        return NO_READER
    except BaseException as error:  # in the user's own model, data or loss, more likely than in ours
        if isinstance(error, SystemExit) or type(error).__name__ in _CLICK_ENDS:
            what = f"exit({error.code!r})" if isinstance(error, SystemExit) else type(error).__name__
            _say(f"error: code of the study ended the program by {what}, which is no verdict{_place(error)}")
        else:
            _say("".join(traceback.format_exception(error)).rstrip())
            _say("error: the study stopped on the exception above; finished runs are kept")
    return USAGE_ERROR


def _place(error: BaseException) -> str:
    """The line of the user's own code that began it, where there is one."""
    while error.__cause__ is not None:
        error = error.__cause__
    own = [f for f in traceback.extract_tb(error.__traceback__) if is_users_file(f.filename)]
    return f"\n  at {own[-1].filename}:{own[-1].lineno}, in {own[-1].name}: {own[-1].line}" if own else ""


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads stderr either
        print(_shown(text), file=sys.stderr, flush=True)


def _shown(text: str) -> str:
    return for_terminal(without_passwords(text))


def _leave_stdout() -> None:
    """Send to nowhere what Python would still write when it ends: failing then, it would change the exit code."""
    with suppress(OSError, ValueError, AttributeError):  # a stdout that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
