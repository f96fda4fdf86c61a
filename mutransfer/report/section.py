"""The value that every part of a report is, and the page that they make up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Tone = Literal["good", "bad", "open", "neutral"]


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The boxed answer that leads a page."""

    headline: str  # one word or two: TRANSFERS
    sentence: str
    reason: str = ""
    tone: Tone = "neutral"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a report, shown in the order of its fields; what is empty is not shown.

    A section without a title goes on under the heading above it. ``figures`` and ``caption`` are for HTML alone, so
    that a section of nothing else is left out of Markdown.
    """

    title: str = ""
    banner: Banner | None = None
    notes: tuple[str, ...] = ()  # a paragraph each
    caption: str = ""  # what the figures show
    figures: tuple[str, ...] = ()  # SVG
    table: Sequence[Mapping[str, str]] = ()  # rows, column -> cell
    points: tuple[str, ...] = ()  # a bullet each
    code: str = ""
    language: str = ""  # of the code
    small_print: str = ""  # how to read the table or the code
    parts: tuple[Section, ...] = ()  # a level below, or on the same level where there is no title
    data: Mapping[str, Any] = field(default_factory=dict)  # for machines, see Page.data

    @property
    def has_text(self) -> bool:
        """Whether there is something to show without figures."""
        own = (self.banner, self.notes, self.table, self.points, self.code, self.small_print)
        return any(own) or any(part.has_text for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A whole report: ``title`` is its first heading, with ``headline`` that of its window."""

    title: str
    headline: str
    sections: tuple[Section, ...]

    @property
    def data(self) -> dict[str, Any]:
        """The data of the sections, merged: name -> field -> value, as verdict.json has them."""
        merged: dict[str, Any] = {}
        for section in self.sections:
            for name, fields in section.data.items():
                merged.setdefault(name, {}).update(fields)
        return merged
