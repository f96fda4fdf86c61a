"""Products of matrices: which dimensions of a parameter they sum over, and the attention that they make up."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from math import prod

import torch

from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping, Operation
from mutransfer.parameterization.tracing.dimensions import common_length, contracted_dims, dims_of, padding, repeats
from mutransfer.parameterization.tracing.propagation import averaging, not_followed
from mutransfer.parameterization.tracing.tags import NOTHING, Tag
from mutransfer.parameterization.tracing.trace import AttentionUse, Feed, Operand, Product, Source, tensors

# Which arguments are multiplied with each other.
FACTORS = {
    **{"mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1), "_grouped_mm": (0, 1)},
    **{"convolution": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2)},
}

MASKED = -5e3  # no logit is smaller


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
    elif paths := [tag.weights for tag in pair if tag.weights is not None]:  # "" is the model's own
        path, of_weights = paths[0], pair[0].weights is None
        book.result.attention[path].values = op.args[left if of_weights else right]
        book.consume(pair[not of_weights])
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
    values = left @ right if op.name in ("addmm", "baddbmm") else op.out  # without what is added
    product = _product(book, pair, left, right, values, repeats(right))
    if (by := book.multiplied.get(len(book.result.products) - 1, 1.0)) != 1.0:
        op.out.add_((by - 1) * op.alpha * values)
    beside: list[Tag] = []  # of a sum that is multiplied, each summand is
    for tag, other in (pair, pair[::-1]):
        beside += [replace(o.times(other.scale), gains=(*o.gains, *other.gains)) for o in tag.others]
    nested = tuple(p for tag in pair for p in tag.products)
    made = Tag(products=(*nested, product), others=tuple(beside), gains=product.gains).times(op.alpha)
    if op.name in ("addmm", "baddbmm") and op.first.products:  # the sum of this product and another
        made = replace(made, others=(*made.others, *op.first.times(float(op.kwargs.get("beta", 1))).terms))
    return made


def _product(
    book: Bookkeeping, pair: list[Tag], left: torch.Tensor, right: torch.Tensor, values: torch.Tensor, shared_by: float
) -> Product:
    """Write down that ``left`` was multiplied with ``right``."""
    for tag in pair:
        book.give_up(tag)
    before = prod(tag.scale for tag in pair)
    rows = (left, right.mT if right.ndim > 1 else right)
    watched = len(book.result.products) in book.watched
    product = Product(
        path=book.here,
        size=left.shape[-1] - padding(*rows),
        sides=tuple(Operand(tag.scale, tag.gains, common_length(x)) for tag, x in zip(pair, rows, strict=True)),
        before=before,
        values=values.clone() if watched else values,
        scale=before,
        gains=(*pair[0].gains, *pair[1].gains),
        shared_by=shared_by,
    )
    book.result.products.append(product)
    return product


def softmax(book: Bookkeeping, op: Operation) -> None:
    """A softmax, of attention logits perhaps."""
    if not op.first.products:
        averaging(book, op)
        return
    product, logits = op.first.products[-1], op.args[0]
    assert product.values is not None
    # Of one product that is multiplied with numbers alone, without what is added to it; else without what masks it.
    alone = not op.first.others and len(op.first.gains) == len(product.gains)
    values = product.values * op.first.factor if alone else logits.where(logits > MASKED, 0)
    use = AttentionUse(product.size, op.first.scale, values, product.shared_by, logits.shape[op.args[1]])
    book.put(op.out, Tag(weights=_attend(book, op.first, use)))


def fused_attention(book: Bookkeeping, op: Operation) -> None:
    """Torch's scaled dot product attention, whatever its kernel."""
    queries, keys, values, *_ = op.args
    scale = op.kwargs.get("scale")
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    groups = queries.shape[-3] // keys.shape[-3]  # queries that share a key
    repeated = keys.repeat_interleave(groups, -3).mT
    product = _product(book, op.tags[:2], queries, repeated, queries @ repeated, groups * repeats(keys))
    if (by := book.multiplied.get(len(book.result.products) - 1, 1.0)) != 1.0:
        again = op.func(*op.args, **{**op.kwargs, "scale": by * scale})
        for old, new in zip(tensors(op.out), tensors(again), strict=True):
            old.copy_(new)
    for tag in op.tags[2:]:
        book.give_up(tag)
    logits = Tag(products=(product,), gains=product.gains).times(scale)
    for bias in (*op.args[3:], op.kwargs.get("attn_mask")):  # which may hold other products: of positions, say
        logits = replace(logits, others=(*logits.others, *(t for t in book.tag(bias).terms if t.products)))
    assert product.values is not None
    _attend(
        book,
        logits,
        AttentionUse(product.size, logits.scale, product.values * scale, product.shared_by, keys.shape[-2], values),
    )


def _attend(book: Bookkeeping, logits: Tag, attention: AttentionUse) -> str:
    """Write down an attention; its path."""
    book.settle(logits)
    reached = [term.products[-1] for term in logits.terms if term.products]
    parts = zip(*(product.path.split(".") for product in reached), strict=False)
    path = ".".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, parts))
    for product in reached:
        product.weighs = path
    book.result.attention[path] = attention
    return path
