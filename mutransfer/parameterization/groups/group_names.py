"""Names of parameter groups, for monitors of learning rates and checkpoints of optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mutransfer.parameterization.plan import Plan
from mutransfer.theory.rules import Role


def set_names(groups: Sequence[dict[str, Any]], plan: Plan) -> None:
    """Give every group a ``name`` that no other has: its own if that is unique, with the roles in it, or a number.

    Only letters, digits and underscores are added: every logger takes them in the name of a metric.
    """
    own = [group.get("name") for group in groups]
    taken = {name for name in own if name is not None and own.count(name) == 1}
    for group, name in zip(groups, own, strict=True):
        if name in taken:
            continue
        present = {plan[parameter].role for parameter in group["param_names"]}
        roles = "_".join(role.value for role in Role if role in present)
        base = roles if name is None else f"{name}_{roles}"
        group["name"] = distinct_name(base, taken)


def distinct_name(base: str, taken: set[str]) -> str:
    """``base``, with a number if it is in ``taken``, to which it is added."""
    numbered = (f"{base}_{number}" for number in range(2, len(taken) + 3))
    name = base if base not in taken else next(n for n in numbered if n not in taken)
    taken.add(name)
    return name
