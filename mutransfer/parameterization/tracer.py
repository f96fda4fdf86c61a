"""Running a model under a dispatch mode that follows its parameters from operation to operation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.errors import ExampleError, MutransferError
from mutransfer.parameterization.building import preserved_random_state
from mutransfer.parameterization.trace import Attention, Example, Trace, Use, call, tensors

_VIEWS = {  # operations that hand their first argument's values on
    *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice"),
    *("select", "split", "split_with_sizes", "unbind", "clone", "_to_copy", "alias", "detach", "native_dropout"),
    *("dropout", "lift_fresh", "contiguous", "as_strided", "unsafe_split", "chunk", "_reshape_alias", "repeat"),
}
_LINEAR = {"mean", "sum", "neg", "gather", "masked_select", "index_select"}
_HOMOGENEOUS = {"relu", "relu_", "leaky_relu", "abs"}  # let factors through, but to what computed their input no more
_SUMS = {"add", "add_", "sub", "sub_", "cat", "stack", "masked_fill", "masked_fill_", "where"}
_CONTRACTIONS = {
    **{"mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "linear": (0, 1), "_grouped_mm": (0, 1), "convolution": (0, 1)},
    **{"addmm": (1, 2), "baddbmm": (1, 2)},
}


def trace(model: nn.Module, example: Example) -> Trace:
    """Run ``model`` (a fresh build, changed to eval mode) on ``example`` and look at every operation.

    Raises ExampleError where the model does not run on the example.
    """
    found = Tracer(model)
    handles = [
        nn.modules.module.register_module_forward_pre_hook(found.enter),
        nn.modules.module.register_module_forward_hook(found.leave, always_call=True),
    ]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused kernel that hides everything
    try:
        with preserved_random_state(), torch.no_grad(), found:
            out = call(model.eval(), example)
            for tensor in tensors(out):
                found.consume(found.tags.get(id(tensor)))
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
    return found.result


@dataclass(frozen=True)
class _Source:
    """A parameter whose product, or whose rows, a tensor holds, and by what it was multiplied since."""

    name: str
    rows: bool
    factor: float = 1.0


@dataclass(frozen=True)
class _Product:
    """Of two tensors of which neither is a parameter: queries and keys, if a softmax follows."""

    path: str  # of the module that computes it
    head_size: int
    before: float  # the user's factors on both
    values: torch.Tensor


@dataclass(frozen=True)
class _Tag:
    """Where a tensor comes from, and by which factor it was multiplied since."""

    sources: tuple[_Source, ...] = ()
    parameter: str | None = None  # that it is a view of, times ``factor``
    derived: frozenset[str] = frozenset()  # parameters that it is computed from, and from nothing else
    product: _Product | None = None  # of queries and keys
    weights: str | None = None  # path of the attention whose softmax it is
    factor: float = 1.0

    def times(self, x: float) -> _Tag:
        sources = tuple(replace(s, factor=s.factor * x) for s in self.sources)
        return replace(self, sources=sources, factor=self.factor * x)

    @property
    def names(self) -> frozenset[str]:
        return self.derived | ({self.parameter} if self.parameter else frozenset())


_NOTHING = _Tag()


class Tracer(TorchDispatchMode):
    """Fills ``result`` while it is active."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.result = Trace()
        self.parameters = dict(model.named_parameters())
        self.paths = {module: path for path, module in model.named_modules()}
        self.stack: list[str] = [""]
        self.tags: dict[int, _Tag] = {id(p): _Tag(parameter=name) for name, p in self.parameters.items()}
        self.tagged: list[torch.Tensor] = []  # ids of dead tensors would be given out again
        self.measured: set[int] = set()  # numbers that were computed from data: a norm, a mean

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
        self._note_number(args, out)
        tags = [self.tags.get(id(a), _NOTHING) if isinstance(a, torch.Tensor) else _NOTHING for a in args]
        first = tags[0] if tags else _NOTHING
        if name in _VIEWS:
            self._view(name, args, first, out)
        elif name in ("mul", "mul_", "div", "div_") and (found := self._scalar(name, args)) is not None:
            which, number = found
            if tags[which] is not _NOTHING or number != 1.0:
                self._put(out, tags[which].times(number))
        elif name in _CONTRACTIONS:
            self._contraction(name, args, tags, out, float(kwargs.get("alpha", 1)))
        elif name in ("embedding", "index", "index_select", "_embedding_bag") and first.parameter:
            use = self._use(first.parameter)
            use.lookup = True
            # Gathered matrices, of experts say, are going to be contracted: what is summed over is not followed.
            use.matrix = use.matrix or self.parameters[first.parameter].ndim > 2
            for tensor in tensors(out):
                self._put(tensor, _Tag(sources=(_Source(first.parameter, True, first.factor),)))
                break
        elif name.startswith("_scaled_dot_product"):
            self._fused(args, tags, kwargs)
        elif name in ("_softmax", "softmax", "_safe_softmax") and first.product:
            p = first.product
            self._attend(p.path, Attention(p.head_size, p.before * first.factor, p.values * first.factor))
            self._put(out, _Tag(weights=p.path))
        elif name in _SUMS:
            self._sum(args, tags, out, float(kwargs.get("alpha", 1)))
        elif name in _LINEAR and not first.names:
            self._put(out, replace(first, product=None))
        elif name in _HOMOGENEOUS and not first.names:
            self.consume(first)
            self._put(out, _Tag(factor=first.factor / prod(s.factor for s in first.sources[:1])))
        else:
            self._elementwise(args, tags, out)
        return out

    def _put(self, tensor: torch.Tensor, tag: _Tag) -> None:
        if tag is _NOTHING:
            return
        self.tags[id(tensor)] = tag
        self.tagged.append(tensor)

    def _use(self, name: str) -> Use:
        return self.result.uses.setdefault(name, Use())

    def consume(self, tag: _Tag | None) -> None:
        """What becomes of a tensor is not followed further: the factors on its sources are what they are."""
        for source in tag.sources if tag else ():
            if source.rows:
                self._use(source.name).factor_rows = source.factor
            else:
                self._use(source.name).factor_out = source.factor

    def _view(self, name: str, args: Any, tag: _Tag, out: Any) -> None:
        if tag.parameter and _copied(name, args[0], out):  # strides no longer say which dimension is which
            self._use(tag.parameter).elementwise = True
            tag = _Tag(derived=tag.names)
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self._put(tensor, tag)

    def _elementwise(self, args: Any, tags: list[_Tag], out: Any) -> None:
        for tag in tags:
            self.consume(tag)
            if tag.parameter:
                use = self._use(tag.parameter)
                use.elementwise, use.factor_rows = True, tag.factor
        names = frozenset().union(*(tag.names for tag in tags))
        alone = all(tag.names for tag, a in zip(tags, args, strict=False) if isinstance(a, torch.Tensor) and a.ndim)
        if names and alone:
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, torch.Tensor):
                    self._put(tensor, _Tag(derived=names))

    def _sum(self, args: Any, tags: list[_Tag], out: Any, alpha: float) -> None:
        if (logits := next((t for t in tags if t.product), None)) is not None:
            self._put(out, logits)
            self._elementwise(args, [t for t in tags if t is not logits], None)
            return
        if len(tags) > 1 and alpha != 1.0:
            tags = [tags[0], tags[1].times(alpha), *tags[2:]]
        if any(t.names for t in tags):
            self._elementwise(args, [replace(t, sources=()) for t in tags], out)
        data = [t for t, a in zip(tags, args, strict=False) if isinstance(a, torch.Tensor) and a.ndim and not t.names]
        sources = tuple(dict.fromkeys(s for t in data for s in t.sources))
        factors = {t.factor for t in data}
        if data and (sources or factors != {1.0}):
            self._put(out, _Tag(sources=sources, factor=factors.pop() if len(factors) == 1 else 1.0))

    def _fused(self, args: Any, tags: list[_Tag], kwargs: Any) -> None:
        size, scale = args[0].shape[-1], kwargs.get("scale")
        scale = size**-0.5 if scale is None else scale
        groups = args[0].shape[-3] // args[1].shape[-3]  # queries that share a key
        product = args[0] @ args[1].repeat_interleave(groups, -3).transpose(-2, -1)
        before = prod(tag.factor for tag in tags[:2])
        self.result.products.append((self.stack[-1], size))
        self._attend(self.stack[-1], Attention(size, scale * before, product * scale, args[2]))

    def _attend(self, path: str, found: Attention) -> None:
        if path in self.result.attention:
            self.result.shared.add(path)
        self.result.attention[path] = found

    def _contraction(self, name: str, args: Any, tags: list[_Tag], out: Any, alpha: float) -> None:
        left, right = _CONTRACTIONS[name]
        self._elementwise(args, [t for i, t in enumerate(tags) if i not in (left, right)], None)
        pair = [tags[left], tags[right]]
        made = _NOTHING
        for this, other in ((left, right), (right, left)):
            tag, beside = tags[this], tags[other]
            for derived in tag.derived:
                self._use(derived).matrix = True
            if tag.parameter is None:
                continue
            use, dims = self._use(tag.parameter), _contracted_dims(name, this, left, args)
            use.matrix = True
            use.contracted |= _dims_of(self.parameters[tag.parameter], args[this], dims)
            # The factor on what a layer before computed is that layer's own.
            use.factor_in = tag.factor * (1.0 if beside.sources else beside.factor)
            made = _Tag(sources=(_Source(tag.parameter, False),))
        if made is not _NOTHING or any(t.derived for t in pair):
            for tag in pair:
                self.consume(tag)
        elif pair[0].weights is not None:
            self.result.attention[pair[0].weights].values = args[right]
            self.consume(pair[1])
        else:  # factors on queries and keys are the attention's, and not of what computed them
            size = args[left].shape[-1]
            before = prod(t.factor for t in pair) * alpha
            values = args[left] @ args[right] * alpha if name == "baddbmm" else out  # without what is added
            made = _Tag(product=_Product(self.stack[-1], size, before, values))
            self.result.products.append((self.stack[-1], size))
        self._put(out, made)

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

    def _note_number(self, args: Any, out: Any) -> None:
        if isinstance(out, torch.Tensor) and out.numel() == 1:
            given = [a for a in args if isinstance(a, torch.Tensor)]
            if any(a.numel() > 1 or id(a) in self.measured for a in given):
                self.measured.add(id(out))
                self.tagged.append(out)


def _copied(name: str, before: torch.Tensor, after: Any) -> bool:
    if not isinstance(after, torch.Tensor):
        return False
    same_shape = after.shape == before.shape
    return name == "repeat" or (
        name in ("clone", "contiguous", "_to_copy") and same_shape and after.stride() != before.stride()
    )


def _contracted_dims(name: str, this: int, left: int, args: Any) -> tuple[int, ...]:
    ndim = args[this].ndim
    if name == "convolution":
        transposed = bool(args[6])
        return (0 if transposed else 1, *range(2, ndim))
    if name == "linear" or this == left:
        return (ndim - 1,)
    return (max(ndim - 2, 0),)


def _dims_of(parameter: torch.Tensor, view: torch.Tensor, dims: tuple[int, ...]) -> set[int]:
    """The parameter's dimensions that dimensions of a view of it walk along, by their strides; several if merged."""
    found = set()
    for d in dims:
        low, high = view.stride(d), view.stride(d) * view.shape[d]
        if view.shape[d] > 1:
            found |= {i for i in range(parameter.ndim) if parameter.shape[i] > 1 and low <= parameter.stride(i) < high}
    return found
