"""The files of a report in a run directory."""

from __future__ import annotations

import json
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
    html.write_text(to_html(page), encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(page), encoding="utf-8")
    (folder / "verdict.json").write_text(json.dumps(page.data, indent=2) + "\n", encoding="utf-8")
    return html


def write_falsification(falsification: Falsification, folder: Path) -> Path:
    """Write falsify.html and falsify.json into ``folder``; returns the HTML file."""
    data = json.dumps(falsification.to_dict(), indent=2, allow_nan=False)
    (folder / "falsify.json").write_text(data + "\n", encoding="utf-8")
    sections = tuple(section for make in FALSIFICATION if (section := make(falsification)) is not None)
    title = f"{falsification.task}: the frozen-feature control"
    page = Page(title=title, headline=str(falsification.finding), sections=sections)
    html = folder / "falsify.html"
    html.write_text(to_html(page), encoding="utf-8")
    return html
