"""The verbs. Torch is imported inside them, so that --help answers at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, ParamSpec

import typer

from mutransfer.errors import ConfigError
from mutransfer.study.ending import ending_code, print_line

if TYPE_CHECKING:
    from mutransfer.study.workflow import Workflow
    from mutransfer.transfer.verification.result import Verification

Arguments = ParamSpec("Arguments")

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
WhereChanged = Annotated[
    str | None,
    typer.Option(
        "--changed",
        metavar="reuse|anew",
        help="Where the code has changed since its runs were made: take those, or make new ones beside them.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it would cost.")]


def verb(name: str) -> Callable[[Callable[Arguments, int | None]], Callable[Arguments, NoReturn]]:
    """Make a function a command whose exit code is what the function returns, whatever code of the study does."""

    def register(function: Callable[Arguments, int | None]) -> Callable[Arguments, NoReturn]:
        @app.command(name)
        @functools.wraps(function)
        def command(*args: Arguments.args, **kwargs: Arguments.kwargs) -> NoReturn:
            raise typer.Exit(ending_code(lambda: function(*args, **kwargs)))

        return command

    return register


@verb("run")
def run_command(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
    changed: WhereChanged = None,
    dry_run: DryRun = False,
) -> int:
    """The whole path: explain, coordinate check, tune, verify, report. Goes on where it stopped.

    Exit codes: 0 pass, 1 negative verdict, 2 usage, config or the study's code, 3 inconclusive, 130 interrupted.
    """
    from mutransfer.study.messages import announcement, flops_text, tuned_text
    from mutransfer.study.session import View, asking, open_session

    view = View(json_lines=json_lines, plain=plain, quiet=quiet)
    with open_session(
        target,
        option,
        print_line,
        view=view,
        out=out,
        fresh=fresh and not dry_run,
        keep=not dry_run,
        ask=asking(changed),
    ) as (flow, say):
        for text in (flow.regime, *flow.tables.notes):
            say(text)
        if dry_run:
            flow.without_record(always=fresh)
            say(flops_text(flow))
        say(announcement(flow))
        if dry_run:
            return 0
        checks = flow.coordinates()
        for name, check in checks.items():
            say(f"coordinate check, {name}: {'passes' if check.passed else 'does not pass'}")
            for note in check.notes:
                say(f"  {note}")
        tuned = flow.tune()
        say(tuned_text(flow, tuned))
        verifications = flow.verify(tuned)
        page = flow.report(checks, tuned, verifications)
        return _conclude(flow, verifications, page, json_lines)


@verb("explain")
def explain_command(target: Explained, option: Options = None) -> None:
    """The Plan: role and factors of every parameter at the largest width, and what theory says of it.

    For a factory, -o base_width=64 -o width=256 -o parameterization=mup -o optimizer=adamw say what to plan.
    """
    if ":" in str(target) and not target.exists():
        from mutransfer.config.draft import explain_factory

        print_line(explain_factory(str(target), option or []))
        return
    from mutransfer.study.session import open_session

    with open_session(target, option, print_line, keep=False) as (flow, say):
        say(flow.regime)
        say(str(flow.largest_plan))


@verb("init")
def init_command(
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


@verb("coords")
def coords_command(target: Target, option: Options = None, json_lines: Json = False) -> int:
    """The coordinate check: how activations and their change scale with width, for every parameterization."""
    from mutransfer.study.session import View, open_session

    with open_session(target, option, print_line, view=View(json_lines=json_lines), keep=False) as (flow, say):
        checks = flow.coordinates()
        for name, check in checks.items():
            say(f"\n{name}: {'passes' if check.passed else 'does not pass'}")
            say(check.table())
            for note in check.notes:
                say(f"  {note}")
            for failure in check.failures:
                say(f"  - {failure}")
        if json_lines:
            verdicts = {name: {"passed": c.passed, "failures": c.failures} for name, c in checks.items()}
            print_event("coordinates", checks=verdicts)
        return 0 if checks[flow.studied[0]].passed else 1


@verb("tune")
def tune_command(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
    changed: WhereChanged = None,
) -> None:
    """The search at base width."""
    from mutransfer.study.messages import tuned_text
    from mutransfer.study.session import View, asking, open_session

    view = View(json_lines=json_lines, plain=plain, quiet=quiet)
    with open_session(target, option, print_line, view=view, out=out, fresh=fresh, ask=asking(changed)) as (flow, _):
        tuned = flow.tune()
        if json_lines:
            print_event("tuned", best=dict(tuned.best), interval=dict(tuned.interval))
        else:
            print_line(tuned_text(flow, tuned))


@verb("verify")
def verify_command(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
    changed: WhereChanged = None,
) -> int:
    """The transfer check: tunes first, where that has not been done."""
    from mutransfer.study.messages import announcement
    from mutransfer.study.session import View, asking, open_session

    view = View(json_lines=json_lines, plain=plain, quiet=quiet)
    with open_session(target, option, print_line, view=view, out=out, fresh=fresh, ask=asking(changed)) as (flow, say):
        say(announcement(flow))
        return _conclude(flow, flow.verify(flow.tune()), None, json_lines)


@verb("falsify")
def falsify_command(
    target: Target,
    option: Options = None,
    out: Out = None,
    json_lines: Json = False,
    plain: Plain = False,
    quiet: Quiet = False,
    fresh: Fresh = False,
    changed: WhereChanged = None,
) -> int:
    """The frozen-feature control: how much of what the model learns at the largest width needs no features.

    Exit codes: 0 features are needed, 1 frozen features suffice, 2 usage or config, 3 inconclusive, 130 interrupted.
    """
    from mutransfer.report.write import write_falsification
    from mutransfer.study.session import View, asking, open_session

    view = View(json_lines=json_lines, plain=plain, quiet=quiet)
    with open_session(target, option, print_line, view=view, out=out, fresh=fresh, ask=asking(changed)) as (flow, _):
        falsification = flow.falsify()
        page = write_falsification(falsification, flow.folder.path)
        finding, sentence, code = str(falsification.finding), falsification.sentence, falsification.exit_code
        if json_lines:
            print_event("falsification", finding=finding, sentence=sentence, exit_code=code)
        else:
            print_line(f"\n{finding}: {sentence}\nreport: {page}")
        return code


@verb("report")
def report_command(target: Target, option: Options = None, changed: WhereChanged = None) -> None:
    """Write the report of a finished run directory again; makes no new run."""
    from mutransfer.study.session import asking, open_session

    with open_session(target, option, print_line, new_runs=False, ask=asking(changed)) as (flow, say):
        tuned = flow.tune()
        verifications = flow.verify(tuned)
        say(f"report: {flow.report(flow.coordinates(), tuned, verifications)}")


def main() -> None:
    """The entry point. Errors that are the user's to mend are told in words, with exit code 2."""
    app()


def print_event(event: str, **fields: object) -> None:
    """The last line of ``--json``."""
    print_line(json.dumps({"event": event, **fields}))


def _conclude(flow: Workflow, verifications: Mapping[str, Verification], page: Path | None, json_lines: bool) -> int:
    """Tell the verdicts; returns the exit code of the one under study."""
    from mutransfer.study.messages import conclusion

    main = verifications[flow.studied[0]]
    if json_lines:
        verdict, movement = str(main.verdict), str(main.movement)
        print_event("verdict", headline=main.headline, verdict=verdict, movement=movement, exit_code=main.exit_code)
    else:
        for line in conclusion(flow, verifications, page):
            print_line(line)
    return main.exit_code
