"""Cost of the guard of optimizer steps: its hook on one optimizer, on and switched off, in turns in one process.

    python -m experiments.benchmarks.guard_overhead [--rounds 9]

A round is a whole run of an optimizer from its first step on, so that the looks at steps 1, 2, 16 and so on count with
the steps between them; gradients stay as they are. Processor time, since the machine was shared; medians over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

import mutransfer as mt
from experiments.pages import markdown, write_between
from mutransfer.parameterization.groups import step_guard
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT


def hook_seconds(model, plan, steps: int, lr, mode: step_guard.Mode = "raise") -> float:
    """Seconds that the hook alone takes over a run of ``steps``."""
    optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=lr), foreach=False)
    hook = step_guard.before_any_step
    with mt.guard(mode):
        started = time.process_time()
        for _ in range(steps):
            hook(optimizer, (), {})
        return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for label, task, width, base in (
        ("digits MLP, width 256", DigitsMLP(), 256, 64),
        ("byte GPT, width 64", SourceBytesGPT(), 64, 16),
        ("byte GPT of 12 blocks, width 64", SourceBytesGPT(layers=12), 64, 16),
    ):
        torch.manual_seed(0)
        model, plan = mt.parameterize(task.build, width=width, base_width=base, optimizer="adamw")
        task.loss(model, task.batch(0, 0)).backward()
        ways = {
            f"{name}, {steps} steps": lambda m=model, p=plan, how=how, steps=steps: (
                hook_seconds(m, p, steps, *how) / steps
            )
            for steps in (1000, 10_000)
            for name, how in (("on", (0.1,)), ("on, rates in tensors", (torch.tensor(0.1),)), ("off", (0.1, "off")))
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds[name].append(way())
        micro = {name: 1e6 * statistics.median(values) for name, values in seconds.items()}
        rows.append([f"{label}, {len(plan)} tensors", *(f"{micro[name]:.1f}" for name in ways)])
        print(rows[-1], flush=True)
    head = f"torch {torch.__version__.split('+')[0]}, 1 thread, {options.rounds} rounds."
    found = markdown(("microseconds a step", *ways), rows)
    write_between(Path(__file__).parent / "README.md", "guard_overhead", f"{head}\n\n{found}")


if __name__ == "__main__":
    main()
