"""One learning-rate sweep at one width, four ways in one process, alternating: `mup` + Optuna as its users write it,
ours one run after the other, ours as one stacked program, and that program compiled; and what the tool chooses itself.

    python -m experiments.benchmarks.sweep_throughput [--tasks mlp,gpt-small,gpt] [--rounds 3] [--no-compile] [--table]

Prints seconds per sweep (medians) and ratios to `mup` + Optuna (medians over rounds), and checks that the final losses
are equal. Compile time is apart. Memory: of processes of their own. Writes results/sweep_throughput.json and the
page's tables; --table writes these again from the results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from experiments.benchmarks.memory import peak_growth
from experiments.benchmarks.sweep_throughput.tables import MEMORY_MEMBERS, memory_table, table
from experiments.benchmarks.sweep_throughput.ways import (
    TASKS,
    by_choice,
    by_mup,
    by_single_runs,
    by_stacks,
    specs_of,
)
from experiments.pages import write_between
from mutransfer.parameterization.building import preserved_random_state
from mutransfer.training.compiling import compiled
from mutransfer.training.dispatch import Dispatcher
from mutransfer.training.population import Population
from mutransfer.training.run import infer_plan, run

FOLDER = Path(__file__).resolve().parents[1]
RESULTS, PAGE = FOLDER / "results" / "sweep_throughput.json", FOLDER / "README.md"


def measure(task, width: int, steps: int, lrs: int, seeds: int, rounds: int, compiling: bool) -> dict[str, object]:
    specs = specs_of(task, width, steps, lrs, seeds)
    plan = infer_plan(specs[0], task)
    ways: dict[str, Callable[[], list[float]]] = {
        "mup + Optuna": lambda: by_mup(task, specs),
        "single": lambda: by_single_runs(task, specs, plan),
        "stacked": lambda: by_stacks(task, specs, plan, len(specs)),
        "stacks of 8": lambda: by_stacks(task, specs, plan, 8),
    }
    found: dict[str, object] = {"width": width, "learning_rates": lrs, "seeds": seeds, "steps": steps}
    if compiling:
        started = time.perf_counter()
        step = compiled(Population(specs, task, plan=plan), float("inf"))
        found["compile_seconds"] = time.perf_counter() - started
        if step is not None:
            ways["compiled"] = lambda: by_stacks(task, specs, plan, len(specs), step)
    # Timed once per width, as for a sweep of usual length, which is worth timing.
    started = time.perf_counter()
    usual = specs_of(task, width, 200, lrs, seeds)
    costs = Dispatcher(task, device=torch.device("cpu")).costs(usual, plan)
    found["choosing_seconds"] = time.perf_counter() - started
    found["choice"] = min(len(specs), costs.members(len(specs), steps))
    found["break_even_steps"] = costs.break_even(len(specs)) if costs.stacked else None
    ways["chosen"] = lambda: by_choice(task, specs, plan)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, list[float]] = {}
    names = list(ways)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:  # each way comes after each other one
            with preserved_random_state():
                started = time.perf_counter()
                losses[name] = ways[name]()
                seconds[name].append(time.perf_counter() - started)
    theirs = seconds["mup + Optuna"]
    found["seconds"] = {name: statistics.median(values) for name, values in seconds.items()}
    found["times_faster"] = {
        name: statistics.median(a / b for a, b in zip(theirs, values, strict=True)) for name, values in seconds.items()
    }
    # Of medians: the fastest of several noisy times in each round would be luck. What is chosen is one of the ways as a
    # rule, the same program: both its times count.
    same = {1: "single", 8: "stacks of 8", len(specs): "stacked"}.get(found["choice"])
    pooled = statistics.median(seconds["chosen"] + (seconds[same] if same else []))
    best = min(found["seconds"][name] for name in ("single", "stacked", "stacks of 8"))
    found["chosen_over_best"] = best / pooled
    apart = {
        name: sorted(
            abs(a - b) / a for a, b in zip(losses["mup + Optuna"], values, strict=True) if max(a, b) < float("inf")
        )
        for name, values in losses.items()
    }
    found["difference_of_loss"] = {
        name: {"median": statistics.median(values), "largest": values[-1]} for name, values in apart.items()
    }
    return found


def peak_memory(task_name: str, width: int, members: int) -> float:
    """MB by which training a stack raises the resident memory of a process of its own."""
    command = [sys.executable, "-m", __package__, "--stack", task_name, str(width), str(members)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def stack_memory(task_name: str, width: int, members: int) -> None:
    task = TASKS[task_name][0]
    specs = specs_of(task, width, 3, max(members, 2), 1)[:members]
    plan = infer_plan(specs[0], task)
    run(specs[0], task, plan=plan)
    print(peak_growth(lambda: by_stacks(task, specs, plan, members)) / 2**20)


def write_tables() -> None:
    record = json.loads(RESULTS.read_text())
    write_between(PAGE, "sweep_throughput", table(record))
    write_between(PAGE, "sweep_memory", memory_table(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--widths", default="", help="only these, e.g. 32,64")
    parser.add_argument("--sweeps", default="32x1,16x3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--table", action="store_true", help="the page's tables again, from the results on disk")
    parser.add_argument("--stack", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.stack:
        stack_memory(options.stack[0], int(options.stack[1]), int(options.stack[2]))
        return
    if options.table:
        write_tables()
        return
    RESULTS.parent.mkdir(exist_ok=True)
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    record["torch"] = torch.__version__
    print(f"torch {torch.__version__}, 1 thread, Adam; times faster than mup + Optuna (medians of {options.rounds})")
    for name in options.tasks.split(","):
        task, steps = TASKS[name]
        for width in [int(w) for w in options.widths.split(",") if w] or steps:
            for lrs, seeds in [tuple(map(int, s.split("x"))) for s in options.sweeps.split(",")]:
                found = measure(task, width, steps[width], lrs, seeds, options.rounds, not options.no_compile)
                record[f"{name} width {width} {lrs}x{seeds}"] = found
                RESULTS.write_text(json.dumps(record, indent=1) + "\n")
                apart = found["difference_of_loss"].values()
                worst = {kind: max(d[kind] for d in apart) for kind in ("median", "largest")}
                cells = "  ".join(f"{k} {v:.2f}x" for k, v in found["times_faster"].items())
                print(
                    f"{name} width {width}, {lrs} rates x {seeds}: {found['seconds']['mup + Optuna']:.2f} s  {cells}  "
                    f"chosen {found['choice']} at once, {found['chosen_over_best']:.2f} of the best; "
                    f"compiling {found.get('compile_seconds', 0):.0f} s; "
                    "losses differ by {median:.1e} in the median, by at most {largest:.1e}".format(**worst),
                    flush=True,
                )
        if not options.no_memory:
            width = 64
            memory = {k: peak_memory(name, width, k) for k in MEMORY_MEMBERS}
            record[f"{name} memory at width {width}"] = memory
            RESULTS.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{name} width {width}: " + ", ".join(f"{k} members {mb:.0f} MB" for k, mb in memory.items()))
    write_tables()


if __name__ == "__main__":
    main()
