"""Gradient parts of operations that multiply data with a matrix: linear maps, embeddings, convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from mutransfer.kernels.empirical.recording.parts import FindSource, OuterProduct, Part, Unsupported, WeightSource
from mutransfer.kernels.empirical.recording.pointwise import bias_parts
from mutransfer.kernels.empirical.recording.windows import windows


def linear_parts(find: FindSource, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[Part]:
    return [*_product(find, weight, input, signal_first=True), *bias_parts(find, bias)]


def matmul_parts(find: FindSource, input: Tensor, other: Tensor) -> list[Part]:
    if find(other) is not None:
        if find(input) is not None:
            raise Unsupported("a product of two weights one of which depends on data")
        if other.ndim == 1:
            return _product(find, other, input, signal_first=False, features=None)
        return _product(find, other, input, signal_first=False)
    if other.ndim < 2:
        raise Unsupported("a product with a single vector")
    return _product(find, input, other.mT, signal_first=True, features=-2 if input.ndim > 1 else None)


def addmm_parts(
    find: FindSource, input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> list[Part]:
    if beta != 1 or alpha != 1:
        raise Unsupported("addmm with factors")
    products = [] if find(mat1) is None and find(mat2) is None else matmul_parts(find, mat1, mat2)
    return [*products, *bias_parts(find, input)]


def embedding_parts(
    find: FindSource,
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


def conv_parts(dimensions: int) -> Callable[..., list[Part]]:
    def parts_of_conv(
        find: FindSource,
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
        return [*parts, *bias_parts(find, bias, dimensions)]

    return parts_of_conv


def _product(
    find: FindSource,
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
    view = _in_parameter(source)
    if view is not None and groups == 1 and weight.ndim == 2:
        source, rows, transposed = view
        signal_first = signal_first != transposed
    data = data.detach()
    if signal_first and not data.is_floating_point():
        raise Unsupported("an embedding in columns")
    return [
        OuterProduct(
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


def _in_parameter(source: WeightSource) -> tuple[WeightSource, tuple[int, int], bool] | None:
    """The parameter that a weight is a view of, the rows it takes, and whether it is transposed; None for any other."""
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
    whole = WeightSource({name: leaf}, leaf)
    if root.shape[1] == leaf.shape[1] and root.stride() == leaf.stride():
        return whole, (start, start + root.shape[0]), False
    if root.shape[0] == leaf.shape[1] and root.stride() == leaf.stride()[::-1]:
        return whole, (start, start + root.shape[1]), True
    return None
