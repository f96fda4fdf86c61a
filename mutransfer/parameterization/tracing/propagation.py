"""How operations that multiply no matrices hand on what is known of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping, Operation
from mutransfer.parameterization.tracing.dimensions import dims_of, is_copied, normed_size, reduced, reduced_dims
from mutransfer.parameterization.tracing.tags import NOTHING, Tag, Weighed
from mutransfer.parameterization.tracing.trace import Source, Taken, tensors

_SAME_SHAPE = {"clone", "_to_copy", "contiguous", "native_dropout", "dropout", "lift_fresh", "alias", "detach"}


def view(book: Bookkeeping, op: Operation) -> None:
    """The same values, or some of them, in another shape."""
    tag = op.first
    if tag is NOTHING:
        return
    if tag.parameter and is_copied(op.name, op.args[0], op.out):  # strides no longer say which dimension is which
        book.use(tag.parameter).elementwise = True
        tag = Tag(derived=tag.names)
    outs = [t for t in (op.out if isinstance(op.out, tuple | list) else [op.out]) if isinstance(t, torch.Tensor)]
    shadows = [_shadows(op, w, len(outs)) for w in tag.weighed]
    followed = [(w, s) for w, s in zip(tag.weighed, shadows, strict=True) if s is not None]
    book.give_up(replace(tag, weighed=tuple(w for w in tag.weighed if all(w is not k for k, _ in followed))))
    for i, tensor in enumerate(outs):
        book.put(tensor, replace(tag, weighed=tuple(replace(w, shadow=s[i]) for w, s in followed)))


def _shadows(op: Operation, weighed: Weighed, outs: int) -> list[torch.Tensor] | None:
    """The same view of the parameter; None where it is none."""
    if op.name in _SAME_SHAPE:
        return [weighed.shadow] * outs
    if op.name in ("as_strided", "_reshape_alias", "repeat"):  # strides of another tensor; a copy
        return None
    try:
        made = op.func(weighed.shadow, *op.args[1:], **op.kwargs)
    except RuntimeError:  # dimensions that the parameter walks along are merged with others
        return None
    views = list(made) if isinstance(made, tuple | list) else [made]
    memory = weighed.shadow.untyped_storage().data_ptr()
    return views if all(v.untyped_storage().data_ptr() == memory for v in views) else None


def lookup(book: Bookkeeping, op: Operation) -> None:
    """Rows of a parameter, by their number."""
    tag = op.first
    if not tag.parameter:
        elementwise(book, op)
        return
    use = book.use(tag.parameter)
    use.lookup = True
    # Gathered matrices, of experts say, are going to be contracted: what is summed over is not followed.
    use.matrix = use.matrix or book.parameters[tag.parameter].ndim > 2
    if (rows := next(tensors(op.out), None)) is not None:
        book.put(rows, Tag(sources=(Source(tag.parameter, True, tag.factor),)))


def selection(book: Bookkeeping, op: Operation) -> None:
    """Rows of a parameter, or entries of an activation."""
    (lookup if op.first.parameter else linear)(book, op)


def scaling(book: Bookkeeping, op: Operation) -> None:
    """A product or quotient that is elementwise: with a number, a parameter, or of two activations."""
    args, tags = op.args, op.tags
    if (scalar := _scalar(book, op)) is not None:
        which, number = scalar
        if tags[which] is not NOTHING or number != 1.0:
            book.put(op.out, tags[which].times(number))
        return
    orders = ((0, 1), (1, 0)) if op.name.startswith("mul") else ((0, 1),)
    for this, other in orders:
        tag, beside = tags[this], tags[other]
        if tag.products and not beside.products:
            # As linear in the logits as before; a temperature that is learned, a mask of zeros and ones.
            not_followed(book, args[other : other + 1], [beside], None)
            kept = replace(tag, sources=(), weighed=())
            book.put(op.out, kept.gaining(_gain(op, other)) if beside.fixed else kept)
            return
    for this, other in orders:
        tag, beside = tags[this], tags[other]
        if tag.parameter and len(orders) > 1 and isinstance(args[other], torch.Tensor) and not beside.fixed:
            _weigh(book, op, this, other)
            return
    elementwise(book, op)
    for this, other in orders:
        if tags[other].fixed and not tags[this].fixed and isinstance(args[this], torch.Tensor):
            left = tags[this].left * tags[other].factor
            gains = (*tags[this].gains, _gain(op, other) / tags[other].factor)
            book.put(op.out, Tag(factor=left, normed=tags[this].normed, gains=gains))
            return
    size = None if any(tag.fixed for tag in tags) else normed_size(args, op.out)
    if size is not None and size != 1.0:
        book.put(op.out, Tag(factor=size, normed=True))


def _weigh(book: Bookkeeping, op: Operation, this: int, other: int) -> None:
    """Argument ``this``, a parameter, is multiplied elementwise with argument ``other``, an activation."""
    tag, beside = op.tags[this], op.tags[other]
    assert tag.parameter is not None
    book.consume(beside)
    book.unsettled.add(tag.parameter)
    left = beside.left  # for what reads the product, with the parameter's own factor where that undoes a norm's
    weighed = Weighed(
        tag.parameter,
        op.args[this].expand(op.out.shape),
        1.0 if beside.normed else tag.factor,
        left * tag.factor,
    )
    counted = tag.factor if beside.normed else 1.0
    gains = (*beside.gains, _gain(op, this) / counted)
    book.put(op.out, Tag(weighed=(weighed,), factor=left * counted, normed=beside.normed, gains=gains))


def _gain(op: Operation, which: int) -> torch.Tensor:
    """How much larger multiplying or dividing by argument ``which`` makes something."""
    magnitude = op.args[which].detach().double().abs().cpu()
    return magnitude if op.name.startswith("mul") else 1 / magnitude


def _scalar(book: Bookkeeping, op: Operation) -> tuple[int, float] | None:
    """Which argument is the tensor, and the number that it is multiplied with."""
    for which, other in ((0, op.args[1]), (1, op.args[0])):
        if isinstance(other, torch.Tensor):
            constant = other.numel() == 1 and other.ndim < 2 and other.is_floating_point()
            if not constant or id(other) in book.measured or isinstance(other, nn.Parameter):
                continue
        number = float(other)
        if op.name.startswith("mul"):
            return which, number
        return (which, 1 / number if number else 0.0) if which == 0 else None
    return None


def reduction(book: Bookkeeping, op: Operation) -> None:
    """A sum or mean over dimensions: of elementwise products with a parameter, a contraction by hand."""
    tag, before = op.first, op.args[0]
    if tag.names:
        elementwise(book, op)
        return
    dims = reduced_dims(op.args, before.ndim)
    share = op.out.numel() / before.numel() if op.name == "mean" else 1.0
    sources, left = list(tag.sources), []
    for w in tag.weighed:
        contracted = dims_of(book.parameters[w.name], w.shadow, dims)
        book.use(w.name).summed |= contracted
        if contracted:
            sources.append(Source(w.name, False, w.factor * share))
        shadow = reduced(w.shadow, dims, keepdim=op.out.ndim == before.ndim)
        left.append(replace(w, shadow=shadow, summed=w.summed or bool(contracted)))
    book.settle(tag)
    book.put(op.out, replace(tag, sources=tuple(sources), weighed=tuple(left), products=(), others=()))


def addition(book: Bookkeeping, op: Operation) -> None:
    """Sums, concatenations, masks: sources add up, as long as every part has some."""
    args, tags = op.args, op.tags
    if len(tags) > 1 and op.alpha != 1.0:
        tags = [tags[0], tags[1].times(op.alpha), *tags[2:]]
    if logits := [t for t in tags if t.products]:
        not_followed(book, args, [t for t in tags if not t.products], None)
        others = tuple(term for t in logits[1:] for term in t.terms)
        book.put(op.out, replace(logits[0], others=(*logits[0].others, *others)))
        return
    data, added = [], []
    for tag, a in zip(tags, args, strict=True):
        if not isinstance(a, torch.Tensor) or not a.ndim or a.dtype is torch.bool:
            continue
        if tag.parameter:
            book.use(tag.parameter).elementwise = True
            added.append(Source(tag.parameter, True, tag.factor))
        elif not tag.fixed:
            data.append(tag)
    if not data:
        not_followed(book, args, tags, op.out)
        return
    if not all(t.sources or t.weighed for t in data):
        # Part of the sum has no source that could make up for a factor: it is for what comes next to do.
        for source_tag in (*data, Tag(sources=tuple(added))):
            book.consume(replace(source_tag, weighed=()))
        added = []
        data = [replace(t, sources=(), factor=t.left) for t in data]
    weighed: list[Weighed] = []
    for tag in data:
        if op.name in ("cat", "stack"):
            book.give_up(tag)
        else:
            weighed += [replace(w, shadow=w.shadow.expand(op.out.shape)) for w in tag.weighed]
    sources = tuple(dict.fromkeys([*(s for t in data for s in t.sources), *added]))
    factors = {t.factor for t in data}
    factor = factors.pop() if len(factors) == 1 else 1.0
    gains = data[0].gains if len(data) == 1 else ()
    made = Tag(sources=sources, weighed=tuple(weighed), factor=factor, gains=gains)
    book.put(op.out, NOTHING if made == NOTHING else made)


def linear(book: Bookkeeping, op: Operation) -> None:
    """A linear map of an activation that is neither a view nor a sum: its entries chosen, negated, masked."""
    if op.first.names:
        elementwise(book, op)
        return
    book.give_up(op.first)
    book.put(op.out, replace(op.first, weighed=()))


def homogeneous(book: Bookkeeping, op: Operation) -> None:
    """A nonlinearity that lets factors through, but to what computed its input no more."""
    if op.first.names:
        elementwise(book, op)
        return
    book.consume(op.first)
    book.put(op.out, Tag(factor=op.first.left, normed=op.first.normed, gains=op.first.gains))


def elementwise(book: Bookkeeping, op: Operation) -> None:
    """Everything else: what is computed is not followed, unless it depends on no input."""
    not_followed(book, op.args, op.tags, op.out)


def averaging(book: Bookkeeping, op: Operation) -> None:
    """A softmax of an activation: entries that sum to one shrink as they grow in number."""
    elementwise(book, op)
    if not op.first.fixed:
        book.put(op.out, Tag(factor=1 / op.args[0].shape[op.args[1]], normed=True))


def not_followed(book: Bookkeeping, args: Sequence[Any], tags: Sequence[Tag], out: Any) -> None:
    """Write down that of ``args`` something is computed, ``out``, through which nothing can be followed."""
    for tag in tags:
        book.consume(tag)
        if tag.parameter:
            use = book.use(tag.parameter)
            use.elementwise = True
            use.rows.append(Taken(tag.factor, None))
    names = frozenset().union(*(tag.names for tag in tags))
    alone = all(tag.fixed for tag, a in zip(tags, args, strict=False) if isinstance(a, torch.Tensor) and a.ndim)
    made = Tag(derived=names, constant=not names) if alone and any(t.fixed for t in tags) else NOTHING
    for tensor in out if isinstance(out, tuple | list) else [out]:
        if isinstance(tensor, torch.Tensor):
            book.put(tensor, made)
