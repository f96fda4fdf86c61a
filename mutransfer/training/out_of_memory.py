"""Memory: what counts as running out of it, and how much of it there is."""

from __future__ import annotations

import gc
import os

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


def available_bytes(device: torch.device) -> int | None:
    """Memory that could still be taken on ``device``, None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def free_memory() -> None:
    """Give back what nothing refers to any more; not within an ``except``, whose error keeps the attempt alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
