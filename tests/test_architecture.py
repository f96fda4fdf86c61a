"""The house: rooms and floors, what each may import, names that are used once, and files that somebody needs."""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from importlib import metadata
from pathlib import Path

import pytest

import mutransfer

ROOT = Path(mutransfer.__file__).parent
# From the ground up: a room imports from itself and from rooms below it.
FLOORS = (
    ("errors", "widths", "random_state", "intervals"),
    ("theory",),
    ("parameterization",),
    ("kernels",),
    ("measure",),
    ("training",),
    ("transfer",),
    ("report",),
    ("config",),
    ("study",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FLOOR["integrations"] = FLOOR["training"] + 0.5  # above it, for a user's own trainer
MOST_MODULES = {"training": 16}  # of a folder; else:
USUALLY_AT_MOST = 12

# Names that more than one file defines, and why that is right.
TWICE = {
    "TransferCallback": "the one name to remember, in each trainer's integration",
}
# Modules that no other imports: the program, what users import, and what configs and tests name by text.
DOORS = ("mutransfer.cli", "mutransfer.integrations", "mutransfer.training.tasks", "mutransfer.training.models")

# First words of docstrings that are no sentence and no noun phrase.
FRAGMENTS = {
    *("After", "As", "Before", "Behind", "Beside", "By", "During", "For", "From", "If", "In", "Of", "On"),
    *("Those", "To", "Under", "Until", "When", "Where", "With", "Without"),
}


def dotted(path):
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


TREES = {dotted(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}
PACKAGES = {dotted(path) for path in ROOT.rglob("__init__.py")}


def imports(tree):
    """(module, name or None) of every import of the toolkit's own, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mutransfer":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == "mutransfer")


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imported_module(module, name):
    inside = f"{module}.{name}"
    return inside if inside in TREES else module


def test_every_room_has_a_floor():
    assert {room(module) for module in TREES} - {None} == FLOOR.keys()


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_nothing_imports_upward(name):
    upward = [
        f"{module} imports {target}"
        for module, tree in TREES.items()
        if room(module) == name
        for source, imported in imports(tree)
        if (target := imported_module(source, imported)) != "mutransfer"
        and FLOOR[room(target)] >= FLOOR[name]
        and room(target) != name
        and not (FLOOR[name] == 0 and FLOOR[room(target)] == 0)
    ]
    assert not upward, "\n".join(upward)


def test_nothing_but_a_users_code_imports_an_integration():
    assert not [
        module
        for module, tree in TREES.items()
        if room(module) != "integrations"
        for source, name in imports(tree)
        if room(imported_module(source, name)) == "integrations"
    ]


# A fresh interpreter that finds no top-level module but the standard library's and the allowed.
BLOCKED = """
import sys

class Allowed:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top.startswith("_sysconfigdata") or top in {allowed!r}
        return self.finder.find_spec(name, path, target) if known else None

sys.meta_path[:] = map(Allowed, sys.meta_path)
{code}
"""
WRAP = """
from torch import nn
import torch, mutransfer as mt
build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
model, plan = mt.parameterize(build, width=256, base_width=64, example=torch.ones(2, 8))
optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-3))
mt.check_lr(optimizer)
print(plan)
"""


def requirements(package):
    """The top-level modules of a package and of all that it requires."""
    seen, left = set(), [package]
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        left += [r.partition(";")[0].strip().split()[0] for r in required if "extra ==" not in r]
        left = [name.rstrip("<>=!~,0123456789.[]()") for name in left]
    by_package = defaultdict(set)
    for top, packages in metadata.packages_distributions().items():
        for name in packages:
            by_package[name.lower().replace("_", "-")].add(top)
    return set().union(*(by_package[name] for name in seen))


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        (
            "import mutransfer.theory.regimes, mutransfer.theory.recipe; print(mutransfer.theory.rules.TABLES['mup'])",
            (),
        ),
        (WRAP, ("torch", "numpy")),
    ],
    ids=["theory needs nothing", "wrapping needs torch and numpy"],
)
def test_a_lower_room_needs_no_other_package(code, packages):
    allowed = {"mutransfer", *packages}.union(*(requirements(p) for p in packages))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BLOCKED.format(allowed=allowed, code=code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mup" in done.stdout


def test_the_lazy_list_of_public_names_is_the_typed_one():
    typed = {}
    for node in ast.walk(TREES["mutransfer"]):
        if isinstance(node, ast.If):
            for statement in node.body:
                if isinstance(statement, ast.ImportFrom):
                    for alias in statement.names:
                        inside = imported_module(statement.module, alias.name)
                        home = inside if inside != statement.module else f"{statement.module}:{alias.name}"
                        typed[alias.asname] = home.removeprefix("mutransfer.")
    assert typed == mutransfer._HOMES
    assert all(getattr(mutransfer, name) is not None for name in typed)


def test_no_name_is_used_twice():
    """Of classes and of public functions of the module level; a type alias counts as a class."""
    homes = defaultdict(set)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and not node.name.startswith("_")):
                homes[node.name].add(module)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                alias = node.targets[0].id
                if alias[0].isupper() and not alias.isupper():
                    homes[alias].add(module)
    twice = {name: sorted(found) for name, found in homes.items() if len(found) > 1 and name not in TWICE}
    assert not twice, "\n".join(f"{name}: {', '.join(found)}" for name, found in twice.items())
    assert all(len(homes[name]) > 1 for name in TWICE), "an exception that nothing needs any more"


def test_folders_stay_small():
    count = Counter(str(path.parent.relative_to(ROOT)) for path in ROOT.rglob("*.py") if path.name != "__init__.py")
    large = {folder: n for folder, n in count.items() if n > MOST_MODULES.get(folder, USUALLY_AT_MOST)}
    assert not large


def test_docstrings_begin_with_a_noun_phrase_or_a_verb():
    fragments = [
        f"{module} {getattr(node, 'name', '')}: {text.splitlines()[0]}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node))
        if text.split()[0].rstrip(",") in FRAGMENTS
    ]
    assert not fragments, "\n".join(fragments)


def test_every_module_opens_with_a_sentence():
    assert not [module for module, tree in TREES.items() if not ast.get_docstring(tree)]


def test_every_module_is_imported_by_another():
    used = {imported_module(source, name) for tree in TREES.values() for source, name in imports(tree)}
    lost = [m for m in TREES if m not in used and m not in PACKAGES and not m.startswith(DOORS)]
    assert not lost


def test_no_private_name_is_imported():
    private = [
        f"{module} imports {name} from {source}"
        for module, tree in TREES.items()
        for source, name in imports(tree)
        if name and name.startswith("_")
    ]
    assert not private, "\n".join(private)


def test_every_room_has_a_guide():
    rooms = [path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    assert not [name for name in rooms if not (ROOT / name / "README.md").exists()]
