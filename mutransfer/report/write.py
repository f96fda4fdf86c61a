"""The files of a report in a run directory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mutransfer.report.contents import FALSIFICATION, STUDY, StudySection
from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.render import to_html, to_markdown
from mutransfer.report.section import Page
from mutransfer.transfer.falsification.falsify import Falsification


def write_report(study: FinishedStudy, folder: Path, *, contents: Sequence[StudySection] = STUDY) -> Path:
    """Write report.html, report.md and verdict.json into ``folder``; returns the HTML file."""
    sections = tuple(section for make in contents if (section := make(study)) is not None)
    page = Page(title=study.title, headline=study.main.headline, sections=sections)
    html = folder / "report.html"
    write_whole(html, to_html(page))
    write_whole(folder / "report.md", to_markdown(page))
    write_whole(folder / "verdict.json", json.dumps(page.data, indent=2) + "\n")
    return html


def write_falsification(falsification: Falsification, folder: Path) -> Path:
    """Write falsify.html and falsify.json into ``folder``; returns the HTML file."""
    data = json.dumps(falsification.to_dict(), indent=2, allow_nan=False)
    write_whole(folder / "falsify.json", data + "\n")
    sections = tuple(section for make in FALSIFICATION if (section := make(falsification)) is not None)
    title = f"{falsification.task}: the frozen-feature control"
    page = Page(title=title, headline=str(falsification.finding), sections=sections)
    html = folder / "falsify.html"
    write_whole(html, to_html(page))
    return html


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file in one move: whoever reads it, or stops the program, finds all of the old one or of the new.

    ``private``: readable by its owner alone.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if not private:  # temporary files are; others are as the umask says
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
