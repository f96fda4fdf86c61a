"""Cost of a wrapped training step over the plain one, in the forward and the absorbed form, alternating in one process.

    python -m experiments.benchmarks.wrap_overhead [--threads 1] [--rounds 60]

Medians and ratios; the ratio of two plain models shows what the machine's noise is worth. Writes the page's table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import mutransfer as mt
from experiments.pages import markdown, write_between
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT


def stepper(task, model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], float]:
    batch = task.batch(0, 0)

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
        return time.perf_counter() - started

    return step


def candidates(task, width: int, base_width: int) -> dict[str, Callable[[], float]]:
    found = {}
    for name in ("plain", "plain again"):
        model = task.build(width)
        found[name] = stepper(task, model, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True))
    for form in ("absorbed", "forward"):
        model, plan = mt.parameterize(task.build, width=width, base_width=base_width, form=form)
        groups = mt.param_groups(model, plan, lr=1e-4)
        found[form] = stepper(task, model, torch.optim.AdamW(groups, fused=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} thread(s), AdamW, mup")
    print(f"median of {options.rounds} alternating steps (median ratio to the plain step of the same round)")
    rows = []
    for label, task, width, base in (
        ("digits MLP", DigitsMLP(), 256, 64),
        ("digits MLP", DigitsMLP(), 1024, 64),
        ("byte GPT", SourceBytesGPT(), 64, 16),
        ("byte GPT", SourceBytesGPT(), 256, 16),
    ):
        steps = candidates(task, width, base)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for i in range(options.rounds + 5):
            for name, step in steps.items():
                seconds = step()
                if i >= 5:
                    times[name].append(seconds)
        median = {name: statistics.median(values) for name, values in times.items()}
        # Each step against the plain one of its own round: what slows the whole machine slows both.
        ratio = {
            name: statistics.median(t / p for t, p in zip(values, times["plain"], strict=True))
            for name, values in times.items()
        }
        rows.append([f"{label} width {width}", *(f"{1e3 * median[name]:.2f} ms ({ratio[name]:.3f})" for name in steps)])
        print(rows[-1], flush=True)
    head = f"torch {torch.__version__.split('+')[0]}, {options.threads} thread(s), {options.rounds} rounds."
    found = markdown(("a step of AdamW, mup", "plain", "plain again", "absorbed", "forward"), rows)
    write_between(Path(__file__).parent / "README.md", "wrap_overhead", f"{head}\n\n{found}")


if __name__ == "__main__":
    main()
