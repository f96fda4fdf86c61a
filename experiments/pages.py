"""Tables between the markers of a page: what a script measured, written where it is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

END = "<!-- end -->"


def write_between(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- table: NAME -->`` and ``<!-- end -->`` of a page."""
    before, _, after = _parts(page, name)
    page.write_text(f"{before}\n{text}\n{after}", encoding="utf-8")


def between(page: Path, name: str) -> str:
    """The text that stands between the markers of a page."""
    return _parts(page, name)[1].strip()


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def _parts(page: Path, name: str) -> tuple[str, str, str]:
    """The page up to and with the first marker, what is between, and the rest from the second marker on."""
    start, text = f"<!-- table: {name} -->", page.read_text(encoding="utf-8")
    before, found, rest = text.partition(start)
    block, ended, after = rest.partition(END)
    if not (found and ended):
        raise SystemExit(f"{page} has no lines {start!r} and {END!r} to write the table between")
    return before + start, block, END + after
