"""A Plan as a table of text, with layers that are scaled alike on one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mutransfer.parameterization.scaling import Scaling
from mutransfer.widths import show_width

if TYPE_CHECKING:
    from mutransfer.parameterization.plan import Plan


def show(plan: Plan) -> str:
    """The text of ``str(plan)``."""
    head = (
        f"{plan.parameterization} for {plan.optimizer}, {plan.form} form, "
        f"width {show_width(plan.base_width)} -> {show_width(plan.width)}"
    )
    columns = ("parameter", "role", "shape", "m_in", "m_out", "init", "forward", "lr", "wd", "eps", "why")
    rows: list[tuple[str, ...]] = [columns]
    for label, names in _stacked(plan).items():
        s = plan[names[0]]
        numbers = (s.m_in, s.m_out, s.init_mult, s.forward_mult, s.lr_mult, s.wd_mult, s.eps_mult)
        shape = "x".join(map(str, plan.shapes[names[0]])) or "1"
        rows.append((label, str(s.role), shape, *(f"{x:.4g}" for x in numbers), s.reason))
    for path, site in plan.sites.items():
        rows.append(
            (
                path,
                site.kind,
                "",
                "",
                "",
                "",
                f"{site.factor:.4g}",
                "",
                "",
                "",
                f"on its {site.mechanism}",
            )
        )
    sizes = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return "\n".join([head, *lines])


def _stacked(plan: Plan) -> dict[str, list[str]]:
    """Names that differ only in a layer's number and are scaled alike, as one line."""
    groups: dict[tuple[str, Scaling, tuple[int, ...]], list[str]] = {}
    for name, scaling in plan.items():
        groups.setdefault((re.sub(r"\d+", "#", name), scaling, plan.shapes[name]), []).append(name)
    labels = {}
    for names in groups.values():
        if len(names) == 1:
            labels[names[0]] = names
        else:
            parts = [re.split(r"(\d+)", name) for name in names]
            merged = [
                sorted(set(cells), key=lambda c: int(c) if c.isdigit() else 0) for cells in zip(*parts, strict=True)
            ]
            labels["".join(c[0] if len(c) == 1 else f"{{{c[0]}..{c[-1]}}}" for c in merged)] = names
    return labels
