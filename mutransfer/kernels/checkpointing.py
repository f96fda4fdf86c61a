"""Models with activation checkpointing, run without it: recomputation hides from what watches or transforms a pass."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch.utils.checkpoint


@contextmanager
def without_checkpoints() -> Generator[None]:
    """``torch.utils.checkpoint`` keeps activations as any other forward pass does, in both of its forms.

    torch has no switch for that; what ``checkpoint`` hands its function to is replaced meanwhile.
    """
    module = torch.utils.checkpoint
    before = {name: getattr(module, name) for name in _REPLACED if hasattr(module, name)}
    for name in before:
        setattr(module, name, _REPLACED[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


class _Kept:
    """The place of ``CheckpointFunction``."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)


def _nothing_around(*args: Any, **kwargs: Any) -> Generator[None]:
    """The place of what does its work before and after the function is run."""
    yield


_REPLACED: dict[str, Any] = {
    "CheckpointFunction": _Kept,
    "_checkpoint_without_reentrant_generator": _nothing_around,
    "_checkpoint_without_reentrant_generator_impl": _nothing_around,
}
