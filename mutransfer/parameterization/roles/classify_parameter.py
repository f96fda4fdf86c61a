"""The role of one parameter: by its module's documented layout, by a forward pass, or by its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from mutransfer.parameterization.model.layouts import Axes, layout_of
from mutransfer.parameterization.roles.overrides import Overrides, as_overridden, is_overridden
from mutransfer.parameterization.roles.parameter import Parameter, grow_alike, growing_dims, is_row, role_of
from mutransfer.parameterization.tracing.trace import Trace
from mutransfer.theory.rules import Role


def classify_parameter(
    name: str,
    owner: nn.Module,
    attribute: str,
    shapes: tuple[tuple[int, ...], ...],
    overrides: Overrides,
    traced: Trace | None,
    grouped: bool,
) -> Parameter | None:
    """The parameter with its role, or None where that cannot be known.

    ``grouped``: its module is a convolution whose groups grow in number.
    """
    owner_name = type(owner).__name__
    growing = growing_dims(shapes)
    layout = layout_of(owner)
    known = layout.axes(owner, attribute)
    called = layout.called and attribute == "weight"
    override = next((value for pattern, value in overrides.items() if fnmatchcase(name, pattern)), None)
    if override is not None:
        parameter = as_overridden(name, owner_name, shapes, growing, known, override)
        return replace(parameter, multipliable=called)
    base = Parameter(
        name=name,
        owner=owner_name,
        shapes=shapes,
        axes=known,
        role=Role.SCALAR,
        reason="",
        multipliable=called,
    )
    if not growing:
        return replace(base, axes=None, role=Role.SCALAR, reason=f"{owner_name}.{attribute}: no dimension grows")
    if known is not None:
        stray = growing - {*known.fan_in, *known.fan_out}
        if stray or (grouped and len(growing) > 1):
            return None  # an embedding whose count grows, groups that grow in number and in size: no rule fits
        if grouped:
            if shapes[0][1] == 1:
                return replace(base, axes=None, role=Role.VECTOR, reason="depthwise kernel: one filter per channel")
            axes, reason = (
                Axes(fan_in=(), fan_out=tuple(growing)),
                "groups grow in number, each sums over as many channels",
            )
            return replace(base, axes=axes, role=Role.INPUT, reason=f"{owner_name}.{attribute}: {reason}")
        role, reason = role_of(known, growing)
        return replace(base, role=role, reason=f"{owner_name}.{attribute}: {reason}")
    use = traced.uses.get(name) if traced else None
    contracted = use is not None and use.matrix and not use.elementwise
    if layout.vectors(attribute) or (is_row(shapes[0]) and not contracted):
        return replace(
            base, role=Role.VECTOR, reason=f"{owner_name}.{attribute}: one growing dimension, not contracted"
        )
    return _bare(base, attribute, growing, traced)


def _bare(base: Parameter, attribute: str, growing: set[int], traced: Trace | None) -> Parameter | None:
    """A parameter of a module that is not torch's: by what a forward pass does with it, or by its shape."""
    what, shapes = f"{base.owner}.{attribute}", base.shapes
    axes = traced.axes(base.name, len(shapes[0])) if traced else None
    if traced is not None and axes is not None:
        if traced.uses[base.name].elementwise:
            if len(growing) > 1:
                return None
            return replace(base, role=Role.VECTOR, reason=f"{what}: used elementwise in the forward pass")
        role, reason = role_of(axes, growing)
        return replace(base, axes=axes, role=role, reason=f"{what}: {reason}, as the forward pass contracts it")
    if len(growing) == 2 and grow_alike(shapes, *sorted(growing)):
        first, second = sorted(growing)
        reason = "two dimensions grow by the same factor, so whichever is contracted"
        axes = Axes(fan_in=(second,), fan_out=(first,))
        return replace(base, axes=axes, role=Role.HIDDEN, reason=f"{what}: {reason}")
    if growing == {len(shapes[0]) - 1} and shapes[0][0] == 1:
        return replace(base, role=Role.VECTOR, reason=f"{what}: (1, ..., d), added by broadcasting")
    return None


def mark_bottlenecks(
    parameters: dict[str, Parameter], overrides: Overrides, order: Sequence[str]
) -> dict[str, Parameter]:
    """A finite output that growing matrices follow is inside the network, not a readout.

    They follow in the ``order`` of a forward pass, or else of registration; harmless where that misleads: a
    bottleneck's row is the readout's with the multiplier absorbed, which trains the same function.
    """
    marked: dict[str, Parameter] = {}
    followed = False
    used = [name for name in order if name in parameters]
    for name in reversed([name for name in parameters if name not in used] + used):
        parameter = parameters[name]
        if parameter.role is Role.OUTPUT and followed and not is_overridden(name, overrides):
            parameter = replace(
                parameter,
                role=Role.BOTTLENECK,
                reason=f"{parameter.reason}; followed by growing matrices, so inside: under mup its output, and what "
                "only passes through it, starts like n^-1/2 and catches up",
            )
        followed = followed or parameter.role is Role.HIDDEN or parameter.role is Role.INPUT
        marked[name] = parameter
    return {name: marked[name] for name in parameters}
