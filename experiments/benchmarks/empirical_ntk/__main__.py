"""Our tangent kernel against the Jacobian contraction of PyTorch's tutorial and NNGeometry, alternating in one process.

    python -m experiments.benchmarks.empirical_ntk [--rounds 5] [--only mlp] [--table]

Time: one thread, medians over rounds in which the methods take turns, and the median ratio within a round. Memory:
every method once in a process of its own, the highest resident set during the call less what was resident when it
began (Linux). Writes results/empirical_ntk.json and the page's table; --table writes that again from the results.
NNGeometry is compared where it is installed (`pip install --no-deps nngeometry`) and supports the model. The bars are
against the tutorial as it is written.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mutransfer as mt
from experiments.benchmarks.empirical_ntk.methods import METHODS, tutorial
from experiments.benchmarks.empirical_ntk.shapes import SHAPES, Shape, example
from experiments.benchmarks.memory import peak_growth
from experiments.pages import markdown, write_between
from mutransfer.kernels import empirical_ntk

FOLDER = Path(__file__).resolve().parents[1]
RESULTS, PAGE = FOLDER / "results" / "empirical_ntk.json", FOLDER / "README.md"


def peak_bytes(method: str, name: str) -> int:
    """In this process: the highest resident set during one call, beyond what was resident before."""
    call = METHODS[method]
    small = torch.randn(2, 3)
    empirical_ntk(nn.Linear(3, 1), small)  # what the first call imports
    tutorial(nn.Linear(3, 1), small, None, "trace")
    arguments = example(SHAPES[name])
    gc.collect()
    return peak_growth(lambda: call(*arguments))


def peak_in_subprocess(method: str, name: str) -> int:
    command = [sys.executable, "-m", __package__, "--peak", method, name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def differences(shape: Shape, methods: list[str]) -> dict[str, float]:
    """Greatest difference from the tutorial's kernel in float64, over its largest entry."""
    model, x1, x2, outputs = example(shape)
    model, x1, x2 = model.double(), x1.double(), None if x2 is None else x2.double()
    # A few examples: the tutorial's Jacobian in float64 does not fit everywhere.
    x1, x2 = x1[:8], None if x2 is None else x2[:4]
    expected = tutorial(model, x1, x2, outputs)
    found = {m: METHODS[m](model, x1, x2, outputs) for m in methods if m != "tutorial"}
    return {m: float((kernel - expected).abs().max() / expected.abs().max()) for m, kernel in found.items()}


def supported(shape: Shape) -> list[str]:
    small = Shape(shape.build, (2, *shape.x1[1:]), shape.n2 and 2, shape.outputs)
    found = []
    for name, method in METHODS.items():
        try:
            method(*example(small))
        except Exception as error:
            if name != "nngeometry":
                raise
            print(f"    nngeometry: {type(error).__name__}: {str(error)[:90]}")
        else:
            found.append(name)
    if shape.n2 is not None:
        found.remove("tutorial, once")  # nothing to spare
    return found


def measure(name: str, shape: Shape, rounds: int) -> dict[str, Any]:
    methods = supported(shape)
    arguments = example(shape)
    times: dict[str, list[float]] = {method: [] for method in methods}
    for i in range(rounds + 1):
        for method in methods:
            gc.collect()
            started = time.perf_counter()
            METHODS[method](*arguments)
            if i:  # the first round warms up
                times[method].append(time.perf_counter() - started)
    seconds = {m: statistics.median(t) for m, t in times.items()}
    ratios = {
        m: statistics.median(other / t for other, t in zip(times[m], times["ours"], strict=True))
        for m in methods
        if m != "ours"
    }
    memory = {m: peak_in_subprocess(m, name) for m in methods}
    return {
        "seconds": seconds,
        "times_faster_than": ratios,
        "peak_bytes": memory,
        "times_less_memory_than": {m: memory[m] / max(memory["ours"], 1) for m in methods if m != "ours"},
        "float64_difference": differences(shape, methods),
        "bar": shape.bar,
        "memory_bar": shape.memory_bar,
    }


def show(name: str, found: dict[str, Any]) -> str:
    cells = [f"{name:44}"]
    for method in METHODS:
        seconds = found["seconds"].get(method)
        cells.append(
            "        -        -"
            if seconds is None
            else f"{1e3 * seconds:8.1f} {found['peak_bytes'][method] / 2**20:8.0f}"
        )
    ratio, less = found["times_faster_than"]["tutorial"], found["times_less_memory_than"]["tutorial"]
    once = found["times_faster_than"].get("tutorial, once", ratio)
    difference = found["float64_difference"]["ours"]
    met = ratio >= found["bar"] and less >= found["memory_bar"] and difference < 1e-10
    verdict = f"bar {found['bar']:g} {'met' if met else 'MISSED'}"
    cells.append(f"{ratio:7.2f}x {once:7.2f}x {less:6.1f}x  {difference:.0e}  {verdict}")
    return " ".join(cells)


def table(record: Mapping[str, Any]) -> str:
    """How many times faster ours is, and how many times less memory it takes, than the others."""

    def times(ratios: Mapping[str, float], method: str) -> str:
        return f"{ratios[method]:.3g}x" if method in ratios else ""

    rows = []
    for name, found in record["shapes"].items():
        faster, less = found["times_faster_than"], found["times_less_memory_than"]
        ratios = [
            *(times(faster, m) for m in METHODS if m != "ours"),
            times(less, "tutorial"),
            times(less, "nngeometry"),
        ]
        rows.append(
            [name, f"{1e3 * found['seconds']['ours']:.1f}", *ratios, f"{found['float64_difference']['ours']:.0e}"]
        )
    columns = (
        "network, examples N",
        "ours, ms",
        "faster than the tutorial",
        "than its Jacobian formed once",
        "than NNGeometry",
        "less memory than the tutorial",
        "than NNGeometry",
        "difference in float64",
    )
    return f"torch {record['torch'].split('+')[0]}, {record['threads']} thread.\n\n" + markdown(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="shapes whose name contains this; writes no file")
    parser.add_argument("--peak", nargs=2, metavar=("METHOD", "SHAPE"), help="print the peak memory of one call")
    parser.add_argument("--table", action="store_true", help="the page's table again, from the results on disk")
    options = parser.parse_args()
    if options.table:
        write_between(PAGE, "empirical_ntk", table(json.loads(RESULTS.read_text())))
        return
    torch.set_num_threads(1)
    if options.peak:
        print(peak_bytes(*options.peak))
        return
    print(f"torch {torch.__version__}, mutransfer {mt.__version__}, 1 thread, float32, {options.rounds} rounds")
    columns = "".join(f" {m + ' ms':>17}" for m in METHODS)
    print(f"{'':44}{columns}  MiB beside; time, once, memory: tutorial over ours")
    found = {}
    for name, shape in SHAPES.items():
        if options.only in name:
            found[name] = measure(name, shape, options.rounds)
            print(show(name, found[name]), flush=True)
    if not options.only:
        record = {"torch": torch.__version__, "threads": 1, "shapes": found}
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")
        write_between(PAGE, "empirical_ntk", table(record))


if __name__ == "__main__":
    main()
