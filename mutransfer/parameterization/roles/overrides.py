"""What the user says of parameters that cannot be classified, and how they are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from mutransfer.errors import OverrideError
from mutransfer.parameterization.model.layouts import Axes
from mutransfer.parameterization.roles.parameter import Parameter, grow_alike, growing_dims, role_of
from mutransfer.theory.rules import Role
from mutransfer.widths import Width, show_width

Overrides = Mapping[str, Role | str | Axes]

_ANY_OTHER = "input, output, bottleneck, vector"
_PARAMETRIZED = (
    "\n    The layer's weight is made of it (orthogonal, or a parametrization of your own) and does not scale as it "
    "does, so that the rules for a weight need not hold: leave that out of the factory, or give a role and look at "
    "mutransfer.coordinate_check"
)


def as_overridden(
    name: str,
    owner: str,
    shapes: tuple[tuple[int, ...], ...],
    growing: set[int],
    known: Axes | None,
    override: Role | str | Axes,
) -> Parameter:
    """The parameter with the role that the user gives it; OverrideError where that does not fit its shapes."""
    if isinstance(override, Axes):
        axes_given, ndim = (*override.fan_in, *override.fan_out), len(shapes[0])
        if any(not 0 <= axis < ndim for axis in axes_given) or len(set(axes_given)) < len(axes_given):
            raise OverrideError(
                f"override for {name!r}: expected dimensions from 0 to {ndim - 1} of shape {shapes[0]}, each in fan_in "
                f"or fan_out and once; found {override}",
                override=name,
            )
        if not growing <= {*override.fan_in, *override.fan_out}:
            raise OverrideError(
                f"override for {name!r}: dimensions {sorted(growing)} of shape {shapes[0]} grow with width, "
                f"but {override} does not cover them",
                override=name,
            )
        role, reason = role_of(override, growing) if growing else (Role.SCALAR, "no dimension grows")
        reason = f"override: {reason}"
        return Parameter(
            name=name, owner=owner, shapes=shapes, axes=override, role=role, reason=reason, overridden=True
        )
    role = Role(override)
    axes = known
    if axes is None and role is Role.HIDDEN:
        if len(growing) != 2:
            raise OverrideError(
                f"override for {name!r}: 'hidden' needs two growing dimensions, shape {shapes[0]} has "
                f"{len(growing)}; give Axes(fan_in=..., fan_out=...)",
                override=name,
            )
        first, second = sorted(growing)
        if not grow_alike(shapes, first, second):
            raise OverrideError(
                f"override for {name!r}: dimensions {first} and {second} of {shapes[0]} -> {shapes[1]} grow by "
                "different factors, so say which is contracted: Axes(fan_in=..., fan_out=...)",
                override=name,
            )
        axes = Axes(fan_in=(second,), fan_out=(first,))
    elif role in (Role.OUTPUT, Role.BOTTLENECK):
        axes = axes or Axes(fan_in=tuple(sorted(growing)), fan_out=())
    elif role in (Role.INPUT, Role.VECTOR):
        axes = axes or Axes(fan_in=(), fan_out=tuple(sorted(growing)))
    return Parameter(name=name, owner=owner, shapes=shapes, axes=axes, role=role, reason="override", overridden=True)


def check_overrides(overrides: Overrides | None, names: Mapping[str, object]) -> Overrides:
    """The overrides, each of which must name a parameter and a role or axes; else OverrideError."""
    overrides = overrides or {}
    for pattern, value in overrides.items():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise OverrideError(
                f"override {pattern!r} matches no parameter; the model has {listed(list(names))}", override=pattern
            )
        if not isinstance(value, Axes) and value not in list(Role):
            raise OverrideError(
                f"override {pattern!r}: expected one of {', '.join(Role)} or Axes(fan_in=..., fan_out=...), "
                f"found {value!r}",
                override=pattern,
            )
    return overrides


def is_overridden(name: str, overrides: Overrides) -> bool:
    """Whether the user has said something of this parameter."""
    return any(fnmatchcase(name, pattern) for pattern in overrides)


def override_request(
    name: str, owner: nn.Module, attribute: str, shapes: tuple[tuple[int, ...], ...], widths: Sequence[Width]
) -> str:
    """What to ask of a parameter that cannot be classified: its shapes, what it could be, the override to write."""
    seen = ", ".join(f"{show_width(w)}: {tuple(s)}" for w, s in zip(widths, shapes, strict=True))
    growing = growing_dims(shapes)
    roles = "hidden; or output, where all of them are summed over" if len(growing) == 2 else _ANY_OTHER
    made = isinstance(owner, ParametrizationList) or attribute in ("weight_v", "weight_orig")
    return (
        f"  {name} (in {type(owner).__name__}), shape by width {{{seen}}}, growing dimensions {sorted(growing)}; "
        f"could be {roles}.\n    Say which: overrides={{{name!r}: Role.{re.split('[,;]', roles)[0].upper()}}} "
        f"or overrides={{{name!r}: Axes(fan_in=(...), fan_out=(...))}}{_PARAMETRIZED if made else ''}"
    )


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Names as a list that stays short."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
