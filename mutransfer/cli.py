"""The verbs. Torch is imported inside them, so that --help answers at once."""

from __future__ import annotations

import json
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mutransfer.errors import ConfigError, MutransferError

if TYPE_CHECKING:
    from mutransfer.study.workflow import Workflow
    from mutransfer.transfer.search.tune import TuneResult
    from mutransfer.transfer.verification.result import Verification

USAGE_ERROR, INTERRUPTED = 2, 130

app = typer.Typer(
    name="mutransfer",
    help="Hyperparameter transfer for the PyTorch model you already have: wrap, tune small, verify wide.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Target = Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="A config file, or a run directory to go on with.")]
Explained = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG|RUN|PACKAGE.MODULE:FACTORY", help="A config file, a run directory, or a factory build(width)."
    ),
]
Options = Annotated[
    list[str] | None, typer.Option("-o", metavar="A.B=C", help="Override a config value; may be repeated.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Run directory [default: runs/<config name>].")]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout, the verdict last.")]
Plain = Annotated[bool, typer.Option("--plain", help="One plain line per event, no progress bars.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Results only.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what the run directory holds and start anew.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it would cost.")]


@app.command()
def run(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
    dry_run: DryRun = False,
) -> None:
    """The whole path: explain, coordinate check, tune, verify, report. Goes on where it stopped.

    Exit codes: 0 pass, 1 negative verdict, 2 usage or config, 3 inconclusive, 130 interrupted.
    """
    with _session(target, option, out, json_lines, plain, quiet, fresh=fresh and not dry_run, keep=not dry_run) as (
        flow,
        say,
    ):
        say(flow.regime)
        for note in flow.notes:
            say(note)
        if dry_run:
            flow.without_record(always=fresh)
        if dry_run:
            _tell_flops(flow, say)
        _announce(flow, say)
        if dry_run:
            return
        checks = flow.coordinates()
        for name, check in checks.items():
            say(f"coordinate check, {name}: {'passes' if check.passed else 'does not pass'}")
        tuned = flow.tune()
        say(_tuned(flow, tuned))
        found = flow.verify(tuned)
        page = flow.report(checks, tuned, found)
        _conclude(flow, found, page, json_lines, say)


@app.command()
def explain(target: Explained, option: Options = None) -> None:
    """The Plan: role and factors of every parameter at the largest width, and what theory says of it.

    For a factory, -o base_width=64 -o width=256 -o parameterization=mup -o optimizer=adamw say what to plan.
    """
    if ":" in str(target) and not target.exists():
        from mutransfer.config.draft import explain_factory

        print_line(explain_factory(str(target), option or []))
        return
    with _session(target, option, None, False, False, False, keep=False) as (flow, say):
        say(flow.regime)
        say(str(flow.largest_plan))


@app.command()
def init(
    factory: Annotated[str, typer.Argument(metavar="PACKAGE.MODULE:FACTORY", help="build(width) -> torch.nn.Module.")],
    out: Annotated[Path | None, typer.Option("--out", help="File to write [default: print it].")] = None,
) -> None:
    """A commented config for a model factory, with what was found out about it."""
    from mutransfer.config.draft import init_config

    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already; name another file with --out")
    text = init_config(factory)
    if out is None:
        print_line(text)
        return
    out.write_text(text, encoding="utf-8")
    print_line(f"wrote {out}: fill in `data`, then `mutransfer explain {out}` and `mutransfer run {out}`")


@app.command()
def coords(target: Target, option: Options = None, json_lines: Json = False) -> None:
    """The coordinate check: how activations and their change scale with width, for every parameterization."""
    with _session(target, option, None, json_lines, False, False, keep=False) as (flow, say):
        checks = flow.coordinates()
        for name, check in checks.items():
            say(f"\n{name}: {'passes' if check.passed else 'does not pass'}")
            say(check.table())
            for failure in check.failures:
                say(f"  - {failure}")
        if json_lines:
            verdicts = {name: {"passed": c.passed, "failures": c.failures} for name, c in checks.items()}
            print(json.dumps({"event": "coordinates", "checks": verdicts}))
        raise typer.Exit(0 if checks[flow.studied[0]].passed else 1)


@app.command("tune")
def tune_(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
) -> None:
    """The search at base width."""
    with _session(target, option, out, json_lines, plain, quiet, fresh=fresh) as (flow, _):
        tuned = flow.tune()
        if json_lines:
            print(json.dumps({"event": "tuned", "best": dict(tuned.best), "interval": dict(tuned.interval)}))
        else:
            print(_tuned(flow, tuned))


@app.command()
def verify(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
) -> None:
    """The transfer check: tunes first, where that has not been done."""
    with _session(target, option, out, json_lines, plain, quiet, fresh=fresh) as (flow, say):
        _announce(flow, say)
        found = flow.verify(flow.tune())
        _conclude(flow, found, None, json_lines, say)


@app.command("falsify")
def falsify_(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
) -> None:
    """The frozen-feature control: how much of what the model learns at the largest width needs no features.

    Exit codes: 0 features are needed, 1 frozen features suffice, 2 usage or config, 3 inconclusive, 130 interrupted.
    """
    with _session(target, option, out, json_lines, plain, quiet, fresh=fresh) as (flow, _):
        from mutransfer.report.write import write_falsification

        found = flow.falsify()
        page = write_falsification(found, flow.folder.path)
        if json_lines:
            fields = {"finding": str(found.finding), "sentence": found.sentence, "exit_code": found.exit_code}
            print_line(json.dumps({"event": "falsification", **fields}))
        else:
            print_line(f"\n{found.finding}: {found.sentence}\nreport: {page}")
        raise typer.Exit(found.exit_code)


