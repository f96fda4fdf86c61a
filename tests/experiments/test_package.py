"""The experiments as a package: every module imports from the root alone, and pages say what stored results say."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.empirical_ntk import __main__ as empirical_ntk
from experiments.benchmarks.sweep_throughput import __main__ as sweeps
from experiments.mutation_score import __main__ as mutation_score
from experiments.mutation_score.scoring import tables
from experiments.pages import between, markdown, write_between
from experiments.verdict_calibration import sequential
from experiments.verdict_calibration.table import PAGE, RESULTS, table

ROOT = Path(__file__).resolve().parents[2]
IMPORT_ALL = """
import importlib, pkgutil, experiments
for module in pkgutil.walk_packages(experiments.__path__, "experiments."):
    importlib.import_module(module.name)
    print(module.name)
"""


def test_every_module_imports_from_the_root_of_the_repository():
    found = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    files = [p.relative_to(ROOT).with_suffix("") for p in (ROOT / "experiments").rglob("*.py")]
    modules = {".".join(p.parts).removesuffix(".__init__") for p in files} - {"experiments"}
    assert set(found.stdout.split()) == modules  # a folder without __init__.py would be left out


def edits_of_the_path(source):
    """Lines that change ``sys.path``: calls of its methods, assignments to it or into it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            targets = [node.func.value]
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
        else:
            continue
        for target in targets:
            while isinstance(target, ast.Subscript):
                target = target.value
            if ast.unparse(target) == "sys.path":
                yield node.lineno


def test_an_edit_of_the_path_is_seen():
    for line in ("sys.path.insert(0, 'x')", "sys.path[:] = before", "sys.path += ['x']", "del sys.path[0]"):
        assert list(edits_of_the_path(line)) == [1], line
    assert not list(edits_of_the_path("before = list(sys.path)"))


def test_nothing_edits_the_path():
    files = [path for folder in ("experiments", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    edits = [f"{p.relative_to(ROOT)}:{line}" for p in files for line in edits_of_the_path(p.read_text())]
    assert not edits


def test_a_page_keeps_what_is_outside_the_markers(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("one\n<!-- table: a -->\nold\n<!-- end -->\ntwo\n<!-- table: b -->\n<!-- end -->\n")
    write_between(page, "b", markdown(("x", "y"), [("1", "2")]))
    write_between(page, "a", "new")
    assert between(page, "a") == "new"
    assert page.read_text() == (
        "one\n<!-- table: a -->\nnew\n<!-- end -->\ntwo\n"
        "<!-- table: b -->\n| x | y |\n|---|---|\n| 1 | 2 |\n<!-- end -->\n"
    )
    with pytest.raises(SystemExit, match="table: c"):
        write_between(page, "c", "")


def stored(path):
    return json.loads(path.read_text())


def test_the_page_of_benchmarks_says_what_the_results_say():
    record = stored(sweeps.RESULTS)
    assert between(sweeps.PAGE, "sweep_throughput") == sweeps.table(record)
    assert between(sweeps.PAGE, "sweep_memory") == sweeps.memory_table(record)
    assert between(empirical_ntk.PAGE, "empirical_ntk") == empirical_ntk.table(stored(empirical_ntk.RESULTS))


def test_the_page_of_the_mutation_score_says_what_the_results_say():
    known = stored(mutation_score.RESULTS / "default.json")
    for name, text in tables(known, mutation_score.MUTATIONS, mutation_score.STUDIES).items():
        assert between(mutation_score.PAGE, name) == text, name


@pytest.mark.parametrize("name", ["synthetic", "digits-mlp-mup", "stdlib-gpt-mup"])
def test_the_page_of_the_verdicts_says_what_the_results_say(name):
    assert between(PAGE, name) == table(stored(RESULTS / f"{name}.json"))


def test_the_page_of_the_verdicts_says_what_sequential_studies_cost():
    assert between(PAGE, "sequential") == sequential.table(stored(sequential.OUT)["rates"])
