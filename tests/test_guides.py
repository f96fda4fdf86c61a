"""The guides: their code runs as written, and the configs, commands, links and files that they name are there."""

import ast
import doctest
import importlib
import importlib.util
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest
import torch
import typer
import yaml

from mutransfer.cli import app
from mutransfer.config.loading import load_config

ROOT = Path(__file__).parents[1]
ROOMS = sorted(ROOT.glob("mutransfer/*/README.md"))
GUIDES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "configs/README.md", "experiments/README.md")),
    *ROOMS,
]
# Pages whose text is checked; their code is the scripts that wrote them.
PAGES = [*GUIDES, ROOT / "CHANGELOG.md", ROOT / "experiments/LOG.md", *sorted(ROOT.glob("experiments/**/README.md"))]
HEADINGS = ("Doors", "How data passes", "How to extend it")  # of every room, the first two first, the last last
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a fragment of a config is added to, so that its keys and values are checked too.
STUDY = {"task": "digits-mlp", "base_width": 64, "widths": [128], "space": {"lr": {"log2": [-8, -4]}}}
STANDS_FOR = {
    "RUN": "runs/digits-mlp",
    "CONFIG": "configs/digits-mlp.yaml",
    "VERB": "run",
    "CONFIG|RUN": "runs/digits-mlp",
}


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path, *languages):
    return [text for language, text in BLOCK.findall(path.read_text(encoding="utf-8")) if language in languages]


def having(*languages, among=GUIDES):
    return pytest.mark.parametrize("path", [p for p in among if blocks(p, *languages)], ids=name_of)


every_page = pytest.mark.parametrize("path", sorted({*PAGES}), ids=name_of)


def as_after(diff):
    """The code that a diff leaves."""
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in "+ ")


# What Lightning does itself on versions that are newer than it.
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@having("python", "diff")
def test_the_code_runs_as_written(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "guide"}
    for language, text in BLOCK.findall(path.read_text(encoding="utf-8")):
        if language == "python" and text.startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(text, space, name_of(path), None, None)
            example.globs = space
            failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, clear_globs=False).failed
            assert not failed, text
        elif language in ("python", "diff"):
            code = as_after(text) if language == "diff" else text
            exec(compile(code, f"{path}: {text.splitlines()[0]}", "exec"), space)


def test_every_fence_says_what_it_holds():
    """Nothing but pictures in text, between fences without a language, stays unchecked."""
    for path in GUIDES:
        languages = {language for language, _ in BLOCK.findall(path.read_text(encoding="utf-8"))}
        assert languages <= {"", "python", "diff", "yaml", "sh"}, path
        for text in blocks(path, ""):
            assert not re.search(
                r"^(import |from \w+ import|mutransfer \w|pip |python |\w+: \{)", text, re.MULTILINE
            ), text


@having("yaml")
def test_the_configs_load(path, tmp_path):
    for text in blocks(path, "yaml"):
        keys = yaml.safe_load(text)
        whole = "base_width" in keys and ("task" in keys or "model" in keys)
        file = tmp_path / "study.yaml"
        file.write_text(text if whole else yaml.safe_dump({**STUDY, **keys}))
        assert load_config(file).widths


@every_page
def test_the_commands_are_there(path):
    text = path.read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    lines += re.findall(r"^    ((?:OMP_NUM_THREADS=1 )?(?:mutransfer|python -m) .*)", text, re.MULTILINE)
    lines += re.findall(r"`((?:mutransfer|python -m) [^`]+)`", BLOCK.sub("", text))
    for line in lines:
        line = line.partition("  #")[0].removeprefix("OMP_NUM_THREADS=1 ")
        for command in re.split(r"\s*(?:&&|\|(?=\s)|>)\s*", line):
            check_command([STANDS_FOR.get(word, word) for word in shlex.split(command)])


