"""The name under which a task's runs are recorded: results of other code are not served as this one's."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from mutransfer.config.loading import load_config
from mutransfer.config.task import load_task
from mutransfer.errors import MutransferError, RecordError
from mutransfer.study.fingerprint import Fingerprint, fingerprint
from mutransfer.study.folder import Folder
from mutransfer.training.task import Task, label_of
from mutransfer.training.task_adapters import NamedTask, name_without_args
from mutransfer.transfer.runs.record import Record
from mutransfer.widths import Width, show_width

_TOLD = 3  # changes that a sentence names


class Changed(StrEnum):
    """The choice that a person has where code has changed since its runs were made."""

    REUSE = "reuse"  # its results hold for the changed code too
    ANEW = "anew"  # runs are made anew, beside those that are there


Ask = Callable[[str], Changed]


def refuse_other_code(told: str) -> Changed:
    """No choice, where nobody can be asked."""
    raise RecordError(
        f"{told}. Say what to do with them: --changed {Changed.REUSE} takes them as this code's, "
        f"--changed {Changed.ANEW} makes runs anew beside them"
    )


def known_task(
    task: Task,
    record: Record,
    base_width: Width,
    *,
    ask: Ask = refuse_other_code,
    earlier: Callable[[], Task | None] = lambda: None,
    keep: bool = True,
) -> Task:
    """The task under the name of those runs in the record that are its own.

    Args:
        ask: what to do where the record holds runs of that name by other code.
        earlier: the task of the config that the run directory holds: runs from before ``args`` were part of a task's
            name are of that one.
        keep: whether to write down what was found out.
    """
    unknown = not record.known_code and len(record) > 0
    if unknown and (old := earlier()) is not None and record.holds(plain := name_without_args(old)):
        record.known_code[_place(old, base_width)] = [{"name": plain, "fingerprint": None}]
    now, place = fingerprint(task, base_width), _place(task, base_width)
    versions = record.known_code.get(place, [])
    told: list[str] = []
    for version in reversed(versions):
        told = list(now.changes(Fingerprint.from_dict(version["fingerprint"]))) if version["fingerprint"] else []
        if not told:
            name = version["name"]
            break
    else:
        name = label_of(task)
        if versions:
            told = list(now.changes(Fingerprint.from_dict(versions[-1]["fingerprint"])))
            more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
            choice = ask(f"the runs of {name} are of other code: {'; '.join(told[:_TOLD])}{more}")
            name = versions[-1]["name"] if choice is Changed.REUSE else f"{name} @{now.digest}"
    if keep and not any(v["name"] == name and v["fingerprint"] == now.to_dict() for v in versions):
        known = [v for v in versions if v["fingerprint"]]
        record.keep_code(place, [*known, {"name": name, "fingerprint": now.to_dict()}])
    return task if name == label_of(task) else NamedTask(task, name)


def earlier_task(folder: Folder) -> Task | None:
    """The task of the config that the run directory holds, if it can still be made."""
    try:
        return load_task(load_config(folder.config))
    except MutransferError:
        return None


def _place(task: Task, base_width: Width) -> str:
    return f"{label_of(task)}, width {show_width(base_width)}"
