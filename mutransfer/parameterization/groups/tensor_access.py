"""Whether the value of a tensor may be asked for right now."""

from __future__ import annotations

from typing import Any

import torch


def may_read(value: Any) -> bool:
    """False for a tensor of which nobody knows the value yet: under compilation, or while a GPU's graph is captured."""
    if not isinstance(value, torch.Tensor) or value.device.type == "cpu":
        return True
    if value.is_meta or torch.compiler.is_compiling():
        return False
    return not (value.is_cuda and torch.cuda.is_current_stream_capturing())
