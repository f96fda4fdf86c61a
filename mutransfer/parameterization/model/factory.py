"""Building the user's model at a width: on the meta device where possible, random state undisturbed."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mutransfer.errors import BuildError
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.widths import Width, show_width

Build = Callable[..., nn.Module]  # called with exactly the Width


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


def check_unshared(build: Build, model: nn.Module, known: Collection[int]) -> None:
    """Refuse a model with parameters of an earlier one, ``known`` by id: what is done to one would reach the other.

    Raises BuildError.
    """
    parameters = dict(model.named_parameters())
    if shared := [name for name, p in parameters.items() if id(p) in known]:
        raise BuildError(
            f"the factory {_name(build)} returned {shared[0]!r} of its last model again ({len(shared)} of "
            f"{len(parameters)} parameters are shared by two calls): every call must build a new model. Is the factory "
            "cached, or does it hand out a module that was made outside of it? Build all of it inside"
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


def fresh(build: Build, width: Width, seed: int = 0) -> nn.Module:
    """``build(width)`` with the values of ``seed``, whatever the random state, which is left as it was."""
    with preserved_random_state():
        seed_everything(seed)
        return build_at(build, width)


def _name(build: Build) -> str:
    return getattr(build, "__qualname__", None) or type(build).__name__
