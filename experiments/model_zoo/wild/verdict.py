"""What a record says: which modules are not flat, whether that was said, and the words of the table for it."""

from __future__ import annotations

from typing import Any

from experiments.model_zoo.wild.check import OPTIMIZERS, Row

TOLERANCE = 0.15
COLUMNS = ("model", "from", *(f"{name}: {x}" for name in OPTIMIZERS for x in ("found", "size", "change", "check")))


def off(entry: list[Any], optimizer: str) -> dict[str, float]:
    """How far a module's powers of width are from what theory allows, over all widths and between the last two.

    What has a fixed number of outputs (readouts, routers, bottlenecks) starts at n^-1/2, or above where its input is
    aligned with it, and its change is between that and 1: that of its input at the weights that it started with fades,
    what its own training does must not. Under SGD what training does may start as faint everywhere. Of the two powers
    that counts which is nearer to theory: small models differ from the limit by corrections that vanish.
    """
    *powers, fixed = entry
    lows = {
        "size": -0.5 if fixed else 0.0,
        "change": -0.5 if fixed or optimizer == "sgd" else 0.0,
        "own": -0.5 if optimizer == "sgd" else 0.0,
    }
    found = {}
    for i, (what, low) in enumerate(lows.items()):
        if what == "own" and not fixed:
            continue
        both = [_beyond(x, low) for x in powers[2 * i : 2 * i + 2]]
        found[what] = min(both, key=abs)
    return found


def finding(its: dict[str, Any], optimizer: str) -> str:
    """One word or two: what was measured, and what the toolkit said of it when the plan was made."""
    if "modules" not in its:
        return next(iter(its))
    offs = [x for entry in its["modules"].values() for x in off(entry, optimizer).values() if abs(x) > TOLERANCE]
    flat = not offs
    if its.get("bottlenecks") and not flat and all(-0.5 - TOLERANCE <= x < 0 for x in offs):
        return "faint behind bottlenecks"
    if "refused" in its:
        return "flat, but refused" if flat else "off, refused"
    return "flat" if flat else "off, warned" if its["said"] else "off, not said"


def cells(row: Row, record: dict[str, Any]) -> list[str]:
    found = [row.source]
    for optimizer in OPTIMIZERS:
        its = record[optimizer]
        found.append(finding(its, optimizer))
        if "modules" not in its:
            found += ["", "", ""]
            continue
        for quantities in (("size",), ("change", "own")):
            offs = [(path, off(entry, optimizer)) for path, entry in its["modules"].items()]
            named = ((path, x) for path, powers in offs for quantity, x in powers.items() if quantity in quantities)
            path, worst = max(named, key=lambda its: abs(its[1]))
            found.append(f"{worst:+.2f} ({path})" if abs(worst) > TOLERANCE else f"{worst:+.2f}")
        found.append(its.get("coordinate_check", "").split(":")[0])
    return found


def _beyond(power: float | None, low: float) -> float:
    return 0.0 if power is None else min(power - low, 0.0) or max(power, 0.0)
