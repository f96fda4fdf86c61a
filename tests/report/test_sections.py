"""Sections by themselves: what each format shows of them."""

from mutransfer.report.render import to_html, to_markdown
from mutransfer.report.section import Page, Section


def test_a_section_of_figures_alone_is_left_out_of_markdown():
    pictures = Section(title="Pictures", caption="What they show.", figures=("<svg></svg>",))
    page = Page(title="t", headline="h", sections=(pictures, Section(title="Words", notes=("said",))))
    assert to_markdown(page) == "# t\n\n## Words\n\nsaid\n\n"
    assert '<h2>Pictures</h2>\n<p class="quiet">What they show.</p>' in to_html(page)


def test_a_page_without_data_holds_no_script():
    assert "<script" not in to_html(Page(title="t", headline="h", sections=(Section(notes=("said",)),)))
