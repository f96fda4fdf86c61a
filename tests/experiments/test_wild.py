"""Models in the wild, the cheapest that need no package beyond the tests': wrapped as they are, flat by plain hooks."""

import json

import pytest

from experiments.model_zoo.wild.__main__ import PAGE, RESULTS, one_line_a_list, table
from experiments.model_zoo.wild.check import slopes
from experiments.model_zoo.wild.rows import ROWS
from experiments.model_zoo.wild.verdict import TOLERANCE, off
from experiments.pages import between


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", ["min-gru", "tied-gru", "pointnet"])
def test_a_model_is_planned_and_every_module_is_flat(name, optimizer):
    found = slopes(ROWS[name], optimizer, factors=(1, 4, 16), seeds=2, steps=3)
    assert found["measurement"].endswith("as the table predicts")
    assert len(found["modules"]) > 2
    for path, powers in found["modules"].items():
        assert all(abs(x) < TOLERANCE for x in off(powers, optimizer).values()), (path, powers)


def test_what_is_off_is_told_from_what_starts_faint_by_right():
    flat, faint, grown = [0.01, 0.02], [-0.5, -0.49], [0.5, 0.5]
    assert max(off([*flat, *flat, *flat, 0], "adamw").values()) < 0.03
    assert off([*faint, *faint, *flat, 1], "adamw")["size"] == pytest.approx(0, abs=0.03)
    assert off([*faint, *flat, *flat, 0], "adamw")["size"] == pytest.approx(-0.5, abs=0.03)
    assert off([*faint, *faint, *faint, 1], "adamw")["own"] == pytest.approx(-0.5, abs=0.03)
    assert off([*flat, *grown, *flat, 0], "sgd")["change"] == pytest.approx(0.5)


def test_the_page_says_what_the_results_say():
    assert between(PAGE, "wild") == table()
    for path in RESULTS.glob("*.json"):
        assert path.stat().st_size < 10_000
        assert one_line_a_list(json.loads(path.read_text())) + "\n" == path.read_text()
