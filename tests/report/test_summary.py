"""The report of a finished study: one file that opens anywhere, and the same content for text and machines."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from mutransfer.config.loading import load_config
from mutransfer.report import plots
from mutransfer.study.folder import Folder
from mutransfer.study.workflow import Workflow, refuse_new_runs


class Page(HTMLParser):
    """Tags with their attributes, and the text of each kind of tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)


@pytest.fixture(scope="module")
def html(finished):
    return (finished.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def markdown(finished):
    return (finished.folder / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def verdict(finished):
    return json.loads((finished.folder / "verdict.json").read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def found(finished):
    """The verifications behind the report, from the record alone."""
    flow = Workflow(load_config(finished.folder / "config.yaml"), Folder(finished.folder), refuse_new_runs)
    return flow.verify(flow.tune())


def test_the_page_needs_no_network(html, page):
    links = re.findall(r"[\w:]*=?[\"']?https?://[^\s\"'<]*", html)
    assert [link for link in links if not link.startswith("xmlns")] == []
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe")
        assert "src" not in attributes
        assert attributes.get("xlink:href", "#").startswith("#")
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_page_begins_with_the_verdict(page, found):
    assert found["mup"].headline in "".join(page.texts["title"])
    bold = page.texts["b"][0]
    assert bold == "TRANSFERS"
    assert found["mup"].sentence in "".join(page.texts["div"]).replace("\n", " ")


def test_the_loss_figure_has_a_curve_per_width_for_every_parameterization(found):
    for verification in found.values():
        svg = plots.loss_curves(verification)
        text = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        for width in verification.optima:
            assert text.count(str(width)) == 1  # its line in the legend
        # legend lines beside, a solid line per width in a colour of its own with a marker per learning rate
        colours = re.findall(r'style="fill: none; stroke: (#\w+); stroke-width: 1\.2', svg)
        assert len(set(colours)) == len(verification.optima)


def test_the_figures_are_in_the_page(html, page, found):
    figures = [tag for tag, _ in page.tags if tag == "svg"]
    assert len(figures) == 2 + 1 + 2 + 2 + 2  # curves, optimum, features, kernels, coordinates: of mup and ntk
    for verification in found.values():
        assert plots.loss_curves(verification) in html
    assert plots.optimum_against_width(found) in html


def test_the_page_holds_the_plan_the_study_and_how_to_run_it_again(page, finished):
    pre = "".join(page.texts["pre"])
    assert "mup for adam, forward form, width 64 -> 512" in pre
    assert "3.weight" in pre
    assert f"mutransfer run {finished.folder}" in pre
    assert (finished.folder / "config.yaml").read_text().strip() in pre


def test_markdown_tells_the_same_verdict_and_tables(markdown, page, found):
    for verification in found.values():
        assert verification.sentence in markdown
        assert verification.reason in markdown
    assert markdown.splitlines()[2] == f"**TRANSFERS: {found['mup'].sentence}**"
    cells = {" ".join(cell.split()) for cell in page.texts["td"]}
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if re.match(r"\| (64|256|512) \|", line)]
    assert len(rows) == 6  # three widths, two parameterizations
    for row in rows:
        assert set(row) <= cells
    assert "```\nmup for adam, forward form, width 64 -> 512" in markdown


def test_the_machine_readable_verdict_is_that_of_the_verification(verdict, found):
    assert list(verdict) == list(found) == ["mup", "ntk"]
    for name, v in found.items():
        assert (verdict[name]["verdict"], verdict[name]["movement"]) == (v.verdict, v.movement)
        assert verdict[name]["headline"] == v.headline
        assert verdict[name]["optima"] == {str(w): [o.log2_lr, o.low, o.high] for w, o in v.optima.items()}
        assert verdict[name]["regret_log_loss"] == {str(w): [r.value, r.low, r.high] for w, r in v.regret.items()}
        assert verdict[name]["transferred_log2_lr"] == v.transferred_log2_lr
        assert verdict[name]["tolerance_octaves_per_doubling"] == v.drift_tolerance
        assert verdict[name]["flat"] == [str(w) for w, o in v.optima.items() if o.flat]
        assert verdict[name]["at_edge"] == {str(w): o.at_edge for w, o in v.optima.items() if o.at_edge}
        assert verdict[name]["feature_slopes"] == {m: [s.value, s.low, s.high] for m, s in v.features.items()}


def test_the_verdict_inside_the_page_is_the_one_beside_it(html, verdict):
    inside = re.search(r'<script type="application/json" id="verdict">(.*)</script>', html)[1]
    assert json.loads(inside) == verdict


def test_the_table_of_a_width_tells_what_its_runs_were(markdown, found):
    sweep, optimum = found["mup"].sweeps[512], found["mup"].optima[512]
    row = next(line for line in markdown.splitlines() if line.startswith("| 512 |"))
    at = [r.final_loss for r in sweep.results[found["mup"].transferred_log2_lr]]
    n_runs = sum(map(len, sweep.results.values()))
    assert f"| {64 * 512 + 512 + 512 * 10 + 10:,} |" in row
    flat = ", flat" if optimum.flat else ""
    assert f"| {optimum.log2_lr:.2f} [{optimum.low:.2f}, {optimum.high:.2f}]{flat} |" in row
    assert ("flat: over two octaves" in markdown) == any(o.flat for v in found.values() for o in v.optima.values())
    assert f"| {math.prod(at) ** (1 / 3):.4g} |" in row  # a geometric mean, as the fitted curve is of logarithms
    assert f"| {n_runs} (" in row
    regret = found["mup"].regret[512]
    assert f"| {100 * math.expm1(regret.value):+.0f} % [" in row


def test_what_is_called_small_is_told(markdown, html, found):
    for v in found.values():
        loss, drift = f"{100 * math.expm1(v.tolerance):.1f} % of loss", f"{v.drift_tolerance:.2f} octaves"
        told = f"up to {loss}, and a drift of up to {drift}"
        assert told in markdown
        assert told in html


def test_what_watched_runs_saw_is_told(markdown, html, verdict, found):
    for name, law in (("mup", 0.0), ("ntk", -1.0)):
        over = found[name].over_training
        assert list(over.kernel_drift) == list(over.target_alignment) == list(found[name].sweeps)
        assert len(over.kernel_slopes) == 3  # an eighth, a half and all of the steps
        assert over.kernel_slope.predicted == law
        assert verdict[name]["kernel_drift_slope"][0] == over.kernel_slope.value
        assert set(over.effective) == set(over.update_alignment) == {"1", "3"}
        assert "1" not in over.propagated  # its inputs stay
        assert f"| 3 | {over.effective['3']} | {over.propagated['3']} |" in markdown
        assert f"n^{over.kernel_slope} after step" in markdown
        assert f"n^{over.kernel_slope} after step" in html
        assert plots.kernel_drift(found[name]) in html


def test_figures_are_the_same_every_time(found):
    assert plots.loss_curves(found["mup"]) == plots.loss_curves(found["mup"])
    assert plots.feature_movement(found["ntk"]) == plots.feature_movement(found["ntk"])


def test_the_feature_figure_tells_fitted_and_predicted_slope(found):
    svg = plots.feature_movement(found["ntk"])
    assert f"1: n^{found['ntk'].features['1'].value:+.2f}" in svg
    assert "theory: n^-0.5" in svg
