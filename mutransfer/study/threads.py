"""Number of threads of a study on the CPU for which nobody named one."""

from __future__ import annotations

import os

import torch

# A step below this many FLOPs takes a core some 50 ms. On cores that others use too, a second thread made such steps 7
# to 18 times slower, because every operation waits for the thread that is not running; on free cores it gains little.
SMALL_STEP = 1e9
CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # what torch reads when it is loaded


def left_to_us() -> bool:
    """Whether no environment variable sets torch's number of threads."""
    return not any(os.environ.get(name) for name in CHOSEN)


def share_cores(flops: float) -> None:
    """Train on one thread where steps of ``flops`` are small; torch's own number stays otherwise."""
    if flops < SMALL_STEP:
        torch.set_num_threads(1)
