"""What a study says to a person, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mutransfer.report.console_lines import widths_text
from mutransfer.report.time_left import duration
from mutransfer.study.workflow import Workflow
from mutransfer.transfer.search.tune import TuneResult
from mutransfer.transfer.verification.result import Verification


def announcement(flow: Workflow) -> str:
    """The runs that are left to do, where and for how long."""
    runs, seconds = flow.cost.left(flow.record)
    error = f"{duration(seconds.least)} to {duration(seconds.most)} by a few steps of small widths; " if runs else ""
    widths, about = widths_text([flow.config.base_width, *flow.config.widths]), duration(seconds.usual)
    return (
        f"{runs} runs to do ({len(flow.record)} in the record) at widths {widths} on {flow.device}, about {about}; "
        f"{error}results in {flow.folder.path}. Interrupt at will: `mutransfer run {flow.folder.path}` goes on."
    )


def flops_text(flow: Workflow) -> str:
    """The cost of verifying one parameterization, sequentially and by the full grid."""
    expected = flow.cost.verification()
    how = "sequential" if flow.sequential else "the full grid; sequential: true would take"
    return (
        f"verifying one parameterization beyond width {flow.config.base_width}: {how} {expected} "
        f"({expected.usual:.2g} of {expected.full:.2g} FLOPs)"
    )


def tuned_text(flow: Workflow, tuned: TuneResult) -> str:
    """The hyperparameters that were found at base width."""
    return f"tuned at width {widths_text([flow.config.base_width])}: {tuned}"


def conclusion(flow: Workflow, verifications: Mapping[str, Verification], page: Path | None) -> Iterator[str]:
    """The verdict under study, those of the controls, and where the report is, if there is one."""
    first, *controls = flow.studied
    main = verifications[first]
    yield f"\n{main.headline}: {main.sentence}\n  {main.reason}; {main.movement_reason}."
    for name in controls:
        control = verifications[name]
        yield f"  control {name}: {control.verdict}, {control.movement}. {control.sentence}"
    if page is not None:
        yield f"report: {page}"
        yield f"curves: tensorboard --logdir {flow.folder.tensorboard}"
