"""What was found at every width: the optimum, the loss of transferring, how far features and kernel went."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mutransfer.report.numbers import bounds, geometric_mean, loss_change
from mutransfer.report.section import Section
from mutransfer.transfer.curves.optimum import Optimum
from mutransfer.transfer.verification.result import Verification


def widths_section(verification: Verification) -> Section:
    """A row per width, and what the verdict calls small."""
    v = verification
    return Section(
        table=[_row(v, key) for key in v.sweeps],
        small_print=_tolerances(v),
        data={
            "transferred_log2_lr": v.transferred_log2_lr,
            "tolerance_log_loss": v.tolerance,
            "tolerance_octaves_per_doubling": v.drift_tolerance,
            "optima": {str(key): [o.log2_lr, o.low, o.high] for key, o in v.optima.items()},
            "flat": [str(key) for key, o in v.optima.items() if o.flat],
            "at_edge": {str(key): o.at_edge for key, o in v.optima.items() if o.at_edge},
            "regret_log_loss": {str(key): bounds(regret) for key, regret in v.regret.items()},
        },
    )


def _row(v: Verification, key: str | int) -> dict[str, str]:
    sweep, best, regret = v.sweeps[key], v.optima[key], v.regret.get(key)
    runs = [run for seeds in sweep.results.values() for run in seeds]
    transferred = [run.final_loss for run in sweep.results[v.transferred_log2_lr]]
    change = [value for module in v.feature_change.values() for value in module.get(key, ())]
    return {
        "width": str(key),
        "parameters": f"{max(run.n_parameters for run in runs):,}",
        "log2 lr": f"{best.log2_lr:.2f} [{best.low:.2f}, {best.high:.2f}]{_warnings(best)}",
        "loss at transferred lr": f"{geometric_mean(transferred):.4g}",
        "loss at its best lr": f"{best.loss:.4g}",
        "regret": "-" if regret is None else loss_change(regret),
        "feature change": f"{geometric_mean(change) if change else math.nan:.3g}",
        "kernel drift": _drift(v.over_training.kernel_drift.get(key)),
        "alignment with targets": _before_and_after(v.over_training.target_alignment.get(key)),
        "runs": f"{len(runs)} ({sum(run.final_loss == math.inf for run in runs)} diverged)",
    }


def _tolerances(v: Verification) -> str:
    """What the verdict calls small, and what a flat optimum is."""
    flat = "; flat: over two octaves and more the loss is within a run's seed noise of its lowest"
    return (
        f"Called small: up to {100 * math.expm1(v.tolerance):.1f} % of loss, and a drift of up to "
        f"{v.drift_tolerance:.2f} octaves per doubling{flat if any(o.flat for o in v.optima.values()) else ''}."
    )


def _warnings(optimum: Optimum) -> str:
    """What a reader of an optimum must know."""
    edge = f", at the {optimum.at_edge} end of the grid" if optimum.at_edge else ""
    return edge + (", flat" if optimum.flat else "")


def _drift(seeds: Sequence[float] | None) -> str:
    return f"{geometric_mean(seeds):.3g}" if seeds and min(seeds) > 0 else "-"


def _before_and_after(pairs: Sequence[tuple[float, float]] | None) -> str:
    if not pairs:
        return "-"
    return " to ".join(f"{sum(column) / len(pairs):.2f}" for column in zip(*pairs, strict=True))
