"""Names and texts that others chose, made safe for where they are shown."""

from __future__ import annotations

import re

_EMPHASIS = re.compile(r"(?<!\w)_|_(?!\w)")  # within a word it is none
_TAG = re.compile(r"<(?=[A-Za-z/!?])")  # a comparison is none
_LONGEST_FENCE = re.compile(r"^\s*(`{3,})", re.MULTILINE)


def for_terminal(text: str) -> str:
    r"""The text with control characters, which would steer a terminal, as Python writes them.

    >>> for_terminal("a\x1b[31mb\n")
    'a\\x1b[31mb\n'
    """
    return "".join(c if c in "\n\t" or c.isprintable() or c == "\u00a0" else repr(c)[1:-1] for c in text)


def for_markdown(text: str) -> str:
    r"""The text as Markdown that shows it: on one line, nothing of it markup, and no end of a table's cell.

    >>> for_markdown("a|b <b>*c*</b> d_e")
    'a\\|b &lt;b>\\*c\\*&lt;/b> d_e'
    """
    line = for_terminal(" ".join(text.split("\n"))).replace("\\", "\\\\")
    line = _TAG.sub("&lt;", line)
    for mark in ("`", "*", "|"):
        line = line.replace(mark, f"\\{mark}")
    return _EMPHASIS.sub(r"\\_", line).replace("](", "]\\(")


def fence(code: str) -> str:
    """A row of backticks longer than any that begins a line of the code."""
    return "`" * max([3, *(len(row) + 1 for row in _LONGEST_FENCE.findall(code))])
