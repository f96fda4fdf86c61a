"""One learning-rate sweep at one width, four ways in one process, alternating: `mup` + Optuna as its users write it,
ours one run after the other, ours as one stacked program, and that program compiled; and what the tool chooses itself.

    python experiments/benchmarks/sweep_throughput.py [--tasks mlp,gpt-small,gpt] [--rounds 3] [--no-compile]

Prints seconds per sweep (medians) and ratios to `mup` + Optuna (medians over rounds), and checks that the final losses
are equal. Compile time is apart. Memory: of processes of their own. Results go to
results/sweep_throughput.json beside this file.
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

import optuna
import torch
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.training.dispatch import Dispatcher
from mutransfer.training.run import infer_plan, run
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.compiling import compiled
from mutransfer.training.stacked.costs import even_parts
from mutransfer.training.stacked.population import Population, TraceableStep
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mup

# Evaluations are the same for all, so few windows; sweeps are short at large widths, where a step takes long.
SMALL = SourceBytesGPT(batch_size=4, context=32, eval_windows=8)
GPT = SourceBytesGPT(batch_size=16, context=64, eval_windows=16)
# name: (task, {width: steps})
TASKS = {
    "mlp": (DigitsMLP(), dict.fromkeys((32, 64, 128, 256, 512), 100)),
    "gpt-small": (SMALL, {32: 100, 64: 60, 128: 20, 256: 4}),  # 128 tokens a step
    "gpt": (GPT, {32: 6, 64: 6, 128: 4, 256: 2}),  # 1024 tokens a step
}
SWEEPS = ((32, 1), (16, 3))  # learning rates, seeds


def specs_of(task, width: int, steps: int, lrs: int, seeds: int) -> list[RunSpec]:
    return [
        RunSpec(
            task=repr(task),
            width=width,
            base_width=width,
            hyperparameters={"lr": 2.0 ** (-14 + 8 * i / (lrs - 1))},
            optimizer="adam",
            seed=seed,
            steps=steps,
        )
        for i in range(lrs)
        for seed in range(seeds)
    ]


# (a) What a user of mup writes: a model with MuReadout, base shapes, MuAdam, and an Optuna study around the loop.
def mup_model(task, width: int) -> nn.Module:
    def build(n: int) -> nn.Module:
        model = task.build(n)
        holder, name = (model, str(len(model) - 1)) if isinstance(model, nn.Sequential) else (model, "readout")
        last = getattr(holder, name)
        readout = mup.MuReadout(last.in_features, last.out_features, bias=last.bias is not None)
        readout.load_state_dict(last.state_dict())
        setattr(holder, name, readout)
        return model

    with preserved_random_state():
        base, delta = build(width), build(2 * width)
    return mup.set_base_shapes(build(width), base, delta=delta)


def by_mup(task, specs: list[RunSpec]) -> list[float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seeds = sorted({spec.seed for spec in specs})
    lrs = list(dict.fromkeys(spec.lr for spec in specs))
    losses: dict[tuple[float, int], float] = {}

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", min(lrs), max(lrs), log=True)
        for seed in seeds:
            seed_everything(seed)
            model = mup_model(task, specs[0].width)
            optimizer = mup.MuAdam(model.parameters(), lr=lr)
            for step in range(specs[0].steps):
                optimizer.zero_grad()
                task.loss(model, task.batch(seed, step)).backward()
                optimizer.step()
            losses[lr, seed] = task.evaluate(model)
        return sum(losses[lr, seed] for seed in seeds) / len(seeds)

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": lrs}))
    study.optimize(objective, n_trials=len(lrs))
    return [losses[spec.lr, spec.seed] for spec in specs]


def by_single_runs(task, specs: list[RunSpec], plan: Plan) -> list[float]:
    return [run(spec, task, plan=plan).final_loss for spec in specs]


def by_stacks(task, specs: list[RunSpec], plan: Plan, members: int, step: TraceableStep | None = None) -> list[float]:
    found, start = {}, 0
    for size in even_parts(len(specs), members):
        population = Population(specs[start : start + size], task, plan=plan)
        population.compiled = step
        found |= {spec.key: result.final_loss for spec, result in population.train()}
        start += size
    return [found[spec.key] for spec in specs]


def by_choice(task, specs: list[RunSpec], plan: Plan) -> list[float]:
    dispatcher = Dispatcher(task, device=torch.device("cpu"))
    found = {spec.key: result.final_loss for spec, result in dispatcher.perform(specs, lambda spec: plan)}
    return [found[spec.key] for spec in specs]


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
    command = [sys.executable, __file__, "--stack", task_name, str(width), str(members)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def stack_memory(task_name: str, width: int, members: int) -> None:
    task = TASKS[task_name][0]
    specs = specs_of(task, width, 3, max(members, 2), 1)[:members]
    plan = infer_plan(specs[0], task)
    run(specs[0], task, plan=plan)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that importing reached; Linux
    before = _status("VmRSS")
    by_stacks(task, specs, plan, members)
    print((_status("VmHWM") - before) / 1024)


def _status(name: str) -> int:
    """kB of this process, from /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--widths", default="", help="only these, e.g. 32,64")
    parser.add_argument("--sweeps", default="32x1,16x3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--stack", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.stack:
        stack_memory(options.stack[0], int(options.stack[1]), int(options.stack[2]))
        return
    path = Path(__file__).parent / "results" / "sweep_throughput.json"
    path.parent.mkdir(exist_ok=True)
    record = json.loads(path.read_text()) if path.exists() else {}
    record["torch"] = torch.__version__
    print(f"torch {torch.__version__}, 1 thread, Adam; times faster than mup + Optuna (medians of {options.rounds})")
    for name in options.tasks.split(","):
        task, steps = TASKS[name]
        for width in [int(w) for w in options.widths.split(",") if w] or steps:
            for lrs, seeds in [tuple(map(int, s.split("x"))) for s in options.sweeps.split(",")]:
                found = measure(task, width, steps[width], lrs, seeds, options.rounds, not options.no_compile)
                record[f"{name} width {width} {lrs}x{seeds}"] = found
                path.write_text(json.dumps(record, indent=1))
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
            memory = {k: peak_memory(name, width, k) for k in (8, 16, 32, 64)}
            record[f"{name} memory at width {width}"] = memory
            path.write_text(json.dumps(record, indent=1))
            print(f"{name} width {width}: " + ", ".join(f"{k} members {mb:.0f} MB" for k, mb in memory.items()))


if __name__ == "__main__":
    main()
