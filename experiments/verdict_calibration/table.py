"""Studies made into rates, and rates into a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.pages import markdown

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parent / "README.md"
DEFAULT_SEEDS = 4  # of configs/digits-mlp.yaml
NEGATIVE = ("DRIFTS", "UNSTABLE")


def right(study: Mapping[str, Any]) -> bool:
    """A regret beyond the tolerance is a drift; a smaller one transfers, wherever the optimum went."""
    return study["verdict"] in NEGATIVE if study["large"] else study["verdict"] == "TRANSFERS"


def rates(studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Parts of studies, with how many there were."""
    still = [s for s in studies if s["drift"] == 0]
    moved = [s for s in studies if s["drift"] >= 0.5]
    costly = [s for s in moved if s["large"]]
    return {
        "studies": len(studies),
        "optimum_coverage": _mean(h for s in studies for h in s["optimum_held"]),
        "drift_coverage": _mean(s["drift_held"] for s in studies),
        "regret_coverage": _mean(h for s in studies for h in s["regret_held"][1:]),
        "regret_bias": _mean(np.median(s["regret_error"][1:]) for s in still),
        "optimum_width": _median(w for s in studies for w in s["optimum_width"]),
        "drift_width": _median(s["drift_width"] for s in studies),
        "false_transfers": _mean(s["verdict"] == "TRANSFERS" for s in costly),
        "transfers_at_drift": _mean(s["verdict"] == "TRANSFERS" for s in moved),
        "false_drifts": _mean(s["verdict"] == "DRIFTS" for s in still),
        "power": _mean(right(s) for s in [*still, *moved]),
        "power_still": _mean(right(s) for s in still),
        "power_moved": _mean(right(s) for s in moved),
        "inconclusive": _mean(s["verdict"] == "INCONCLUSIVE" for s in [*still, *moved]),
        "edge": _mean(s["verdict"] == "EDGE" for s in [*still, *moved]),
        **{f"{m}_{k}": v for m in ("best_trial", "parabola") for k, v in _today(still, costly, m).items()},
    }


def summary(studies: Sequence[Mapping[str, Any]], groups: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Rates by number of seeds for each group of families, and by family."""
    seeds = sorted({s["seeds"] for s in studies})
    of: dict[str, Any] = {}
    every = {s["family"] for s in studies}
    for kind, inside in {"all": every, **groups}.items():
        for n in seeds:
            chosen = [s for s in studies if s["seeds"] == n and s["family"] in inside]
            if chosen:
                of[f"{kind}, {n} seeds"] = rates(chosen)
    families = {f: rates([s for s in studies if s["family"] == f]) for f in dict.fromkeys(s["family"] for s in studies)}
    return {"by_seeds": of, "by_family": families}


def table(found: Mapping[str, Any]) -> str:
    """Rates in percent, in Markdown."""
    columns = {
        "optimum": "optimum_coverage",
        "drift": "drift_coverage",
        "regret": "regret_coverage",
        "false TRANSFERS": "false_transfers",
        "any TRANSFERS": "transfers_at_drift",
        "false DRIFTS": "false_drifts",
        "right": "power",
        "right, still": "power_still",
        "right, moved": "power_moved",
        "inconclusive": "inconclusive",
        "edge": "edge",
        "best trial: false T / D": ("best_trial_false_transfers", "best_trial_false_drifts"),
        "parabola: false T / D": ("parabola_false_transfers", "parabola_false_drifts"),
    }
    rows = [
        [name, str(rate["studies"]), *(_percent(rate, keys) for keys in columns.values())]
        for name, rate in {**found["by_seeds"], **found["by_family"]}.items()
    ]
    return markdown(("%", "studies", *columns), rows)


def _percent(rate: Mapping[str, Any], keys: str | tuple[str, ...]) -> str:
    values = [rate[k] for k in ([keys] if isinstance(keys, str) else keys)]
    return " / ".join("-" if v is None else f"{100 * v:.0f}" for v in values)


def _today(still: Sequence[Any], costly: Sequence[Any], method: str) -> dict[str, Any]:
    return {
        "false_transfers": _mean(s[method] == "TRANSFERS" for s in costly),
        "false_drifts": _mean(s[method] == "DRIFTS" for s in still),
    }


def _mean(values: Iterable[Any]) -> float | None:
    kept = [float(v) for v in values]
    return round(float(np.mean(kept)), 4) if kept else None


def _median(values: Iterable[float]) -> float | None:
    kept = [v for v in values if math.isfinite(v)]
    return round(float(np.median(kept)), 4) if kept else None
