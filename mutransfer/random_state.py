"""The random state of Python, numpy and torch: seeded together, and left as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


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
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # without a device, a build with CUDA keeps every call, and the stack it came from, for later
        torch.default_generator.manual_seed(seed)
