"""What the scripts of all claims share: settings by size, findings with intervals, results as data, figure and page.

A claim is a folder with ``config.yaml`` (sections ``default``, ``smoke`` and ``large``; the latter two say what differs),
``run.py`` and ``README.md``, whose part between the markers is written from the results. ``run.py`` defines

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
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from matplotlib.figure import Figure

from mutransfer.measure.slopes import Slope

SIZES = ("default", "smoke", "large")
MARKERS = "<!-- findings: written by run.py -->", "<!-- end of findings -->"


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


def of_slope(
    statement: str, published: str, slope: Slope | None, *, within: tuple[float, float], remark: str = ""
) -> Finding:
    """A power of width, or of another scale: it holds where its 90 % interval meets ``within`` and its value lies in it.

    The statement fails where the whole interval lies outside, and is undecided otherwise.
    """
    if slope is None:
        return Finding(statement=statement, published=published, measured="too few points", holds=None, remark=remark)
    low, high = within
    outside = slope.high < low or slope.low > high
    holds = False if outside else True if low <= slope.value <= high else None
    plain = Slope(value=slope.value, low=slope.low, high=slope.high)
    return Finding(statement=statement, published=published, measured=str(plain), holds=holds, remark=remark)


def settings_of(folder: Path, size: str) -> dict[str, Any]:
    """The settings of a size: those of ``default``, and what the size's own section changes."""
    sections = yaml.safe_load((folder / "config.yaml").read_text())
    return sections["default"] | (sections.get(size) or {})


def main(
    script: str,
    measure: Callable[[Mapping[str, Any]], Any],
    findings: Callable[[Any], Sequence[Finding]],
    draw: Callable[[Any, Figure], None],
) -> None:
    """Measure, print what was found, and keep it: results, figure and page of the folder, or in ``--out``."""
    folder = Path(script).resolve().parent
    parser = argparse.ArgumentParser(description=folder.name)
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--out", type=Path, help="write results and figure there and leave the folder's alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="findings, figure and page from the results on disk")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    out = options.out or folder
    out.mkdir(parents=True, exist_ok=True)
    results = out / ("results.json" if options.size == "default" else f"results-{options.size}.json")
    if options.again:
        record = json.loads(results.read_text())
    else:
        settings = settings_of(folder, options.size)
        started = time.perf_counter()
        data = measure(settings)
        record = {
            "settings": settings,
            "seconds": round(time.perf_counter() - started, 1),
            "machine": machine(options.threads),
            "data": data,
        }
    record = json.loads(json.dumps(record))  # the same types as when they are read again
    found = findings(record["data"])
    record["findings"] = [asdict(f) | {"verdict": f.verdict} for f in found]
    results.write_text(json.dumps(rounded(record), indent=1) + "\n")
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    draw(record["data"], figure)
    figure.savefig(out / ("figure.png" if options.size == "default" else f"figure-{options.size}.png"), dpi=90)
    table = table_of(found)
    print(f"{folder.name}, {options.size}, {record['seconds']:g} s\n{table}")
    if options.out is None and options.size == "default":
        write_between(folder / "README.md", f"{table}\n\n{record['seconds']:g} s on {record['machine']}.")


def table_of(found: Sequence[Finding]) -> str:
    """Findings as a table in Markdown."""
    rows = ["| statement | published | measured (90 % interval) | verdict |", "|---|---|---|---|"]
    rows += [
        f"| {f.statement} | {f.published} | {f.measured} | {f.verdict}{': ' + f.remark if f.remark else ''} |"
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


def machine(threads: int) -> str:
    """The machine in words, without its name."""
    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{threads} thread(s) of a {os.cpu_count()}-core {platform.machine()} CPU, torch {torch.__version__.split('+')[0]}"


def rounded(value: Any) -> Any:
    """Data with six significant digits: results are looked at, and small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
