"""The reproduced claims: every script runs, and what the pages say is what its results on disk say."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

CLAIMS = Path(__file__).resolve().parents[1] / "experiments" / "claims"
FOLDERS = sorted(path.parent for path in CLAIMS.glob("*/run.py"))


@pytest.fixture(scope="module", autouse=True)
def importable():
    """The scripts find their neighbours as they do when they are run."""
    before = list(sys.path)
    sys.path.insert(0, str(CLAIMS))
    yield
    sys.path[:] = before


def load(path):
    """A script as a module; it does not run ``main``."""
    spec = importlib.util.spec_from_file_location(f"claim_{path.parent.name.replace('-', '_')}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def claim():
    return load(CLAIMS / "claim.py")


def between(claim, page):
    start, end = claim.MARKERS
    return page.read_text().split(start)[1].split(end)[0].strip()


def test_the_claims_are_there():
    assert len(FOLDERS) >= 15
    assert [f.name[:2] for f in FOLDERS] == [f"{i:02d}" for i in range(1, len(FOLDERS) + 1)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_a_claim_runs_in_smoke_size(folder, claim, tmp_path):
    script = load(folder / "run.py")
    record = claim.measured(folder, "smoke", script.measure, threads=1)
    found = script.findings(record["data"])
    assert found
    assert all(
        f.statement and f.published and f.measured and "|" not in f.statement + f.published + f.measured + f.remark
        for f in found
    )
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    script.draw(record["data"], figure)
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_a_page_says_what_the_results_say(folder, claim):
    record = json.loads((folder / "results.json").read_text())
    assert record["settings"] == claim.settings_of(folder, "default"), "the results are of other settings: run it again"
    assert record["findings"] == json.loads(json.dumps(claim.as_data(load(folder / "run.py").findings(record["data"]))))
    assert between(claim, folder / "README.md") == claim.block_of(record), "run.py --again writes it"
    page = (folder / "README.md").read_text()
    assert "What would falsify it" in page
    assert "figure.png" in page
    assert (folder / "figure.png").stat().st_size < 60_000
    assert claim.settings_of(folder, "large") != record["settings"]


def test_the_index_says_what_the_results_say(claim):
    index = load(CLAIMS / "index.py")
    assert between(claim, CLAIMS / "README.md") == index.table(), "index.py writes it"


def test_an_interval_decides(claim):
    def verdict(low, high):
        return claim.judged("s", "p", (low + high) / 2, low, high, within=(-0.6, -0.4)).verdict

    assert verdict(-0.55, -0.45) == "holds"
    assert verdict(-1.1, -0.9) == "does not hold"
    assert verdict(-0.7, -0.5) == "undecided"  # although its middle lies on the border of the range
    assert verdict(-0.9, -0.1) == "undecided"  # although its middle is what was expected: too wide to say


def test_an_interval_over_seeds_is_a_t_interval(claim):
    mean, low, high = claim.mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(2.920 * 1.0 / 3**0.5, abs=1e-3)  # t of 2 degrees, 5 % on each side
    assert mean - low == pytest.approx(high - mean)
    ratio = claim.of_ratios("s", "p", [0.5, 2.0], within=(0.0, 1e9))
    assert ratio.measured.startswith("1 ")  # the geometric mean
