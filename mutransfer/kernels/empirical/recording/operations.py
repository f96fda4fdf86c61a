"""The gradients of single operations with respect to their weights, as gradient parts (see ``parts.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from mutransfer.kernels.empirical.recording.parts import Part, Pointwise, Product, Source, Unsupported
from mutransfer.kernels.empirical.recording.windows import windows

Find = Callable[[Any], Source | None]

POINTWISE = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow}
_POINTWISE_NAMES = {"rsub": "sub", "true_divide": "div", "multiply": "mul", "subtract": "sub", "divide": "div"}


def parts_of(name: str, find: Find, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Part, ...]:
    """Parts of the gradient at operation ``name``; called before it runs.

    Raises Unsupported where it is not known.
    """
    bare = name.strip("_")
    plain = bare[1:] if name.startswith("__") and bare[1:] in POINTWISE and bare[0] in "ir" else bare
    plain = _POINTWISE_NAMES.get(plain, plain)
    if plain in POINTWISE:
        swapped = bare in ("rsub", "rdiv", "rtruediv", "rpow") and plain in ("sub", "div", "pow")
        in_place = name.startswith("__i") or (name.endswith("_") and not name.startswith("__"))
        return _pointwise(POINTWISE[plain], find, args[::-1] if swapped else args, kwargs, in_place)
    if bare in _OPERATIONS:
        return tuple(_OPERATIONS[bare](find, *args, **kwargs))
    raise Unsupported(f"a gradient through torch's {name or 'operation'}")


def linear(find: Find, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[Part]:
    return [*_product(find, weight, input, signal_first=True), *_bias(find, bias)]


def matmul(find: Find, input: Tensor, other: Tensor) -> list[Part]:
    if find(other) is not None:
        if find(input) is not None:
            raise Unsupported("a product of two weights one of which depends on data")
        if other.ndim == 1:
            return _product(find, other, input, signal_first=False, features=None)
        return _product(find, other, input, signal_first=False)
    if other.ndim < 2:
        raise Unsupported("a product with a single vector")
    return _product(find, input, other.mT, signal_first=True, features=-2 if input.ndim > 1 else None)


def addmm(find: Find, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> list[Part]:
    if beta != 1 or alpha != 1:
        raise Unsupported("addmm with factors")
    products = [] if find(mat1) is None and find(mat2) is None else matmul(find, mat1, mat2)
    return [*products, *_bias(find, input)]


def embedding(
    find: Find,
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> list[Part]:
    if scale_grad_by_freq:
        raise Unsupported("an embedding whose gradient depends on how often a token occurs")
    ignored = padding_idx if padding_idx >= 0 else None
    return _product(find, weight, indices, signal_first=False, ignored=ignored)


def _conv(dimensions: int) -> Callable[..., list[Part]]:
    def conv(
        find: Find,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> list[Part]:
        if input.ndim != dimensions + 2:
            raise Unsupported("a convolution of a single example without a dimension for examples")
        parts = []
        if find(weight) is not None:
            data = windows(input.detach(), tuple(weight.shape[2:]), stride, padding, dilation, groups)
            parts = _product(find, weight, data, signal_first=True, features=1, groups=groups)
        return [*parts, *_bias(find, bias, dimensions)]

    return conv


def layer_norm(find: Find, input: Tensor, shape: Any, weight: Any = None, bias: Any = None, *rest: Any) -> list[Part]:
    normal = _normal(find, weight, lambda: torch.layer_norm(input.detach(), shape, None, None, *rest))
    return [*_scale(find, weight, normal, tuple(shape)), *_shift(find, bias, tuple(shape))]


def rms_norm(find: Find, input: Tensor, shape: Any, weight: Any = None, *rest: Any, **named: Any) -> list[Part]:
    normal = _normal(find, weight, lambda: torch.rms_norm(input.detach(), shape, None, *rest, **named))
    return _scale(find, weight, normal, tuple(shape))


def group_norm(find: Find, input: Tensor, groups: int, weight: Any = None, bias: Any = None, *rest: Any) -> list[Part]:
    normal = _normal(find, weight, lambda: torch.group_norm(input.detach(), groups, None, None, *rest))
    return _channels(find, input, weight, bias, normal)


def batch_norm(
    find: Find, input: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: Any
) -> list[Part]:
    if training:
        raise Unsupported("batch normalisation with the statistics of the batch")
    normal = _normal(find, weight, lambda: torch.batch_norm(input.detach(), None, None, mean, var, False, *rest))
    return _channels(find, input, weight, bias, normal)


def instance_norm(
    find: Find, input: Tensor, weight: Any, bias: Any, mean: Any, var: Any, use_input: bool, *rest: Any
) -> list[Part]:
    if mean is not None and use_input:
        mean, var = mean.clone(), var.clone()  # they are updated by what is normalised
    normal = _normal(find, weight, lambda: torch.instance_norm(input.detach(), None, None, mean, var, use_input, *rest))
    return _channels(find, input, weight, bias, normal)


def prelu(find: Find, input: Tensor, weight: Tensor) -> list[Part]:
    shape = (weight.numel(), *[1] * (input.ndim - 2)) if weight.numel() > 1 else (1,)
    return _scale(find, weight, input.detach().clamp(max=0), shape)


_OPERATIONS: dict[str, Callable[..., list[Part]]] = {
    "linear": linear,
    "matmul": matmul,
    "mm": matmul,
    "rmatmul": lambda find, other, input: matmul(find, input, other),
    "addmm": addmm,
    "embedding": embedding,
    "conv1d": _conv(1),
    "conv2d": _conv(2),
    "conv3d": _conv(3),
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "prelu": prelu,
}


def _product(
    find: Find,
    weight: Tensor,
    data: Tensor,
    *,
    signal_first: bool,
    features: int | None = -1,
    groups: int = 1,
    ignored: int | None = None,
) -> list[Part]:
    source = find(weight)
    if find(data) is not None:
        raise Unsupported("a weight in the place of data")
    if source is None:
        return []
    if weight.ndim > 2 and features != 1:
        raise Unsupported("a product with a stack of matrices")
    rows = (0, 1) if weight.ndim == 1 and signal_first else (0, weight.shape[0])
    seen = _in_parameter(source)
    if seen is not None and groups == 1 and weight.ndim == 2:
        source, rows, transposed = seen
        signal_first = signal_first != transposed
    data = data.detach()
    if signal_first and not data.is_floating_point():
        raise Unsupported("an embedding in columns")
    return [
        Product(
            source=source,
            data=data,
            version=data._version,
            signal_first=signal_first,
            features=features,
            rows=rows,
            groups=groups,
            ignored=ignored,
        )
    ]


def _in_parameter(source: Source) -> tuple[Source, tuple[int, int], bool] | None:
    """Where a view of a matrix lies in it: its rows, and whether it is transposed; None for any other weight."""
    if len(source.leaves) != 1:
        return None
    (name, leaf), root = next(iter(source.leaves.items())), source.root
    if leaf.ndim != 2 or root.ndim != 2 or not leaf.is_contiguous() or root.dtype != leaf.dtype:
        return None
    if root.untyped_storage().data_ptr() != leaf.untyped_storage().data_ptr():
        return None
    start, rest = divmod(int(root.storage_offset() - leaf.storage_offset()), leaf.shape[1])
    if rest:
        return None
    whole = Source({name: leaf}, leaf)
    if root.shape[1] == leaf.shape[1] and root.stride() == leaf.stride():
        return whole, (start, start + root.shape[0]), False
    if root.shape[0] == leaf.shape[1] and root.stride() == leaf.stride()[::-1]:
        return whole, (start, start + root.shape[1]), True
    return None


def _normal(find: Find, weight: Any, normalised: Callable[[], Tensor]) -> Tensor | None:
    if find(weight) is None:
        return None
    with torch.no_grad():
        return normalised()


def _channels(find: Find, input: Tensor, weight: Any, bias: Any, normal: Tensor | None) -> list[Part]:
    shape = (input.shape[1], *[1] * (input.ndim - 2))
    return [*_scale(find, weight, normal, shape), *_shift(find, bias, shape)]


def _bias(find: Find, bias: Any, trailing: int = 0) -> list[Part]:
    """What is added; ``trailing``: dimensions after the one of channels."""
    return [] if find(bias) is None else _shift(find, bias, tuple(bias.shape) + (1,) * trailing)


def _shift(find: Find, weight: Any, shape: tuple[int, ...]) -> list[Part]:
    return _scale(find, weight, None, shape)


def _scale(find: Find, weight: Any, factor: Tensor | None, shape: tuple[int, ...]) -> list[Part]:
    source = find(weight)
    if source is None:
        return []
    assert prod(shape) == source.root.numel()
    return [Pointwise(source=source, shape=shape, factor=factor, version=0 if factor is None else factor._version)]


def _pointwise(
    operation: Callable[..., Tensor], find: Find, args: tuple[Any, ...], kwargs: dict[str, Any], in_place: bool
) -> tuple[Part, ...]:
    found = [i for i, a in enumerate(args) if find(a) is not None]
    if len(found) != 1 or len(args) != 2 or not kwargs.keys() <= {"alpha"}:
        raise Unsupported("an elementwise operation between several weights and data")
    place = found[0]
    weight, other = args[place], args[1 - place]
    if operation is torch.add and not kwargs:
        return tuple(_shift(find, weight, tuple(weight.shape)))
    if operation is torch.mul and isinstance(other, Tensor):
        factor = other.detach().clone() if in_place else other.detach()
        return tuple(_scale(find, weight, factor, tuple(weight.shape)))
    with torch.enable_grad():
        shape = torch.broadcast_shapes(weight.shape, other.shape if isinstance(other, Tensor) else ())
        spread = weight.detach().expand(shape).clone().requires_grad_()
        other = other.detach() if isinstance(other, Tensor) else other
        out = operation(*((spread, other) if place == 0 else (other, spread)), **kwargs)
        (factor,) = torch.autograd.grad(out.sum(), spread)
    return tuple(_scale(find, weight, factor, tuple(weight.shape)))
