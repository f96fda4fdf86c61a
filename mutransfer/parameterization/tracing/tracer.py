"""Running a model under a dispatch mode that follows its parameters from operation to operation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.errors import ExampleError, MutransferError
from mutransfer.parameterization.tracing.dimensions import contracted_dims, dims_of, entry_size, repeats
from mutransfer.parameterization.tracing.propagation import Flow
from mutransfer.parameterization.tracing.tags import NOTHING, Tag
from mutransfer.parameterization.tracing.trace import Attention, Example, Feed, Product, Source, Trace, call, tensors
from mutransfer.random_state import preserved_random_state

_VIEWS = {  # operations that hand their first argument's values on
    *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice"),
    *("select", "split", "split_with_sizes", "unbind", "clone", "_to_copy", "alias", "detach", "native_dropout"),
    *("dropout", "lift_fresh", "contiguous", "as_strided", "unsafe_split", "chunk", "_reshape_alias", "repeat"),
}
_REDUCTIONS = {"mean", "sum"}
_LINEAR = {"neg", "gather", "masked_select", "index_select", "tril", "triu"}
_HOMOGENEOUS = {"relu", "relu_", "leaky_relu", "abs"}  # let factors through, but to what computed their input no more
_SUMS = {"add", "add_", "sub", "sub_", "cat", "stack", "masked_fill", "masked_fill_", "where"}
_SCALINGS = {"mul", "mul_", "div", "div_"}
_CONTRACTIONS = {
    **{"mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "linear": (0, 1), "_grouped_mm": (0, 1)},
    **{"convolution": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addmv": (1, 2)},
}


def trace(model: nn.Module, example: Example) -> Trace:
    """Run ``model`` (a fresh build, changed to eval mode) on ``example`` and look at every operation.

    Raises ExampleError where the model does not run on the example.
    """
    found = Tracer(model)
    run(model, example, found)
    return found.result


def run(model: nn.Module, example: Example, tracer: Tracer) -> list[torch.Tensor]:
    """The outputs of ``model``, run under ``tracer`` in eval mode; errors as of :func:`trace`."""
    handles = [
        nn.modules.module.register_module_forward_pre_hook(tracer.enter),
        nn.modules.module.register_module_forward_hook(tracer.leave, always_call=True),
    ]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused kernel that hides everything
    try:
        with preserved_random_state(), torch.no_grad(), tracer:
            outputs = list(tensors(call(model.eval(), example)))
            tracer.finish(outputs)
    except MutransferError:  # says all that is to be said
        raise
    except Exception as error:
        raise ExampleError(
            f"the model cannot run on the example (its own, or example=): {type(error).__name__}: {error}"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return outputs


class Tracer(Flow, TorchDispatchMode):
    """Fills ``result`` while it is active; multiplies those of ``result.products`` by 2 that are in ``doubled``."""

    def __init__(self, model: nn.Module, doubled: Collection[int] = ()) -> None:
        super().__init__(model)
        self.doubled = doubled
        self.paths = {module: path for path, module in model.named_modules()}
        self.stack: list[str] = [""]

    def enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(self.paths.get(module, self.stack[-1]))

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        self.stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("cat", "stack"):
            args = tuple(args[0])
        self.note_number(args, out)
        tags = [self.tag(a) for a in args]
        first = tags[0] if tags else NOTHING
        if name in _VIEWS:
            self.view(func, name, args, kwargs, first, out)
        elif name in _SCALINGS:
            self.scaling(name, args, tags, out)
        elif name in _CONTRACTIONS:
            self._contraction(name, args, tags, out, float(kwargs.get("alpha", 1)))
        elif name in ("embedding", "index", "index_select", "_embedding_bag") and first.parameter:
            use = self.use(first.parameter)
            use.lookup = True
            # Gathered matrices, of experts say, are going to be contracted: what is summed over is not followed.
            use.matrix = use.matrix or self.parameters[first.parameter].ndim > 2
            for tensor in tensors(out):
                self.put(tensor, Tag(sources=(Source(first.parameter, True, first.factor),)))
                break
        elif name.startswith("_scaled_dot_product"):
            self._fused(args, tags, kwargs)
        elif name in ("_softmax", "softmax", "_safe_softmax") and first.products:
            p = first.products[-1]
            assert p.values is not None
            self._attend(p.path, Attention(p.size, first.scale, p.values * first.factor, p.shared_by))
            self.put(out, Tag(weights=p.path))
        elif name in _SUMS:
            self.sum(name, args, tags, out, float(kwargs.get("alpha", 1)))
        elif name in _REDUCTIONS and not first.names:
            self.reduction(name, args, first, out)
        elif name in _LINEAR and not first.names:
            self.give_up(first)
            self.put(out, replace(first, weighed=()))
        elif name in _HOMOGENEOUS and not first.names:
            self.consume(first)
            self.put(out, Tag(factor=first.factor / prod(s.factor for s in first.sources[:1])))
        else:
            self.elementwise(args, tags, out)
        return out

    def _fused(self, args: Any, tags: list[Tag], kwargs: Any) -> None:
        size, scale = args[0].shape[-1], kwargs.get("scale")
        scale = size**-0.5 if scale is None else scale
        groups = args[0].shape[-3] // args[1].shape[-3]  # queries that share a key
        product = args[0] @ args[1].repeat_interleave(groups, -3).transpose(-2, -1)
        before = prod(tag.scale * entry_size(a, -1) for tag, a in zip(tags[:2], args[:2], strict=True))
        for tag in tags:
            self.give_up(tag)
        shared_by = groups * repeats(args[1])
        self.result.products.append(Product(self.stack[-1], size, before, product, scale * before, shared_by))
        self._attend(self.stack[-1], Attention(size, scale * before, product * scale, shared_by, args[2]))

    def _attend(self, path: str, found: Attention) -> None:
        if path in self.result.attention:
            self.result.shared.add(path)
        self.result.attention[path] = found

    def _contraction(self, name: str, args: Any, tags: list[Tag], out: Any, alpha: float) -> None:
        left, right = _CONTRACTIONS[name]
        added = []
        for i, tag in enumerate(tags):
            if i in (left, right):
                continue
            if tag.parameter:  # a bias: part of what is computed
                self.use(tag.parameter).elementwise = True
                added.append(Source(tag.parameter, True, tag.factor))
            else:
                self.elementwise(args[i : i + 1], [tag], None)
        pair = [tags[left], tags[right]]
        matrices = [(this, other) for this, other in ((left, right), (right, left)) if tags[this].parameter]
        if all(tag.names for tag in pair):
            # Of parameters alone, latents that a layer is called on are an activation; of others it is not known.
            matrices = [(this, other) for this, other in matrices if self._is_called(tags[this], tags[other])]
            if not matrices:
                for name in pair[0].names | pair[1].names:
                    self.use(name).matrix = self.use(name).elementwise = True
                self.put(out, Tag(derived=pair[0].names | pair[1].names))
                return
            (this, other), *_ = matrices
            self.elementwise((), [tags[other]], None)
        elif not matrices:
            for derived in pair[0].derived | pair[1].derived:
                self.use(derived).matrix = True
        made = NOTHING
        for this, other in matrices:
            tag, beside = tags[this], tags[other]
            assert tag.parameter is not None
            use, dims = self.use(tag.parameter), contracted_dims(name, this, left, args)
            use.matrix, use.factor = True, tag.factor
            use.contracted |= dims_of(self.parameters[tag.parameter], args[this], dims)
            use.feeds.append(Feed(beside.sources, beside.factor, beside.products))
            self.consume(beside, tag.parameter)
            made = Tag(sources=(Source(tag.parameter, False, alpha), *added), factor=alpha)
        if matrices:
            pass
        elif any(t.fixed for t in pair):
            for tag in pair:
                self.consume(tag)
            if all(t.fixed for t in pair):
                made = Tag(derived=pair[0].names | pair[1].names, constant=True)
        elif pair[0].weights is not None:
            self.result.attention[pair[0].weights].values = args[right]
            self.consume(pair[1])
        else:  # factors on queries and keys are the attention's, and not of what computed them
            for tag in pair:
                self.give_up(tag)
            before = prod(t.scale for t in pair) * alpha * entry_size(args[left], -1) * entry_size(args[right], -2)
            added_to = name in ("addmm", "baddbmm")  # the product is without what is added
            values = args[left] @ args[right] * alpha if added_to else out
            product = Product(self.stack[-1], args[left].shape[-1], before, values, before, repeats(args[right]))
            if len(self.result.products) in self.doubled:
                out += values
            self.result.products.append(product)
            made = Tag(products=(*(p for t in pair for p in t.products), product))
        self.put(out, made)

    def _is_called(self, weight: Tag, beside: Tag) -> bool:
        """Whether ``weight`` is that of the module that runs, and what it is multiplied with is not that module's."""
        here = self.stack[-1]
        assert weight.parameter is not None
        return weight.parameter.rpartition(".")[0] == here and all(n.rpartition(".")[0] != here for n in beside.names)
