"""The report of a finished study: one file that opens anywhere, and the same content for text and machines."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from mutransfer.config.loading import load_config
from mutransfer.report.contents import STUDY, for_each_parameterization
from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section
from mutransfer.report.sections.against_width import optimum_figure
from mutransfer.report.sections.loss_curves import loss_curves_figure
from mutransfer.report.sections.per_parameterization.features import feature_change_figure
from mutransfer.report.sections.per_parameterization.tangent_kernel import kernel_drift_figure
from mutransfer.report.write import write_report
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
def verifications(finished):
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


def test_the_page_begins_with_the_verdict(page, verifications):
    assert verifications["mup"].headline in "".join(page.texts["title"])
    bold = page.texts["b"][0]
    assert bold == "TRANSFERS"
    assert verifications["mup"].sentence in "".join(page.texts["div"]).replace("\n", " ")


def test_the_loss_figure_has_a_curve_per_width_for_every_parameterization(verifications):
    for verification in verifications.values():
        svg = loss_curves_figure(verification)
        text = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        for width in verification.optima:
            assert text.count(str(width)) == 1  # its line in the legend
        # legend lines beside, a solid line per width in a colour of its own with a marker per learning rate
        colours = re.findall(r'style="fill: none; stroke: (#\w+); stroke-width: 1\.2', svg)
        assert len(set(colours)) == len(verification.optima)


def test_the_figures_are_in_the_page(html, page, verifications):
    figures = [tag for tag, _ in page.tags if tag == "svg"]
    assert len(figures) == 2 + 1 + 2 + 2 + 2  # curves, optimum, features, kernels, coordinates: of mup and ntk
    for verification in verifications.values():
        assert loss_curves_figure(verification) in html
    assert optimum_figure(verifications) in html


def test_the_page_holds_the_plan_the_study_and_how_to_run_it_again(page, finished):
    pre = "".join(page.texts["pre"])
    assert "mup for adam, forward form, width 64 -> 512" in pre
    assert "3.weight" in pre
    assert f"mutransfer run {finished.folder}" in pre
    assert (finished.folder / "config.yaml").read_text().strip() in pre


def test_markdown_tells_the_same_verdict_and_tables(markdown, page, verifications):
    for verification in verifications.values():
        assert verification.sentence in markdown
        assert verification.reason in markdown
    assert markdown.splitlines()[2] == f"**TRANSFERS: {verifications['mup'].sentence}**"
    cells = {" ".join(cell.split()) for cell in page.texts["td"]}
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if re.match(r"\| (64|256|512) \|", line)]
    assert len(rows) == 6  # three widths, two parameterizations
    for row in rows:
        assert set(row) <= cells
    assert "```\nmup for adam, forward form, width 64 -> 512" in markdown


def test_the_machine_readable_verdict_is_that_of_the_verification(verdict, verifications):
    assert list(verdict) == list(verifications) == ["mup", "ntk"]
    for name, v in verifications.items():
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


def test_the_table_of_a_width_tells_what_its_runs_were(markdown, verifications):
    sweep, optimum = verifications["mup"].sweeps[512], verifications["mup"].optima[512]
    row = next(line for line in markdown.splitlines() if line.startswith("| 512 |"))
    at = [r.final_loss for r in sweep.results[verifications["mup"].transferred_log2_lr]]
    n_runs = sum(map(len, sweep.results.values()))
    assert f"| {64 * 512 + 512 + 512 * 10 + 10:,} |" in row
    flat = ", flat" if optimum.flat else ""
    assert f"| {optimum.log2_lr:.2f} [{optimum.low:.2f}, {optimum.high:.2f}]{flat} |" in row
    assert ("flat: over two octaves" in markdown) == any(
        o.flat for v in verifications.values() for o in v.optima.values()
    )
    assert f"| {math.prod(at) ** (1 / 3):.4g} |" in row  # a geometric mean, as the fitted curve is of logarithms
    assert f"| {n_runs} (" in row
    regret = verifications["mup"].regret[512]
    assert f"| {100 * math.expm1(regret.value):+.0f} % [" in row


def test_what_is_called_small_is_told(markdown, html, verifications):
    for v in verifications.values():
        loss, drift = f"{100 * math.expm1(v.tolerance):.1f} % of loss", f"{v.drift_tolerance:.2f} octaves"
        sentence = f"up to {loss}, and a drift of up to {drift}"
        assert sentence in markdown
        assert sentence in html


def test_what_was_measured_in_watched_runs_is_told(markdown, html, verdict, verifications):
    for name, law in (("mup", 0.0), ("ntk", -1.0)):
        over = verifications[name].over_training
        assert list(over.kernel_drift) == list(over.target_alignment) == list(verifications[name].sweeps)
        assert len(over.kernel_slopes) == 3  # an eighth, a half and all of the steps
        assert over.kernel_slope.predicted == law
        assert verdict[name]["kernel_drift_slope"][0] == over.kernel_slope.value
        assert set(over.effective) == set(over.update_alignment) == {"1", "3"}
        assert "1" not in over.propagated  # its inputs stay
        assert f"| 3 | {over.effective['3']} | {over.propagated['3']} |" in markdown
        assert f"n^{over.kernel_slope} after step" in markdown
        assert f"n^{over.kernel_slope} after step" in html
        assert kernel_drift_figure(verifications[name]) in html


def test_figures_are_the_same_every_time(verifications):
    assert loss_curves_figure(verifications["mup"]) == loss_curves_figure(verifications["mup"])
    assert feature_change_figure(verifications["ntk"]) == feature_change_figure(verifications["ntk"])


def test_the_feature_figure_tells_fitted_and_predicted_slope(verifications):
    svg = feature_change_figure(verifications["ntk"])
    assert f"1: n^{verifications['ntk'].features['1'].value:+.2f}" in svg
    assert "theory: n^-0.5" in svg


def test_a_section_is_a_function_and_a_line_in_the_contents(finished, verifications, tmp_path):
    flow = Workflow(load_config(finished.folder / "config.yaml"), Folder(finished.folder), refuse_new_runs)
    study = FinishedStudy(
        title="A study",
        config_text="task: digits-mlp",
        command="mutransfer run there",
        plan=flow.largest_plan,
        regime=flow.regime,
        checks={},
        tuned=flow.tune(),
        verifications=verifications,
    )

    def longest_run_section(study):
        seconds = max(run.seconds for s in study.main.sweeps.values() for runs in s.results.values() for run in runs)
        return Section(
            title="The longest run",
            notes=("Seconds < a minute & counted.",),
            table=[{"unit": "seconds", "of the longest run": f"{seconds:.6g}"}],
            figures=("<svg><text>a drawing</text></svg>",),
            points=("a point",),
            code="a < b",
            data={"mup": {"longest_run_s": seconds}},
        )

    def depth_section(verification):
        return Section(notes=(f"{verification.parameterization} is deep.",), data={"depth": 2})

    def silent_section(study):
        return None

    page = write_report(
        study,
        tmp_path,
        contents=(*STUDY, longest_run_section, silent_section, for_each_parameterization(depth_section)),
    )
    html, markdown = page.read_text(), (tmp_path / "report.md").read_text()
    data = json.loads((tmp_path / "verdict.json").read_text())
    seconds = f"{data['mup']['longest_run_s']:.6g}"

    assert html.index("<h2>How to reproduce</h2>") < html.index("<h2>The longest run</h2>")
    for text in ("<p>Seconds &lt; a minute &amp; counted.</p>", f"<td>{seconds}</td>", "<li>a point</li>"):
        assert text in html
    assert "<pre>a &lt; b</pre>" in html
    assert "<svg><text>a drawing</text></svg>" in html
    assert (
        "\n## The longest run\n\nSeconds < a minute & counted.\n\n"
        f"| unit | of the longest run |\n|---|---|\n| seconds | {seconds} |\n\n- a point\n\n```\na < b\n```\n"
    ) in markdown
    assert "a drawing" not in markdown
    assert list(data) == ["mup", "ntk"]
    assert data["mup"]["verdict"] == verifications["mup"].verdict  # added to what was there
    for name in data:
        assert f"<h2>{name}</h2>\n<p>{name} is deep.</p>" in html
        assert f"## {name}\n\n{name} is deep.\n" in markdown
        assert data[name]["depth"] == 2