@app.command()
def report(target: Target, option: Options = None) -> None:
    """Write the report of a finished run directory again; makes no new run."""
    from mutransfer.study.workflow import refuse_new_runs

    with _session(target, option, None, False, False, False, sink=refuse_new_runs) as (flow, say):
        tuned = flow.tune()
        found = flow.verify(tuned)
        say(f"report: {flow.report(flow.coordinates(), tuned, found)}")


def main() -> None:
    """The entry point: errors that are the user's to mend are told in words, with exit code 2."""
    try:
        app()
    except MutransferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except Exception:  # in the user's own model, data or loss, more likely than in ours: not a verdict (exit code 1)
        traceback.print_exc()
        print("error: the study stopped on the exception above; finished runs are kept", file=sys.stderr)
        sys.exit(USAGE_ERROR)


@contextmanager
def _session(
    target: Path,
    options: list[str] | None,
    out: Path | None,
    json_lines: bool,
    plain: bool,
    quiet: bool,
    *,
    fresh: bool = False,
    keep: bool = True,
    sink: Any = None,
) -> Iterator[tuple[Workflow, Any]]:
    """An open study and a function that speaks to the person; interruptions and the record are taken care of."""
    from rich.console import Console

    from mutransfer.report.console import JsonSink, PlainSink, TerminalSink, fan_out
    from mutransfer.report.tensorboard import TensorBoardSink
    from mutransfer.study.folder import open_study
    from mutransfer.study.workflow import Workflow
    from mutransfer.training.events import Note, silent

    config, folder = open_study(target, out, options or [])
    if fresh and config.storage is not None:
        raise ConfigError(
            f"--fresh forgets what is in the run directory, but the runs are in {config.storage}; "
            "name another storage to start anew"
        )
    console = Console(stderr=json_lines)
    if json_lines:
        shown: Any = JsonSink(print_line)
    elif quiet:
        shown = silent
    elif plain or not console.is_terminal:
        shown = PlainSink(print_line)
    else:
        shown = TerminalSink(console)
    # Each run has its own event file; verbs that keep nothing write none.
    sinks = [shown, sink or (TensorBoardSink(folder.tensorboard) if keep else silent)]
    flow = Workflow(config, folder, fan_out(*sinks))

    def say(text: str) -> None:
        shown(Note(text=text))

    try:
        if keep:
            with flow:
                if fresh:
                    flow.forget()
                yield flow, say
        else:
            yield flow, say
    except KeyboardInterrupt:
        if isinstance(shown, TerminalSink):
            shown.close()
        if keep and folder.config.exists():
            done = f"{len(flow.stored())} finished runs are kept in {folder.path}"
            print(f"interrupted: {done}. Go on with: mutransfer run {shlex.quote(str(folder.path))}", file=sys.stderr)
        else:
            print("interrupted before the first run; nothing was kept", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        if isinstance(shown, TerminalSink):
            shown.close()


def print_line(text: str) -> None:
    print(text, flush=True)


def _tuned(flow: Workflow, tuned: TuneResult) -> str:
    from mutransfer.report.lines import widths_text

    return f"tuned at width {widths_text([flow.config.base_width])}: {tuned}"


def _announce(flow: Workflow, say: Any) -> None:
    from mutransfer.report.lines import widths_text
    from mutransfer.report.time_left import duration

    runs, seconds = flow.expected_cost()
    say(
        f"{runs} runs to do ({len(flow.record)} in the record) at widths "
        f"{widths_text([flow.config.base_width, *flow.config.widths])} on {flow.device}, about {duration(seconds)}; "
        f"results in {flow.folder.path}. Interrupt at will: `mutransfer run {flow.folder.path}` goes on."
    )


def _tell_flops(flow: Workflow, say: Any) -> None:
    expected = flow.expected_flops()
    how = "sequential" if flow.sequential else "the full grid; sequential: true would take"
    say(
        f"verifying one parameterization beyond width {flow.config.base_width}: {how} {expected} "
        f"({expected.usual:.2g} of {expected.full:.2g} FLOPs)"
    )


def _conclude(flow: Workflow, found: dict[str, Verification], page: Path | None, json_lines: bool, say: Any) -> None:
    first = found[flow.studied[0]]
    if json_lines:
        fields = {
            "verdict": str(first.verdict),
            "movement": str(first.movement),
            "exit_code": first.exit_code,
        }
        print_line(json.dumps({"event": "verdict", "headline": first.headline, **fields}))
    else:
        print_line(f"\n{first.headline}: {first.sentence}\n  {first.reason}; {first.movement_reason}.")
        for name in flow.studied[1:]:
            print_line(f"  control {name}: {found[name].verdict}, {found[name].movement}. {found[name].sentence}")
        if page is not None:
            print_line(f"report: {page}")
            print_line(f"curves: tensorboard --logdir {flow.folder.tensorboard}")
    raise typer.Exit(first.exit_code)
