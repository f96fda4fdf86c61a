"""What counts as running out of memory."""

from __future__ import annotations

import torch

# How the CPU allocators of Unix and Windows, CUDA, MPS and cuBLAS say it in a plain RuntimeError.
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error``, or the one that it was raised from, is a lack of memory."""
    if error is None:
        return False
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS):
        return True
    return is_out_of_memory(error.__cause__)
