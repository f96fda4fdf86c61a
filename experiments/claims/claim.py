"""What the scripts of all claims share: settings by size, findings with intervals, results as data, figure and page.

A claim is a folder with ``config.yaml`` (sections ``default``, ``smoke`` and ``large``; the latter two say what
differs), ``run.py`` and ``README.md``, whose part between the markers is written from the results. ``run.py`` defines

    measure(settings) -> data            whatever JSON holds
    findings(data) -> [Finding, ...]     what the paper says beside what was measured
    draw(data, figure)                   on a matplotlib figure

and ends with ``main(__file__, measure, findings, draw)``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter
from PIL import Image
from scipy import stats

from mutransfer.intervals import Slope

SIZES = ("default", "smoke", "large")
FEW = 7  # measured values that fit along an axis as its ticks
ROOM = 0.09  # of an axis that a label needs
MARKERS = "<!-- findings: written by run.py -->", "<!-- end of findings -->"

Measure = Callable[[Mapping[str, Any]], Any]
Findings = Callable[[Any], Sequence["Finding"]]
Draw = Callable[[Any, Figure], None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One statement beside its measurement."""

    statement: str
    published: str
    measured: str
    holds: bool | None  # None: the interval leaves it open
    remark: str = ""

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "does not hold", None: "undecided"}[self.holds]


def judged(
    statement: str,
    published: str,
    value: float,
    low: float,
    high: float,
    *,
    within: tuple[float, float],
    measured: str = "",
    remark: str = "",
) -> Finding:
    """It holds where the whole interval lies in ``within``, fails where it lies outside, and is undecided otherwise."""
    holds = False if high < within[0] or low > within[1] else True if within[0] <= low and high <= within[1] else None
    measured = measured or f"{value:.3g} [{low:.3g}, {high:.3g}]"
    return Finding(statement=statement, published=published, measured=measured, holds=holds, remark=remark)


def of_slope(
    statement: str, published: str, slope: Slope | None, *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """A power of width, or of another scale."""
    if slope is None:
        return Finding(statement=statement, published=published, measured="too few points", holds=None, remark=remark)
    low, high = slope.low, slope.high
    plain = str(Slope(value=slope.value, low=low, high=high))
    return judged(statement, published, slope.value, low, high, within=within, measured=plain, remark=remark)


def of_seeds(
    statement: str, published: str, values: Sequence[float], *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """The mean of one value per seed, with a t-interval."""
    value, low, high = mean_interval(values)
    return judged(statement, published, value, low, high, within=within, remark=remark)


def of_ratios(
    statement: str, published: str, ratios: Sequence[float], *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """The geometric mean of one positive ratio per seed, with a t-interval of the logarithms."""
    value, low, high = (float(np.exp(v)) for v in mean_interval(np.log(ratios)))
    return judged(statement, published, value, low, high, within=within, remark=remark)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 90 % t-interval."""
    mean, half = float(np.mean(values)), float(stats.t.ppf(0.95, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


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
        write_between(folder / "README.md", block_of(record))


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


def as_data(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(f) | {"verdict": f.verdict} for f in found]


def block_of(record: Mapping[str, Any]) -> str:
    """What stands between the markers of a claim's page."""
    took = f"{record['seconds']:g} s ({record['cpu_seconds']:g} s of processor time) on {record['machine']}."
    return f"{table_of(record['findings'])}\n\n{took}"


def table_of(found: Sequence[Mapping[str, Any]]) -> str:
    """Findings as a table in Markdown."""
    rows = ["| statement | published | measured (90 % interval) | verdict |", "|---|---|---|---|"]
    rows += [
        f"| {f['statement']} | {f['published']} | {f['measured']} | "
        f"{f['verdict']}{': ' + f['remark'] if f['remark'] else ''} |"
        for f in found
    ]
    return "\n".join(rows)


def write_between(page: Path, text: str) -> None:
    """Put ``text`` between the page's markers."""
    start, end = MARKERS
    pattern = re.compile(re.escape(start) + r".*?" + re.escape(end), re.DOTALL)
    before = page.read_text()
    if not pattern.search(before):
        raise SystemExit(f"{page} has no lines {start!r} and {end!r} to write the findings between")
    page.write_text(pattern.sub(lambda match: f"{start}\n{text}\n{end}", before))


def save(figure: Figure, path: Path) -> None:
    """As PNG, of 128 colours: less than half the bytes."""
    full = io.BytesIO()
    figure.savefig(full, dpi=90)
    Image.open(full).convert("RGB").quantize(128).save(path, optimize=True)


def plain_ticks(axes: Axes) -> None:
    """Logarithmic axes: ticks at the measured values across, where these are few, else at decades or round numbers."""
    curves = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) > 2]  # two: a line across
    values = sorted({float(x) for curve in curves for x in curve})
    for axis, (low, high), across in (
        (axes.xaxis, axes.get_xlim(), values if len(values) <= FEW else []),
        (axes.yaxis, axes.get_ylim(), []),
    ):
        if axis.get_scale() != "log":
            continue
        decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        if across:
            axis.set_major_locator(FixedLocator(apart(across, ROOM * np.log(high / low))))
        elif sum(low <= 10**d <= high for d in decades) >= 2:
            axis.set_major_locator(LogLocator(numticks=6))
            axis.set_minor_formatter(NullFormatter())
            continue
        else:
            round_numbers = [m * 10**d for d in decades for m in (1, 2, 5) if low <= m * 10**d <= high]
            axis.set_major_locator(FixedLocator(round_numbers) if len(round_numbers) > 1 else MaxNLocator(4))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())


def apart(values: Sequence[float], room: float) -> list[float]:
    """Sorted values without those that lie within ``room`` of the one before, in logarithms."""
    kept = [values[0]]
    for value in values[1:]:
        if np.log(value / kept[-1]) >= room:
            kept.append(value)
    return kept


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
