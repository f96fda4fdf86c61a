"""A page as HTML and as Markdown, by templates that loop over its sections."""

from __future__ import annotations

import jinja2

from mutransfer.report.section import Page
from mutransfer.report.text import fence, for_markdown

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("mutransfer.report"),
    autoescape=jinja2.select_autoescape(["html.j2"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
ENVIRONMENT.filters |= {"md": for_markdown, "fence": fence}


def to_html(page: Page) -> str:
    """One self-contained HTML file, with the page's data in it."""
    return ENVIRONMENT.get_template("page.html.j2").render(page=page)


def to_markdown(page: Page) -> str:
    """The same without figures."""
    return ENVIRONMENT.get_template("page.md.j2").render(page=page)