def check_command(words):
    match words:
        case ["mutransfer", "--help"]:
            pass
        case ["mutransfer", verb, *arguments]:
            known = typer.main.get_command(app).commands
            assert verb in known, verb
            # A verb alone, as in a sentence about it, is given something to work on.
            context = known[verb].make_context(verb, arguments or ["runs/digits-mlp"])
            target = context.params.get("target")
            if target is not None and ":" not in str(target) and target.suffix == ".yaml":
                load_config(ROOT / target, context.params.get("option") or ())
        case ["python", "-m", module, *arguments]:
            module = module.replace("NAME", "kernel_concentrates")
            assert importlib.util.find_spec(module), module
            text = "".join(p.read_text(encoding="utf-8") for p in files_of(module))
            assert not [o for o in re.findall(r"--[\w-]+", " ".join(arguments)) if f'"{o}"' not in text], words
        case ["pip", *arguments]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            for word in arguments:
                for extra in re.findall(r"\[(.*)\]", word):
                    assert {*extra.split(",")} <= project["optional-dependencies"].keys(), word
        case [program, *_]:
            assert program in ("pytest", "ruff", "pyrefly", "grep", "keep.txt", "pre-commit", "git"), program


def files_of(module):
    """The files of a module, and of the package that it is run from, where its options may be defined."""
    package = ROOT.joinpath(*module.split(".")[:2])
    return package.rglob("*.py") if package.is_dir() else [package.with_suffix(".py")]


@every_page
def test_links_point_to_files(path):
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [link for link in links if link and not re.match(r"https?://", link)]
    assert not [link for link in local if not (path.parent / link).exists()]


@cache
def known_files():
    found = [p for top in ("mutransfer", "experiments", "tests", "configs", ".ci") for p in (ROOT / top).rglob("*")]
    return {*map(name_of, found), *(p.name for p in ROOT.iterdir())}


@every_page
def test_files_and_folders_that_are_named_exist(path):
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    files = re.findall(r"`([\w./-]+\.(?:py|yaml|toml|j2)|[\w.-]+(?:/[\w.-]+)*/)`", text)
    named = [f.strip("/") for f in files if "NAME" not in f and not f.startswith("runs/")]
    assert not [f for f in named if not any(f"/{known}".endswith(f"/{f}") for known in known_files())]


@every_page
def test_modules_that_are_named_exist(path):
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    text = re.sub(r"^\| `mutransfer\.[^|]*\|", "|", text, flags=re.MULTILINE)  # where a module was
    for dotted in re.findall(r"`((?:mutransfer|experiments)(?:\.\w+)+)`", text):
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name) or importlib.util.find_spec(dotted), dotted


@pytest.mark.parametrize("path", [p for p in GUIDES if p in ROOMS or p.name == "CONTRIBUTING.md"], ids=name_of)
def test_names_that_are_called_exist(path):
    """`name(...)` of the text and CamelCase of text and pictures are defined or imported somewhere in the house."""
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    camel = r"(?<![\w:])([A-Z][a-z]+(?:[A-Z][a-z0-9]*)+)\b"
    called = [
        *re.findall(r"`(?:\w+\.)*(\w+)\(", text),
        *re.findall(camel, " ".join(re.findall(r"`[^`]+`", text))),
        *re.findall(camel, " ".join(blocks(path, ""))),
    ]
    assert not sorted({name for name in called if "NAME" not in name and name not in defined_names()})


@cache
def defined_names():
    """Names that the toolkit defines or imports."""
    names = set(dir(torch.optim)) | set(dir(torch.nn))
    for file in [*ROOT.glob("mutransfer/**/*.py"), *ROOT.glob("experiments/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name.rpartition(".")[2])
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return names


@pytest.mark.parametrize("path", ROOMS, ids=name_of)
def test_a_rooms_guide_has_the_usual_headings(path):
    headings = re.findall(r"^## (.*)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    assert (*headings[:2], headings[-1]) == HEADINGS
    assert path.read_text(encoding="utf-8").startswith(f"# {path.parent.name}: ")


def test_the_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 9000
    assert 'pip install -e ".[dev]" && pytest' in text
    assert "pip install -e . && mutransfer run configs/digits-mlp.yaml" in text


def test_the_readme_tells_what_the_study_found():
    """The figures of the README are those of configs/README.md."""
    rows = [
        re.findall(r"[+-]\d\.\d\d \[[^]]*\]", line)
        for page in ("README.md", "configs/README.md")
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (mup|sp|ntk) \((under study|control)\)", line) and "TRANSFERS, UNCLEAR" not in line
    ]
    assert len(rows) == 6
    assert rows[:3] == rows[3:]
