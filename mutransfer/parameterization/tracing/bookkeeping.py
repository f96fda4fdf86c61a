"""What is written down of every tensor and every parameter while a model runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.tracing.tags import NOTHING, Tag
from mutransfer.parameterization.tracing.trace import Taken, Trace, Use


@dataclass(frozen=True)
class Operation:
    """One operation of the pass that has been done: torch's function, its arguments, what is known of them, its output.

    The arguments of ``cat`` and ``stack`` are the tensors that they put together.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tags: list[Tag]
    out: Any

    @property
    def name(self) -> str:
        return self.func.overloadpacket.__name__

    @property
    def first(self) -> Tag:
        """What is known of the first argument."""
        return self.tags[0] if self.tags else NOTHING

    @property
    def alpha(self) -> float:
        """The number that torch's sums multiply their second term with."""
        return float(self.kwargs.get("alpha", 1))


class Bookkeeping:
    """Tags of tensors, and the ``result`` that they add up to."""

    def __init__(
        self, model: nn.Module, multiplied: Mapping[int, float] | None = None, watched: Collection[int] = ()
    ) -> None:
        """Open books for one pass.

        Args:
            multiplied: by what the pass is to multiply those of ``result.products``, by number.
            watched: those of which the values are kept, as they are before that.
        """
        self.result = Trace()
        self.multiplied = multiplied or {}
        self.watched = watched
        self.modules: list[str] = [""]  # paths of those that are running, the innermost last
        self.parameters = dict(model.named_parameters())
        self.tags: dict[int, Tag] = {id(b): Tag(constant=True) for b in model.buffers() if b.numel() > 1}
        self.tags |= {id(p): Tag(parameter=name) for name, p in self.parameters.items()}
        self.tagged: list[torch.Tensor] = []  # ids of dead tensors would be given out again
        self.measured: set[int] = set()  # numbers that were computed from data: a norm, a mean
        self.unsettled: set[str] = set()  # parameters in a Weighed: elementwise, unless a sum is found

    def tag(self, value: Any) -> Tag:
        """What is known of an argument."""
        return self.tags.get(id(value), NOTHING) if isinstance(value, torch.Tensor) else NOTHING

    def finish(self, outputs: list[torch.Tensor]) -> None:
        """Close the books after the pass: nothing more becomes of the outputs."""
        for tensor in outputs:
            self.consume(self.tag(tensor))
        for name in self.unsettled:
            use = self.use(name)
            use.elementwise = use.elementwise or not use.summed
        for use in self.result.uses.values():
            use.settle()
        for i, product in enumerate(self.result.products):
            if i not in self.watched:
                product.values = None

    def put(self, tensor: torch.Tensor, tag: Tag) -> None:
        """Write down what is known of a tensor."""
        if tag is NOTHING:
            if (old := self.tags.get(id(tensor))) is not None and not old.parameter:
                del self.tags[id(tensor)]  # an operation in place made something else of it
            return
        self.tags[id(tensor)] = tag
        self.tagged.append(tensor)

    def use(self, name: str) -> Use:
        """The use of a parameter, to be filled."""
        return self.result.uses.setdefault(name, Use())

    def consume(self, tag: Tag, by: str | None = None) -> None:
        """What becomes of a tensor is not followed further: the factors on its sources are what they are.

        ``by``: the matrix that it is multiplied with; nothing else could make up for a factor.
        """
        for source in tag.sources:
            use = self.use(source.name)
            (use.rows if source.rows else use.outputs).append(Taken(source.factor, by))
        self.settle(tag)
        self.give_up(tag)

    def settle(self, tag: Tag) -> None:
        """No factor on these products that follows is the user's own on them."""
        for term in tag.terms:
            for product in term.products:
                product.scale, product.gains = term.scale, term.gains

    def give_up(self, tag: Tag) -> None:
        """No sum follows that would make contractions of elementwise products."""
        for weighed in tag.weighed:
            if not weighed.summed:
                use = self.use(weighed.name)
                use.elementwise = True
                use.rows.append(Taken(weighed.own, None))

    @property
    def here(self) -> str:
        """The path of the module that is running."""
        return self.modules[-1]

    def note_number(self, args: Any, out: Any) -> None:
        """A number that depends on data is no factor of the model."""
        if isinstance(out, torch.Tensor) and out.numel() == 1:
            given = [a for a in args if isinstance(a, torch.Tensor)]
            if any(a.numel() > 1 or id(a) in self.measured for a in given):
                self.measured.add(id(out))
                self.tagged.append(out)
