"""Products of matrices: which dimensions of a parameter they sum over, and the attention that they make up."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping, Operation
from mutransfer.parameterization.tracing.dimensions import contracted_dims, dims_of, entry_size, repeats
from mutransfer.parameterization.tracing.propagation import not_followed, shares
from mutransfer.parameterization.tracing.tags import NOTHING, Tag
from mutransfer.parameterization.tracing.trace import AttentionUse, Feed, Product, Source

# Which arguments are multiplied with each other.
FACTORS = {
    **{"mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1), "_grouped_mm": (0, 1)},
    **{"convolution": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2)},
}


def contraction(book: Bookkeeping, op: Operation) -> None:
    """A product of two matrices, or a convolution, with what is added to it."""
    left, right = FACTORS[op.name]
    biases = _biases(book, op)
    pair = [op.tags[left], op.tags[right]]
    matrices = [(this, other) for this, other in ((left, right), (right, left)) if op.tags[this].parameter]
    if all(tag.names for tag in pair):
        # Of parameters alone, latents that a layer is called on are an activation; of others it is not known.
        matrices = [(this, other) for this, other in matrices if _is_called(book, op.tags[this], op.tags[other])]
        if not matrices:
            for name in pair[0].names | pair[1].names:
                book.use(name).matrix = book.use(name).elementwise = True
            book.put(op.out, Tag(derived=pair[0].names | pair[1].names))
            return
        (_, other), *_ = matrices
        not_followed(book, (), [op.tags[other]], None)
    elif not matrices:
        for derived in pair[0].derived | pair[1].derived:
            book.use(derived).matrix = True
    if matrices:
        for this, other in matrices:
            _matrix(book, op, this, other)
        weight = op.tags[matrices[-1][0]].parameter
        assert weight is not None
        made = Tag(sources=(Source(weight, False, op.alpha), *biases), factor=op.alpha)
    elif any(tag.fixed for tag in pair):
        for tag in pair:
            book.consume(tag)
        alone = all(tag.fixed for tag in pair)
        made = Tag(derived=pair[0].names | pair[1].names, constant=True) if alone else NOTHING
    elif pair[0].weights is not None:
        book.result.attention[pair[0].weights].values = op.args[right]
        book.consume(pair[1])
        made = NOTHING
    else:
        made = _activations(book, op)
    book.put(op.out, made)


def _biases(book: Bookkeeping, op: Operation) -> list[Source]:
    """The parameters among what is added to the product: part of what is computed."""
    biases = []
    for i, tag in enumerate(op.tags):
        if i in FACTORS[op.name]:
            continue
        if tag.parameter:
            book.use(tag.parameter).elementwise = True
            biases.append(Source(tag.parameter, True, tag.factor))
        else:
            not_followed(book, op.args[i : i + 1], [tag], None)
    return biases


def _is_called(book: Bookkeeping, weight: Tag, beside: Tag) -> bool:
    """Whether ``weight`` is that of the module that runs, and what it is multiplied with is not that module's."""
    assert weight.parameter is not None
    owner = weight.parameter.rpartition(".")[0]
    return owner == book.here and all(name.rpartition(".")[0] != book.here for name in beside.names)


def _matrix(book: Bookkeeping, op: Operation, this: int, other: int) -> None:
    """Argument ``this``, a parameter, is multiplied with argument ``other``."""
    tag, beside = op.tags[this], op.tags[other]
    assert tag.parameter is not None
    use, dims = book.use(tag.parameter), contracted_dims(op.name, this, FACTORS[op.name][0], op.args)
    use.matrix, use.factor = True, tag.factor
    use.contracted |= dims_of(book.parameters[tag.parameter], op.args[this], dims)
    use.feeds.append(Feed(beside.sources, beside.factor, beside.products))
    book.consume(beside, tag.parameter)


def _activations(book: Bookkeeping, op: Operation) -> Tag:
    """A product of two activations: factors on queries and keys are the attention's, not of what computed them."""
    left, right = (op.args[i] for i in FACTORS[op.name])
    pair = [op.tags[i] for i in FACTORS[op.name]]
    for tag in pair:
        book.give_up(tag)
    before = op.alpha * _size_of(pair[0], left, -1) * _size_of(pair[1], right, -2)
    values = left @ right * op.alpha if op.name in ("addmm", "baddbmm") else op.out  # without what is added
    product = Product(book.here, left.shape[-1], before, values, before, repeats(right))
    if len(book.result.products) in book.doubled:
        op.out.add_(values)
    book.result.products.append(product)
    return Tag(products=(*(p for tag in pair for p in tag.products), product))


def _size_of(tag: Tag, tensor: torch.Tensor, dim: int) -> float:
    """The user's factor on one side of a product, and what its vectors shrink by where they are normed."""
    return tag.scale * (1.0 if tag.normed else entry_size(tensor, dim))


def softmax(book: Bookkeeping, op: Operation) -> None:
    """A softmax, of attention logits perhaps."""
    if not op.first.products:
        shares(book, op)
        return
    logits = op.first.products[-1]
    assert logits.values is not None
    values = logits.values * op.first.factor
    _attend(book, logits.path, AttentionUse(logits.size, op.first.scale, values, logits.shared_by))
    book.put(op.out, Tag(weights=logits.path))


def fused_attention(book: Bookkeeping, op: Operation) -> None:
    """Torch's scaled dot product attention, whatever its kernel."""
    queries, keys, values, *_ = op.args
    size, scale = queries.shape[-1], op.kwargs.get("scale")
    scale = size**-0.5 if scale is None else scale
    groups = queries.shape[-3] // keys.shape[-3]  # queries that share a key
    logits = queries @ keys.repeat_interleave(groups, -3).transpose(-2, -1)
    pairs: Any = zip(op.tags[:2], (queries, keys), strict=True)
    before = prod(_size_of(tag, tensor, -1) for tag, tensor in pairs)
    for tag in op.tags:
        book.give_up(tag)
    shared_by = groups * repeats(keys)
    book.result.products.append(Product(book.here, size, before, logits, scale * before, shared_by))
    _attend(book, book.here, AttentionUse(size, scale * before, logits * scale, shared_by, values))


def _attend(book: Bookkeeping, path: str, attention: AttentionUse) -> None:
    if path in book.result.attention:
        book.result.shared.add(path)
    book.result.attention[path] = attention
