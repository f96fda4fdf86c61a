"""What a record says: which modules are not flat, in the words of the table."""

from __future__ import annotations

from typing import Any

from experiments.model_zoo.wild.check import OPTIMIZERS, Row

TOLERANCE = 0.15
COLUMNS = ("model", "from", *(f"{name}: {what}" for name in OPTIMIZERS for what in ("size", "change", "coordinate check")))


def off(entry: list[Any]) -> tuple[float, float]:
    """How far a module's size and its change are from theory.

    What does not grow (readouts, bottlenecks) starts anywhere between n^-1/2 and 1.
    """
    size, late_size, change, late_change, fixed = entry
    low = -0.5 if fixed else 0.0
    return _beyond(size, low), _beyond(change, 0.0)


def _beyond(power: float | None, low: float) -> float:
    return 0.0 if power is None else min(power, 0.0) - low if power < low else max(power, 0.0)


def cells(row: Row, record: dict[str, Any]) -> list[str]:
    found = [row.source]
    for optimizer in OPTIMIZERS:
        its = record[optimizer]
        if failed := next((kind for kind in ("refused", "crash") if kind in its), None):
            found += [f"{failed}: " + its[failed].replace("|", "/")[:160], "", ""]
            continue
        for quantity in (0, 1):
            path, worst = max(
                ((path, off(entry)[quantity]) for path, entry in its["modules"].items()), key=lambda x: abs(x[1])
            )
            found.append(f"{worst:+.2f} ({path})" if abs(worst) > TOLERANCE else f"{worst:+.2f}")
        found.append(its.get("coordinate_check", "").replace("|", "/")[:160])
    return found
