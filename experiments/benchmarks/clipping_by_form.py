"""Transfer of the byte GPT's learning rate under plain clipping at 1.0, in the forward and in the absorbed form.

    python -m experiments.benchmarks.clipping_by_form [--optimizers adamw,sgd] [--widths 32,64,128,256]
        [--ways forward-plain,absorbed-plain,forward-weighted] [--steps 60] [--seeds 2] [--table]

Runs that are stored already, with as many steps, are not done again.

The absorbed form needs no hook and its checkpoints are plain, but its gradients carry the multipliers: the readout's
grows like n^1/2, and a plain norm with it. Clipping that is tuned at base width then clips another share of steps.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import nn

import mutransfer as mt
from experiments.pages import markdown, write_between
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

HERE = Path(__file__).parent
STORED = HERE / "results" / "clipping_by_form.json"
CLIPS = {"plain": "torch's, 1.0", "weighted": "mutransfer's, 1.0", "none": "none"}
MAKE = {"adamw": torch.optim.AdamW, "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9)}
LOG2_LRS = {"adamw": range(-8, -2), "sgd": range(-4, 2)}
WARMUP = 0.3  # of the steps


def train(task, plan: mt.Plan, width: int, optimizer: str, clip: str, lr: float, seed: int, steps: int) -> list[float]:
    """The held-out loss, the share of steps that were clipped, and the median of the norms before clipping."""
    torch.manual_seed(seed)
    model = mt.apply(task.build(width), plan)
    made = MAKE[optimizer](mt.param_groups(model, plan, lr=lr))
    norms = []
    for step in range(steps):
        mt.set_lr(made, lr * min((step + 1) / (WARMUP * steps), 1.0))
        made.zero_grad()
        loss = task.loss(model, task.batch(seed, step))
        loss.backward()
        if clip == "plain":
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        else:
            norms.append(float(mt.clip_grad_norm_(model, plan, 1.0 if clip == "weighted" else math.inf)))
        made.step()
    model.eval()
    clipped = sum(norm > 1.0 for norm in norms) / steps
    return [task.evaluate(model), clipped, sorted(norms)[steps // 2]]


def measure(options: argparse.Namespace) -> None:
    task = SourceBytesGPT(context=32, batch_size=8)
    base, *_ = widths = [int(w) for w in options.widths.split(",")]
    record = json.loads(STORED.read_text()) if STORED.exists() else {}
    if (record.get("steps"), record.get("base")) != (options.steps, base):
        record = {"torch": torch.__version__, "steps": options.steps, "base": base, "runs": []}
    done = {tuple(value for key, value in run.items() if key != "found") for run in record["runs"]}
    for optimizer in options.optimizers.split(","):
        for width in widths:
            for form, clip in (way.split("-") for way in options.ways.split(",")):
                plan = mt.Plan.infer(task.build, width=width, base_width=base, optimizer=optimizer, form=form)
                for log2_lr in LOG2_LRS[optimizer]:
                    for seed in range(options.seeds):
                        key = {"optimizer": optimizer, "width": width, "form": form, "clip": clip}
                        key |= {"log2_lr": log2_lr, "seed": seed}
                        if tuple(key.values()) in done:
                            continue
                        started = time.perf_counter()
                        run = train(task, plan, width, optimizer, clip, 2.0**log2_lr, seed, options.steps)
                        record["runs"].append({**key, "found": run})
                        print(record["runs"][-1], f"{time.perf_counter() - started:.1f} s", flush=True)
                STORED.write_text(json.dumps(record))


def table(record: dict) -> str:
    """Of every way and width: the optimum, the loss there and at the base's optimum, and what was clipped."""
    rows = []
    runs = record["runs"]
    for optimizer, form, clip in dict.fromkeys((r["optimizer"], r["form"], r["clip"]) for r in runs):
        mine = [r for r in runs if (r["optimizer"], r["form"], r["clip"]) == (optimizer, form, clip)]
        start = None
        for width in sorted({r["width"] for r in mine}):
            cells: dict[int, list[list[float]]] = {}
            for r in mine:
                if r["width"] == width:
                    cells.setdefault(r["log2_lr"], []).append(r["found"])
            means = {
                lr: [sum(column) / len(found) for column in zip(*found, strict=True)] for lr, found in cells.items()
            }
            losses = {lr: mean[0] if math.isfinite(mean[0]) else math.inf for lr, mean in means.items()}
            best = min(losses, key=losses.__getitem__)
            start = best if start is None else start
            optimum = _vertex(losses, best)
            clipped, norm = means[start][1:]
            rows.append(
                [
                    *(optimizer, form, CLIPS[clip], str(width), f"{optimum:.1f}", f"{losses[best]:.3f}"),
                    *(f"{losses[start]:.3f}", f"{100 * clipped:.0f} %", f"{norm:.2f}"),
                ]
            )
    head = (
        f"torch {record['torch'].split('+')[0]}, {record['steps']} steps of 256 bytes, base width {record['base']}, "
        "mean of seeds; clipped and norm at the base's best rate."
    )
    columns = (
        *("optimizer", "form", "clipping", "width", "log2 of the best lr", "loss there", "loss at the base's best lr"),
        *("steps clipped", "median norm"),
    )
    return f"{head}\n\n{markdown(columns, rows)}"


def _vertex(losses: dict[int, float], best: int) -> float:
    left, middle, right = (losses.get(best + i, math.inf) for i in (-1, 0, 1))
    if not all(map(math.isfinite, (left, right))) or left + right <= 2 * middle:
        return float(best)
    return best + 0.5 * (left - right) / (left - 2 * middle + right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--optimizers", default="adamw,sgd")
    parser.add_argument("--widths", default="32,64,128,256")
    parser.add_argument("--ways", default="forward-plain,absorbed-plain,forward-weighted")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="write the table from the stored runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        with mt.guard("off"):  # which would say that clipping is plain
            measure(options)
    write_between(HERE / "README.md", "clipping_by_form", table(json.loads(STORED.read_text())))


if __name__ == "__main__":
    main()
