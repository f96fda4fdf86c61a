"""Building the user's model at a width: on the meta device where possible, random state undisturbed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mutransfer.errors import BuildError

Width = int | Mapping[str, int]
Build = Callable[..., nn.Module]  # called with exactly the Width


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leave the random state of Python, numpy and torch (CPU and every CUDA device in use) as it was."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (the user's factory may use it)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch alike: a factory may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def check_width(width: Width, name: str) -> Width:
    """``width`` itself if it is a positive int or a mapping of names to positive ints."""
    values = list(width.values()) if isinstance(width, Mapping) else [width]
    if not values or any(isinstance(v, bool) or not isinstance(v, int) or v <= 0 for v in values):
        raise BuildError(f"{name} must be a positive int or a mapping of names to positive ints, found {width!r}")
    return width


def build_at(build: Build, width: Width) -> nn.Module:
    """``build(width)``, with an error that names the width where the factory fails."""
    try:
        model = build(width)
    except Exception as error:
        raise BuildError(
            f"the factory {_name(build)} cannot build the model at width {show_width(width)}: "
            f"{type(error).__name__}: {error}. Choose widths that it accepts."
        ) from error
    if not isinstance(model, nn.Module):
        raise BuildError(
            f"the factory {_name(build)} returned {type(model).__name__} at width {show_width(width)}; "
            "expected a torch.nn.Module"
        )
    _check_plain(model, f"the factory {_name(build)} returned a model at width {show_width(width)}")
    return model


def check_factory(build: Build, width: Width) -> None:
    """Refuse a factory that hands out the same parameters again: what is done to one model would reach the others.

    Raises BuildError.
    """
    first, second = (dict(skeleton(build, width).named_parameters()) for _ in range(2))
    ids = {id(p) for p in first.values()}
    if same := [name for name, p in second.items() if id(p) in ids]:
        raise BuildError(
            f"the factory {_name(build)} returned {same[0]!r} of its last model again ({len(same)} of {len(second)} "
            "parameters are shared by two calls): every call must build a new model. Is the factory cached, or does it "
            "hand out a module that was made outside of it? Build all of it inside"
        )


def _check_plain(model: nn.Module, what: str) -> None:
    if lazy := [name for name, p in model.named_parameters() if is_lazy(p)]:
        raise BuildError(
            f"{what} whose {lazy[0]!r} has no shape yet ({len(lazy)} parameters of lazy modules): run the model once "
            "on an example inside the factory, or give these modules their input sizes"
        )
    if any(key.startswith("_mutransfer") for module in model.modules() for key in vars(module)):
        raise BuildError(
            f"{what} that a plan is on already: the factory must return the plain model, and a new one at every call"
        )


def skeleton(build: Build, width: Width) -> nn.Module:
    """The model at ``width`` without memory (meta device), or for real where the factory cannot run there."""
    with preserved_random_state():
        try:
            with torch.device("meta"):
                return build_at(build, width)
        except BuildError:
            return build_at(build, width)


def show_width(width: Width) -> str:
    """A width as one word: ``256``, or ``d_model=256,d_ff=1024``."""
    return ",".join(f"{k}={v}" for k, v in width.items()) if isinstance(width, Mapping) else str(width)


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


def _name(build: Build) -> str:
    return getattr(build, "__qualname__", None) or type(build).__name__
