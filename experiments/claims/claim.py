"""What the scripts of all claims share: settings by size, findings with intervals, results as data, figure and page.

A claim is a folder with ``config.yaml`` (sections ``default``, ``smoke`` and ``large``; the latter two say what
differs), ``__main__.py`` and ``README.md``, whose part between the markers is written from the results. ``__main__.py``
defines

    measure(settings) -> data            whatever JSON holds
    findings(data) -> [Finding, ...]     what the paper says beside what was measured
    draw(data, figure)                   on a matplotlib figure

and ends with ``main(__file__, measure, findings, draw)``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from matplotlib.figure import Figure

from experiments.claims.figures import plain_ticks, save
from experiments.claims.findings import Finding, as_data, table_of
from experiments.pages import write_between

SIZES = ("default", "smoke", "large")

Measure = Callable[[Mapping[str, Any]], Any]
Findings = Callable[[Any], Sequence[Finding]]
Draw = Callable[[Any, Figure], None]


def settings_of(folder: Path, size: str) -> dict[str, Any]:
    """The settings of a size: those of ``default``, and what the size's own section changes."""
    sections = yaml.safe_load((folder / "config.yaml").read_text())
    return sections["default"] | (sections.get(size) or {})


def main(script: str, measure: Measure, findings: Findings, draw: Draw) -> None:
    """The command line of a claim: measure, or read the results ``--again``, and write what follows from them."""
    folder = Path(script).resolve().parent
    parser = argparse.ArgumentParser(description=folder.name)
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--out", type=Path, help="write results and figure there and leave the folder's alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="findings, figure and page from the results on disk")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = options.out or folder
    suffix = "" if options.size == "default" else f"-{options.size}"
    if options.again:
        record = json.loads((out / f"results{suffix}.json").read_text())
    else:
        record = measured(folder, options.size, measure, options.threads)
    record["findings"] = as_data(findings(record["data"]))
    out.mkdir(parents=True, exist_ok=True)
    (out / f"results{suffix}.json").write_text(json.dumps(record, indent=1) + "\n")
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    draw(record["data"], figure)
    for axes in figure.axes:
        plain_ticks(axes)
    save(figure, out / f"figure{suffix}.png")
    print(f"{folder.name}, {options.size}\n{block_of(record)}")
    if options.out is None and options.size == "default":
        write_between(folder / "README.md", "findings", block_of(record))


def measured(folder: Path, size: str, measure: Measure, threads: int) -> dict[str, Any]:
    """The record of one measurement, as it will be read again: JSON's types, six digits."""
    settings = settings_of(folder, size)
    wall, cpu = time.perf_counter(), time.process_time()
    data = measure(settings)
    record = {
        "settings": settings,
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "machine": machine(threads),
        "data": data,
    }
    return json.loads(json.dumps(rounded(record), allow_nan=False))


def block_of(record: Mapping[str, Any]) -> str:
    """What stands between the markers of a claim's page."""
    took = f"{record['seconds']:g} s ({record['cpu_seconds']:g} s of processor time) on {record['machine']}."
    return f"{table_of(record['findings'])}\n\n{took}"


def machine(threads: int) -> str:
    """The machine in words, without its name."""
    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()}, torch {torch.__version__}"
    cpu = f"{threads} thread(s) of a {os.cpu_count()}-core {platform.machine()} CPU"
    return f"{cpu}, torch {torch.__version__.split('+')[0]}"


def rounded(value: Any) -> Any:
    """Data with six significant digits: results are looked at, and small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
