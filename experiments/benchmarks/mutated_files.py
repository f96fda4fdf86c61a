"""Configs and plan files with random mistakes in one process: exit codes, tracebacks, and the slowest.

    python -m experiments.benchmarks.mutated_files [--configs 1000] [--plans 300] [--seed 0]

Every config goes through `mutransfer explain -o check=false`, every plan file through `load_plan` and, where that takes
it, `attach`. Right are the exit codes 0 and 2 (of a plan: none, or PlanError), within two seconds of processor time.
Before the first, every config is explained as it is, so that imports and data are not counted. What takes long by what
it asks for, ten layers or more and widths beyond 9999, is drawn again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

import mutransfer as mt
from experiments.pages import markdown, write_between
from mutransfer.cli import main as mutransfer
from mutransfer.errors import PlanError

PAGE, CONFIGS = Path(__file__).parent / "README.md", Path(__file__).parents[2] / "configs"
SECONDS = 2.0
SMALL = """\
task: digits-mlp
args: {hidden_layers: 1, n_train: 64}
base_width: 8
widths: [16, 32]
space:
  lr: {log2: [-8, -2], spacing: 0.5}
training: {steps: 20, schedule: linear}
overrides: {"1.weight": hidden}
device: cpu
"""
WORDS = (
    *("0", "-1", "1.5", "1e9", "1e400", ".nan", ".inf", "1000000", str(10**30), "0x10", "1_000", "~", "yes", "null"),
    *("", "[]", "{}", "[", "}", '"', "'", ":", "- ", "#", "&a", "*a", "!!python/object:os.system", "<<: *x", "---"),
    *("auto", "mup", "sgd", "muon", "none", "$x^$", "../..", "os:getcwd", "a.b:c", "é\u2028", "\x00", "\t", "\x1b[31m"),
)
VALUES = (float("nan"), float("inf"), -1, 0, 10**30, 10**400, "", "x", "__class__", None, True, [], {}, [[]], {"a": {}})


LARGE = re.compile(r"layers: [\d_]{2}|[1-9][\d_]{4}|e\d")


def mutated_text(text: str, rng: random.Random) -> str:
    """One to three of the words and separators of a text replaced, repeated, removed or exchanged."""
    for _ in range(rng.randint(1, 3)):
        pieces = re.split(r"(\W+)", text)
        i = rng.randrange(len(pieces))
        pieces[i] = rng.choice([rng.choice(WORDS), "", pieces[i] * 2, pieces[rng.randrange(len(pieces))]])
        text = "".join(pieces)
    return text


def mutated_json(data: Any, rng: random.Random) -> str:
    """JSON of a plan with one or two values replaced, and one in five with a few characters missing."""
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, 2)):
        *parents, last = rng.choice(list(_places(data)))
        inner = data
        for key in parents:
            inner = inner[key]
        inner[last] = rng.choice(VALUES)
    text = json.dumps(data)
    cut = rng.randrange(len(text))
    return text[:cut] + text[cut + rng.randint(1, 9) :] if rng.random() < 0.2 else text


def explained(path: Path) -> str:
    """The exit code of `mutransfer explain`, or the exception that got out of it."""
    out = io.StringIO()
    try:
        with (
            patch.object(sys, "argv", ["mutransfer", "explain", str(path), "-o", "check=false"]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            mutransfer()
    except SystemExit as end:
        return "traceback" if "Traceback" in out.getvalue() else f"exit code {end.code or 0}"
    except BaseException as error:
        return f"{type(error).__name__}"
    return "exit code 0"


def attached(folder: Path, model: nn.Module) -> str:
    """What becomes of the plan file in a folder: taken, refused, or an exception that is no PlanError."""
    try:
        mt.attach(copy.deepcopy(model), mt.load_plan(folder))
    except PlanError as error:
        return "refused" if str(error).isprintable() else "refused with control characters"
    except Exception as error:
        return type(error).__name__
    return "taken"


def tried(texts: Iterator[str], path: Path, outcome: Callable[[], str]) -> tuple[Counter[str], float, list[str]]:
    """Outcomes and the longest processor time, with what was not right in words."""
    counts: Counter[str] = Counter()
    longest, wrong = 0.0, []
    for text in texts:
        path.write_text(text, encoding="utf-8")
        begun = time.process_time()
        found = outcome()
        took = time.process_time() - begun
        counts[found] += 1
        longest = max(longest, took)
        if found not in ("exit code 0", "exit code 2", "taken", "refused") or took > SECONDS:
            wrong.append(f"{found} after {took:.1f} s:\n{text[:3000]}")
            print(wrong[-1], flush=True)
    return counts, longest, wrong


def try_configs(n: int, seed: int, folder: Path) -> tuple[Counter[str], float, list[str]]:
    """The outcomes of ``n`` configs: the repository's own, on a CPU, and a small one, with mistakes."""
    rng = random.Random(seed)
    own = [(CONFIGS / f"{name}.yaml").read_text() for name in ("digits-mlp", "digits-space", "stdlib-gpt", "parity")]
    path = folder / "study.yaml"
    for text in own:
        path.write_text(text, encoding="utf-8")
        explained(path)
    drawn = (mutated_text(rng.choice([SMALL, *own]), rng) for _ in iter(int, 1))
    small = (text for text in drawn if not LARGE.search(re.sub(r"#.*|lr: 0.*|decay: 0.*|flops.*", "", text)))
    return tried(islice(small, n), path, lambda: explained(path))


def try_plans(n: int, seed: int, folder: Path) -> tuple[Counter[str], float, list[str]]:
    """The outcomes of ``n`` files of a plan with every kind of field, with mistakes."""
    rng = random.Random(seed)
    model, plan = mt.parameterize(_tied, width=64, base_width=16, parameterization="mf", check=False)
    path = mt.save_plan(plan, folder)
    data = json.loads(path.read_text())
    model = _tied(64)
    return tried((mutated_json(data, rng) for _ in range(n)), path, lambda: attached(folder, model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--plans", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for what, attempt, n in (("configs", try_configs, given.configs), ("plan files", try_plans, given.plans)):
            counts, longest, wrong = attempt(n, given.seed, Path(folder))
            failed += len(wrong)
            told = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items()))
            rows.append([what, str(n), told, f"{longest:.2f} s", str(len(wrong))])
    table = markdown(("files", "tried", "outcomes", "longest", "wrong"), rows)
    print(table)
    if (given.configs, given.plans, given.seed) == (1000, 300, 0):
        write_between(PAGE, "mutated_files", table)
    raise SystemExit(bool(failed))


def _places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in nested dicts and lists but themselves."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def _tied(width: int) -> nn.Module:
    model = nn.Sequential(nn.Embedding(32, width), nn.Linear(width, width), nn.Linear(width, 32, bias=False))
    model[2].weight = model[0].weight
    return model


if __name__ == "__main__":
    main()
