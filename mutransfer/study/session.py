"""An open study for one verb: its workflow, how events are shown, and what an interruption leaves."""

from __future__ import annotations

import logging
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mutransfer.config.loading import override_place
from mutransfer.errors import ConfigError, Interruption, OverrideError, RecordError
from mutransfer.report.console import JsonSink, PlainSink, TerminalSink, fan_out
from mutransfer.report.tensorboard import TensorBoardSink
from mutransfer.report.text import for_terminal
from mutransfer.study.folder import open_study
from mutransfer.study.known_code import Ask, Changed, refuse_other_code
from mutransfer.study.workflow import Workflow, refuse_new_runs
from mutransfer.training.events import Note, Sink, silent
from mutransfer.transfer.runs.disk import disk_trouble
from mutransfer.transfer.runs.storage_url import without_passwords


@dataclass(frozen=True, kw_only=True)
class View:
    """How events are shown: as JSON lines, plain lines, not at all, or on a live display where there is a terminal."""

    json_lines: bool = False
    plain: bool = False
    quiet: bool = False

    def sink(self, write: Callable[[str], None]) -> Sink:
        console = Console(stderr=self.json_lines)
        if self.json_lines:
            return JsonSink(write)
        if self.quiet:
            return silent
        return PlainSink(write) if self.plain or not console.is_terminal else TerminalSink(console)


@contextmanager
def _writers_at_ease() -> Iterator[None]:
    """Log a failure to write in a thread of TensorBoard's: it is told where the next thing is written, if at all."""
    before = threading.excepthook

    def log(args: threading.ExceptHookArgs) -> None:
        if issubclass(args.exc_type, OSError):
            logging.getLogger("mutransfer").info("in a thread: %s", args.exc_value)
        else:
            before(args)

    threading.excepthook = log
    try:
        yield
    finally:
        threading.excepthook = before


def asking(changed: str | None) -> Ask:
    """What was said on the command line, else what a person at a terminal answers, else a refusal."""
    if changed is not None:
        if changed not in list(Changed):
            raise ConfigError(f"--changed: expected {' or '.join(Changed)}, found {changed!r}")
        return lambda told: Changed(changed)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return refuse_other_code

    def ask(told: str) -> Changed:
        print(f"{for_terminal(told)}.", file=sys.stderr)
        while (answer := input(f"{Changed.REUSE} them, or make runs {Changed.ANEW} beside them? ")) not in list(
            Changed
        ):
            pass
        return Changed(answer)

    return ask


@contextmanager
def open_session(
    target: Path,
    options: Sequence[str] | None,
    write: Callable[[str], None],
    *,
    view: View | None = None,
    out: Path | None = None,
    fresh: bool = False,
    keep: bool = True,
    new_runs: bool = True,
    ask: Ask = refuse_other_code,
) -> Iterator[tuple[Workflow, Callable[[str], None]]]:
    """The study that ``target`` names, and a function that speaks to the person.

    Args:
        target: a config file or a run directory.
        options: ``a.b=c`` over the config.
        write: writes one line to the terminal.
        out: the run directory, if not the usual one.
        fresh: forget what the run directory holds.
        keep: lock the run directory and write to it; without, nothing is left on disk.
        ask: what to do where the record's runs of this task are of other code.
        new_runs: False refuses any run that the record does not hold.

    Raises Interruption where the person stops it, with what was kept.
    """
    config, folder = open_study(target, out, options or [])
    if fresh and config.storage is not None:
        raise ConfigError(
            f"--fresh forgets what is in the run directory, but the runs are in {without_passwords(config.storage)}; "
            "name another storage to start anew"
        )
    shown = (view or View()).sink(write)
    # Each run has its own event file; verbs that make no run to keep write none.
    beside = (TensorBoardSink(folder.tensorboard) if keep else silent) if new_runs else refuse_new_runs
    flow = Workflow(config, folder, fan_out(shown, beside), fresh=fresh, ask=ask)

    def say(text: str) -> None:
        shown(Note(text=text))

    try:
        if keep:
            with _writers_at_ease(), flow:
                yield flow, say
        else:
            yield flow, say
    except KeyboardInterrupt:
        if keep and folder.config.exists():
            raise Interruption(
                f"interrupted: {len(flow.stored())} finished runs are kept in {folder.path}. "
                f"Go on with: mutransfer run {shlex.quote(str(folder.path))}"
            ) from None
        raise Interruption("interrupted before the first run; nothing was kept") from None
    except OSError as error:
        trouble = disk_trouble(error, folder.path) if keep else None
        if trouble is None:
            raise
        kept = flow.record.rescued() if "vanished" in trouble and len(flow.record) else "finished runs are kept"
        raise RecordError(f"{trouble}; {kept}") from None
    except OverrideError as error:
        file = folder.config if target.is_dir() else target
        raise ConfigError(f"{override_place(file, options or [], config, error.override)}: {error}") from None
    finally:
        if isinstance(shown, TerminalSink):
            shown.close()
