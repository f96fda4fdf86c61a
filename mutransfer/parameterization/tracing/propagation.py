"""How operations that multiply no matrices hand on what is known of their arguments."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.tracing.bookkeeping import Ledger
from mutransfer.parameterization.tracing.dimensions import dims_of, is_copied, reduced, reduced_dims
from mutransfer.parameterization.tracing.tags import NOTHING, Tag, Weighed
from mutransfer.parameterization.tracing.trace import Source, Taken

_SAME_SHAPE = {"clone", "_to_copy", "contiguous", "native_dropout", "dropout", "lift_fresh", "alias", "detach"}


class Flow(Ledger):
    """Views, sums, means, scalings, and everything else that is elementwise."""

    def view(self, func: Any, name: str, args: Any, kwargs: Any, tag: Tag, out: Any) -> None:
        """The same values, or some of them, in another shape."""
        if tag is NOTHING:
            return
        if tag.parameter and is_copied(name, args[0], out):  # strides no longer say which dimension is which
            self.use(tag.parameter).elementwise = True
            tag = Tag(derived=tag.names)
        outs = [t for t in (out if isinstance(out, tuple | list) else [out]) if isinstance(t, torch.Tensor)]
        shadows = [self._shadows(func, name, args, kwargs, w, len(outs)) for w in tag.weighed]
        kept = [(w, s) for w, s in zip(tag.weighed, shadows, strict=True) if s is not None]
        self.give_up(replace(tag, weighed=tuple(w for w in tag.weighed if all(w is not k for k, _ in kept))))
        for i, tensor in enumerate(outs):
            self.put(tensor, replace(tag, weighed=tuple(replace(w, shadow=s[i]) for w, s in kept)))

    def _shadows(
        self, func: Any, name: str, args: Any, kwargs: Any, weighed: Weighed, outs: int
    ) -> list[torch.Tensor] | None:
        """The same view of the parameter; None where it is none."""
        if name in _SAME_SHAPE:
            return [weighed.shadow] * outs
        if name in ("as_strided", "_reshape_alias", "repeat"):  # strides of another tensor; a copy
            return None
        try:
            made = func(weighed.shadow, *args[1:], **kwargs)
        except RuntimeError:  # dimensions that the parameter walks along are merged with others
            return None
        views = list(made) if isinstance(made, tuple | list) else [made]
        memory = weighed.shadow.untyped_storage().data_ptr()
        return views if all(v.untyped_storage().data_ptr() == memory for v in views) else None

    def scaling(self, name: str, args: Any, tags: list[Tag], out: Any) -> None:
        """A product or quotient that is elementwise: with a number, a parameter, or of two activations."""
        if (found := self._scalar(name, args)) is not None:
            which, number = found
            if tags[which] is not NOTHING or number != 1.0:
                self.put(out, tags[which].times(number))
            return
        orders = ((0, 1), (1, 0)) if name.startswith("mul") else ((0, 1),)
        for this, other in orders:
            tag, beside = tags[this], tags[other]
            if tag.products and not beside.products:
                # As linear in the logits as before; a temperature that is learned, a mask of zeros and ones.
                self.elementwise(args[other : other + 1], [beside], None)
                self.put(out, replace(tag, sources=(), weighed=()))
                return
        for this, other in orders:
            tag, beside = tags[this], tags[other]
            if tag.parameter and len(orders) > 1 and isinstance(args[other], torch.Tensor) and not beside.fixed:
                self.consume(beside)
                self.unsettled.add(tag.parameter)
                shadow = args[this].expand(out.shape)
                self.put(out, Tag(weighed=(Weighed(tag.parameter, shadow, tag.factor, tag.factor),)))
                return
        self.elementwise(args, tags, out)

    def reduction(self, name: str, args: Any, tag: Tag, out: torch.Tensor) -> None:
        """A sum or mean over dimensions: of elementwise products with a parameter, a contraction by hand."""
        dims = reduced_dims(args, args[0].ndim)
        share = out.numel() / args[0].numel() if name == "mean" else 1.0
        sources, left = list(tag.sources), []
        for w in tag.weighed:
            contracted = dims_of(self.parameters[w.name], w.shadow, dims)
            self.use(w.name).summed |= contracted
            if contracted:
                sources.append(Source(w.name, False, w.factor * share))
            shadow = reduced(w.shadow, dims, keepdim=out.ndim == args[0].ndim)
            left.append(replace(w, shadow=shadow, summed=w.summed or bool(contracted)))
        self.put(out, replace(tag, sources=tuple(sources), weighed=tuple(left), products=()))

    def sum(self, name: str, args: Any, tags: list[Tag], out: Any, alpha: float) -> None:
        """Sums, concatenations, masks: sources add up, as long as every part has some."""
        if len(tags) > 1 and alpha != 1.0:
            tags = [tags[0], tags[1].times(alpha), *tags[2:]]
        if (logits := next((t for t in tags if t.products), None)) is not None:
            self.elementwise(args, [t for t in tags if t is not logits], None)
            self.put(out, logits)
            return
        data, added = [], []
        for tag, a in zip(tags, args, strict=True):
            if not isinstance(a, torch.Tensor) or not a.ndim or a.dtype is torch.bool:
                continue
            if tag.parameter:
                self.use(tag.parameter).elementwise = True
                added.append(Source(tag.parameter, True, tag.factor))
            elif not tag.fixed:
                data.append(tag)
        if not data:
            self.elementwise(args, tags, out)
            return
        if not all(t.sources or t.weighed for t in data):
            # Part of the sum has no source that could make up for a factor: it is for what comes next to do.
            for source_tag in (*data, Tag(sources=tuple(added))):
                self.consume(replace(source_tag, weighed=()))
            added = []
            data = [replace(t, sources=(), factor=t.factor / prod(s.factor for s in t.sources[:1])) for t in data]
        weighed: list[Weighed] = []
        for tag in data:
            if name in ("cat", "stack"):
                self.give_up(tag)
            else:
                weighed += [replace(w, shadow=w.shadow.expand(out.shape)) for w in tag.weighed]
        sources = tuple(dict.fromkeys([*(s for t in data for s in t.sources), *added]))
        factors = {t.factor for t in data}
        factor = factors.pop() if len(factors) == 1 else 1.0
        made = Tag(sources=sources, weighed=tuple(weighed), factor=factor)
        self.put(out, NOTHING if made == NOTHING else made)

    def elementwise(self, args: Any, tags: list[Tag], out: Any) -> None:
        """What is computed is not followed, unless it depends on no input."""
        for tag in tags:
            self.consume(tag)
            if tag.parameter:
                use = self.use(tag.parameter)
                use.elementwise = True
                use.rows.append(Taken(tag.factor, None))
        names = frozenset().union(*(tag.names for tag in tags))
        alone = all(tag.fixed for tag, a in zip(tags, args, strict=False) if isinstance(a, torch.Tensor) and a.ndim)
        made = Tag(derived=names, constant=not names) if alone and any(t.fixed for t in tags) else NOTHING
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.put(tensor, made)

    def _scalar(self, name: str, args: Any) -> tuple[int, float] | None:
        """Which argument is the tensor, and the number that it is multiplied with."""
        for which, other in ((0, args[1]), (1, args[0])):
            if isinstance(other, torch.Tensor):
                constant = other.numel() == 1 and other.ndim < 2 and other.is_floating_point()
                if not constant or id(other) in self.measured or isinstance(other, nn.Parameter):
                    continue
            number = float(other)
            if name.startswith("mul"):
                return which, number
            return (which, 1 / number if number else 0.0) if which == 0 else None
        return None
