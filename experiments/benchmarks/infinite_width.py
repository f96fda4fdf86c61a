"""Time and memory of the closed-form kernels: dense networks on 1797 digits, convolutional ones on 200, and their law.

    python -m experiments.benchmarks.infinite_width [--threads 2] [--repeats 3] [--table]

Prints a table (the best of the repeats, since other work only slows) and the exponents, fitted to processor time, which
other work hardly touches. Writes results/infinite_width.json and the page's table; --table writes that again.
Peak memory is the process's growth over its size before the call, sampled by the kernel (ru_maxrss), so that only the
first of several rows as large shows it.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

from experiments.pages import markdown, write_between
from mutransfer.kernels import infinite_width

FOLDER = Path(__file__).parent
RESULTS, PAGE = FOLDER / "results" / "infinite_width.json", FOLDER / "README.md"


def dense(activation: Callable[[], nn.Module], depth: int = 3) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(64 if i == 0 else 1024, 1024), activation()]
    return nn.Sequential(*layers, nn.Linear(1024, 10))


def convolutional(activation: Callable[[], nn.Module], *, pooled: bool) -> nn.Sequential:
    body = [nn.Conv2d(1, 64, 3, padding=1), activation(), nn.Conv2d(64, 64, 3, padding=1), activation()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*body, *(head if pooled else [nn.Flatten(), nn.LazyLinear(10)]))


def measured(network: nn.Module, x: torch.Tensor, repeats: int) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, cpu = [], []
    for _ in range(repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        infinite_width(network, x)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": min(seconds),
        "slowest_seconds": max(seconds),
        "cpu_seconds": min(cpu),
        "peak_growth_mb": grown / 1024,
    }


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log processor time between the two largest sizes."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])


def table(record: Mapping[str, Any]) -> str:
    """Seconds and memory per network, and the powers that time goes by."""
    rows = [
        [label, *(f"{row[k]:.2f}" for k in ("seconds", "cpu_seconds")), f"{row['peak_growth_mb']:.0f}"]
        for label, row in record["rows"].items()
    ]
    powers = " and ".join(f"{what}^{power:.2f}" for what, power in record["exponents"].items())
    head = f"torch {record['torch'].split('+')[0]}, {record['threads']} thread(s). Global pooling: time like {powers}."
    return f"{head}\n\n{markdown(('network, examples', 's', 's of processor time', 'peak growth, MB'), rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="the page's table again, from the results on disk")
    options = parser.parse_args()
    if options.table:
        write_between(PAGE, "infinite_width", table(json.loads(RESULTS.read_text())))
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    flat = torch.from_numpy(load_digits().data / 16)
    images = flat.reshape(-1, 1, 8, 8)
    rows: dict[str, dict[str, float]] = {}

    def row(label: str, network: nn.Module, x: torch.Tensor) -> float:
        rows[label] = measured(network, x, options.repeats)
        print("{:58s} {:8.3f} {:8.3f} {:8.3f} {:8.0f}".format(label, *rows[label].values()), flush=True)
        return rows[label]["cpu_seconds"]

    print(f"torch {torch.__version__}, {options.threads} thread(s), float64, nngp and ntk; best of {options.repeats}")
    print(f"{'':58s} {'s':>8s} {'slowest':>8s} {'cpu s':>8s} {'peak MB':>8s}")
    for name, activation in (("relu", nn.ReLU), ("gelu", nn.GELU), ("relu6", nn.ReLU6), ("tanh, integrated", nn.Tanh)):
        row(f"dense depth 3, {name}, 1797 digits", dense(activation), flat)
    examples, sides = [50, 100, 200], [4, 6, 8]
    by_examples = [
        row(f"conv 2 layers, relu, global pooling, {n} digits", convolutional(nn.ReLU, pooled=True), images[:n])
        for n in examples
    ]
    by_positions = [
        row(
            f"conv 2 layers, relu, global pooling, 100 of {side}x{side}",
            convolutional(nn.ReLU, pooled=True),
            images[:100, :, :side, :side],
        )
        for side in sides
    ]
    network = convolutional(nn.ReLU, pooled=False)
    network[-1] = nn.Linear(64 * 64, 10)
    row("conv 2 layers, relu, flatten, 1797 digits", network, images)
    laws = {
        "examples": exponent(examples, by_examples),
        "positions": exponent([side**2 for side in sides], by_positions),
    }
    print(f"global pooling: time ~ examples^{laws['examples']:.2f} positions^{laws['positions']:.2f}; expected 2 and 2")
    record = {"torch": torch.__version__, "threads": options.threads, "rows": rows, "exponents": laws}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "infinite_width", table(record))


if __name__ == "__main__":
    main()
