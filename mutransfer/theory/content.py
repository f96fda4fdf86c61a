"""The content of a table in plain text, and the name under which runs of a user's own table are recorded.

Two tables of one name may differ, and so may one table before and after an edit. Runs of a built-in table are recorded
under its name; those of any other under ``name@digest`` of its exponents, so that none is taken for another's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from mutransfer.theory.exponents import Parameterization, Power, Role, Row
from mutransfer.theory.rules import TABLES, parameterization


def content_of(table: Parameterization) -> dict[str, Any]:
    """All that a table says, as plain values for JSON or YAML.

    >>> from mutransfer.theory.rules import MUP
    >>> content_of(MUP)["rows"]["hidden"]["init"], content_of(MUP)["rows"]["hidden"]["lr"]["sgd"]
    ('m_in^-0.5', 'm_in^-1 m_out^1')
    """
    return {
        "name": table.name,
        "title": table.title,
        "corrects_init": table.corrects_init,
        "attention": float(table.attention),
        "rows": {str(role): _row_content(table.rows[role]) for role in Role},
    }


def digest_of(table: Parameterization) -> str:
    """Eight hexadecimal digits of the exponents; name, title and sources do not count."""
    content = content_of(table)
    exponents = {role: {k: x for k, x in row.items() if k != "source"} for role, row in content["rows"].items()}
    told = [content["corrects_init"], content["attention"], exponents]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def named_by_content(which: str | Parameterization) -> Parameterization:
    """The table as runs are recorded under it: a built-in one as it is, any other named ``name@digest``.

    >>> from dataclasses import replace
    >>> from mutransfer.theory.rules import MUP
    >>> named_by_content("mup") is named_by_content(MUP) is MUP
    True
    >>> named_by_content(replace(MUP, name="mine")).name
    'mine@1de2aa33'
    """
    table = parameterization(which)
    if is_built_in(table):
        return table
    return replace(table, name=f"{table.name.partition('@')[0]}@{digest_of(table)}")


def is_built_in(table: Parameterization) -> bool:
    """Whether it is a built-in table, by name and by content."""
    return table.name in TABLES and digest_of(TABLES[table.name]) == digest_of(table)


def _row_content(row: Row) -> dict[str, Any]:
    return {
        "forward": _shown(row.forward),
        "init": _shown(row.init),
        "lr": {str(family): _shown(row.lr[family]) for family in sorted(row.lr)},
        "eps": _shown(row.eps),
        "constant": _shown(row.constant),
        "source": row.source,
    }


def _shown(power: Power) -> str:
    exponents = {"m_in": power.fan_in, "m_out": power.fan_out}
    factors = [f"{name}^{_number(x)}" for name, x in exponents.items() if x]
    return " ".join(factors) or "1"


def _number(x: float) -> str:
    """All digits: two exponents that differ are shown to differ."""
    return repr(float(x)).removesuffix(".0")
