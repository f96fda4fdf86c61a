"""What was measured of sweeps, as tables: times faster than mup + Optuna, and memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.pages import markdown

TITLES = {
    "mlp": "digits MLP",
    "gpt-small": "byte GPT, 128 tokens a step",
    "gpt": "byte GPT, 1024 tokens a step",
}
MEMORY_MEMBERS = (8, 16, 32, 64)
WAYS = ("single", "stacks of 8", "stacked", "compiled")


def table(record: Mapping[str, Any]) -> str:
    """Times faster than mup + Optuna, one row per task, sweep and width."""
    rows = []
    for name, title in TITLES.items():
        sweeps = [found for key, found in record.items() if key.startswith(f"{name} width")]
        for found in sorted(sweeps, key=lambda f: (f["seeds"], f["width"])):
            faster, members = found["times_faster"], found["learning_rates"] * found["seeds"]
            ways = [
                f"{faster[w]:.1f}x" if w in faster else "" for w in ("single", "stacks of 8", "stacked", "compiled")
            ]
            compiling = f"{found['compile_seconds']:.0f}" if "compiled" in faster else ""
            chosen = {1: "one by one", members: "together"}.get(found["choice"], f"{found['choice']} at once")
            apart = max(d["largest"] for d in found["difference_of_loss"].values())
            rows.append(
                [
                    f"{title}, {found['width']}",
                    f"{found['learning_rates']} x {found['seeds']}",
                    f"{found['seconds']['mup + Optuna']:.1f}",
                    *ways,
                    compiling,
                    f"{chosen}, {found['chosen_over_best']:.2f}",
                    f"{100 * apart:.2g} %",
                ]
            )
    columns = (
        "model, width",
        "learning rates x seeds",
        "`mup` + Optuna, s",
        "single runs",
        "stacks of 8",
        "one stack",
        "compiled, steady state",
        "compiling, s",
        "what is chosen, part of the best way's speed",
        "largest difference of a final loss",
    )
    return f"torch {record['torch'].split('+')[0]}, 1 thread.\n\n" + markdown(columns, rows)


def memory_table(record: Mapping[str, Any]) -> str:
    """Memory of one stack against how many are trained at once."""
    found = {key: value for key, value in record.items() if " memory at width " in key}
    rows = []
    for key, by_members in sorted(found.items()):
        name, _, width = key.partition(" memory at width ")
        rows.append([f"{TITLES[name]}, {width}", *(f"{by_members[str(n)]:.0f}" for n in MEMORY_MEMBERS)])
    return markdown(("MB, model and width", *(f"{n} at once" for n in MEMORY_MEMBERS)), rows)
