"""One parameter of the user's model as seen at several widths, and what its shapes alone say."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mutransfer.parameterization.model.layouts import Axes
from mutransfer.theory.rules import Role


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of the user's model, as seen at several widths."""

    name: str
    owner: str  # type of the module that holds it
    shapes: tuple[tuple[int, ...], ...]  # at Survey.widths, base first and target second
    axes: Axes | None  # None: not a matrix-like parameter of a known module
    role: Role
    reason: str
    bias_fan_in: tuple[int, ...] | None = None  # by width, what torch's init of this bias counts as fan_in
    growth: tuple[float, ...] = ()  # of the width itself; nan where that is not one number
    overridden: bool = False  # the user has said what it is
    normed: bool = False  # its own size does nothing: a norm is taken of it, see normed_weights
    gain: str | None = None  # and this parameter gives it a size again
    multipliable: bool = False  # its module multiplies it with the module's input, so a factor can go there

    @property
    def m_in(self) -> float:
        return 1.0 if self.role is Role.SCALAR else self.multiplier("fan_in", 1)

    @property
    def m_out(self) -> float:
        return 1.0 if self.role is Role.SCALAR else self.multiplier("fan_out", 1)

    def multiplier(self, side: str, which: int) -> float:
        """Size of one side at widths[which] over its size at base; 1 where it does not grow."""
        if self.axes is None:  # a vector or scalar: all its growth is output
            dims = tuple(range(len(self.shapes[0]))) if side == "fan_out" else ()
        else:
            dims = getattr(self.axes, side)
        return prod(self.shapes[which][d] for d in dims) / prod(self.shapes[0][d] for d in dims)


def grow_alike(shapes: tuple[tuple[int, ...], ...], first: int, second: int) -> bool:
    """Whether two dimensions grow by the same factor at every width."""
    return all(shape[first] * shapes[0][second] == shape[second] * shapes[0][first] for shape in shapes)


def growing_dims(shapes: tuple[tuple[int, ...], ...]) -> set[int]:
    """The dimensions that differ between widths."""
    if len({len(shape) for shape in shapes}) > 1:
        return set(range(max(len(shape) for shape in shapes)))
    return {d for d in range(len(shapes[0])) if len({shape[d] for shape in shapes}) > 1}


def is_row(shape: tuple[int, ...]) -> bool:
    """Whether all dimensions but one are of size 1."""
    return sum(size > 1 for size in shape) == 1  # (1, 1, d): a class token


def role_of(axes: Axes, growing: set[int]) -> tuple[Role, str]:
    """The role of a matrix by which of its sides grow, and the reason in words."""
    grows_in, grows_out = bool(growing & set(axes.fan_in)), bool(growing & set(axes.fan_out))
    if grows_in and grows_out:
        return Role.HIDDEN, "fan_in and fan_out grow"
    if grows_in:
        return Role.OUTPUT, "fan_in grows, fan_out is finite"
    return Role.INPUT, "fan_out grows, fan_in is finite"
