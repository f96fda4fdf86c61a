"""Widths: one int, or a mapping of names to ints; their size, ratio, text and key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mutransfer.errors import BuildError

Width = int | Mapping[str, int]
WidthKey = str | int  # a width as the key of a mapping
Listed = TypeVar("Listed")  # whatever stands for a width in a list


def check_width(width: Width, name: str) -> Width:
    """``width`` itself if it is a positive int or a mapping of names to positive ints."""
    values = list(width.values()) if isinstance(width, Mapping) else [width]
    if not values or any(isinstance(v, bool) or not isinstance(v, int) or v <= 0 for v in values):
        raise BuildError(f"{name} must be a positive int or a mapping of names to positive ints, found {width!r}")
    return width


def show_width(width: Width) -> str:
    """A width as one word: ``256``, or ``d_model=256,d_ff=1024``."""
    return ",".join(f"{k}={v}" for k, v in width.items()) if isinstance(width, Mapping) else str(width)


def width_key(width: Width) -> WidthKey:
    """The width itself if it is an int, and the text of a mapping, which cannot be a key.

    >>> width_key(64), width_key({"d_model": 64})
    (64, 'd_model=64')
    """
    return width if isinstance(width, int) else show_width(width)


def scaled(width: Width, numerator: int, denominator: int = 1) -> Width | None:
    """``width`` times a fraction, or None where that is not a whole number."""
    values = width if isinstance(width, Mapping) else {"": width}
    if any(v * numerator % denominator for v in values.values()):
        return None
    new = {k: v * numerator // denominator for k, v in values.items()}
    return new if isinstance(width, Mapping) else new[""]


def growth(base: Width, width: Width) -> float:
    """``width`` over ``base``; nan where several widths grow by different factors, or are not known."""
    if isinstance(base, Mapping) and isinstance(width, Mapping):
        ratios = {width[k] / base[k] for k in base if width[k] != base[k]} or {1.0}
        return ratios.pop() if len(ratios) == 1 else float("nan")
    if isinstance(base, int) and isinstance(width, int) and base > 0 and width > 0:
        return width / base
    return float("nan")


def width_size(width: Width) -> float:
    """One number for a width: the int itself, or the geometric mean of a mapping's values."""
    if isinstance(width, Mapping):
        return math.exp(sum(math.log(v) for v in width.values()) / len(width))
    return float(width)


def beyond_base(widths: Sequence[Listed], sizes: Sequence[float], base: float) -> list[Listed]:
    """Widths of at least twice the base, where small-width corrections have died out; all if fewer than three remain.

    Args:
        widths: keys, positions or whatever stands for a width.
        sizes: one number for each.
        base: the size of the base width.
    """
    wide = [width for width, size in zip(widths, sizes, strict=True) if size >= 2 * base]
    return wide if len(wide) >= 3 else list(widths)
