"""A Plan as a table of text, with layers that are scaled alike on one line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.sites import Site

COLUMNS = ("parameter", "role", "shape", "m_in", "m_out", "init", "forward", "lr", "wd", "eps", "why")


def show(
    head: str, scalings: Mapping[str, Scaling], sites: Mapping[str, Site], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """The line ``head`` and one row per kind of parameter and per site."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for label, names in _alike(scalings, shapes).items():
        s = scalings[names[0]]
        numbers = (s.m_in, s.m_out, s.init_mult, s.forward_mult, s.lr_mult, s.wd_mult, s.eps_mult)
        shape = "x".join(map(str, shapes[names[0]])) or "1"
        rows.append((label, str(s.role), shape, *(f"{x:.4g}" for x in numbers), s.reason))
    for path, site in sites.items():
        cells = {"parameter": path, "role": str(site.kind), "forward": f"{site.factor:.4g}"}
        cells["why"] = f"on its {site.mechanism}"
        rows.append(tuple(cells.get(column, "") for column in COLUMNS))
    sizes = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return "\n".join([head, *lines])


def _alike(scalings: Mapping[str, Scaling], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Names that differ only in a layer's number and are scaled alike, as one line."""
    groups: dict[tuple[str, Scaling, tuple[int, ...]], list[str]] = {}
    for name, scaling in scalings.items():
        groups.setdefault((re.sub(r"\d+", "#", name), scaling, shapes[name]), []).append(name)
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
