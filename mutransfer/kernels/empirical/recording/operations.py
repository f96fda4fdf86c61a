"""The operations whose gradient is known in parts (see ``parts.py``): one function and one row for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mutransfer.kernels.empirical.recording.linear_maps import (
    addmm_parts,
    conv_parts,
    embedding_parts,
    linear_parts,
    matmul_parts,
)
from mutransfer.kernels.empirical.recording.norms import (
    batch_norm_parts,
    group_norm_parts,
    instance_norm_parts,
    layer_norm_parts,
    prelu_parts,
    rms_norm_parts,
)
from mutransfer.kernels.empirical.recording.parts import FindSource, Part, Unsupported
from mutransfer.kernels.empirical.recording.pointwise import pointwise_parts

_OPERATIONS: dict[str, Callable[..., list[Part]]] = {
    "linear": linear_parts,
    "matmul": matmul_parts,
    "mm": matmul_parts,
    "rmatmul": lambda find, other, input: matmul_parts(find, input, other),
    "addmm": addmm_parts,
    "embedding": embedding_parts,
    "conv1d": conv_parts(1),
    "conv2d": conv_parts(2),
    "conv3d": conv_parts(3),
    "layer_norm": layer_norm_parts,
    "rms_norm": rms_norm_parts,
    "group_norm": group_norm_parts,
    "batch_norm": batch_norm_parts,
    "instance_norm": instance_norm_parts,
    "prelu": prelu_parts,
}

POINTWISE = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow}
_POINTWISE_NAMES = {"rsub": "sub", "true_divide": "div", "multiply": "mul", "subtract": "sub", "divide": "div"}


def parts_of(name: str, find: FindSource, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Part, ...]:
    """Parts of the gradient at operation ``name``; called before it runs.

    Raises Unsupported where it is not known.
    """
    bare = name.strip("_")
    plain = bare[1:] if name.startswith("__") and bare[1:] in POINTWISE and bare[0] in "ir" else bare
    plain = _POINTWISE_NAMES.get(plain, plain)
    if plain in POINTWISE:
        swapped = bare in ("rsub", "rdiv", "rtruediv", "rpow") and plain in ("sub", "div", "pow")
        in_place = name.startswith("__i") or (name.endswith("_") and not name.startswith("__"))
        return pointwise_parts(POINTWISE[plain], find, args[::-1] if swapped else args, kwargs, in_place)
    if bare in _OPERATIONS:
        return tuple(_OPERATIONS[bare](find, *args, **kwargs))
    raise Unsupported(f"a gradient through torch's {name or 'operation'}")
