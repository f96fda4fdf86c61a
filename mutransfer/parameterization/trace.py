"""What one forward pass does with every parameter: what it contracts, and the user's own factors on the way.

A shape tells which dimensions grow, not which are summed over; and an embedding times sqrt(width), or logits over
sqrt(width), are written in a ``forward`` and not on any tensor. Both are seen in the operations that are executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.errors import ExampleError, MutransferError
from mutransfer.parameterization.building import (
    preserved_random_state,
)
from mutransfer.parameterization.layouts import Axes

Example = Any  # arguments of the model (a tensor, a tuple or a mapping), or a function that calls the model


def call(model: nn.Module, example: Example) -> Any:
    """The model on an example, however that is given."""
    if isinstance(example, Mapping):
        return model(**example)
    if isinstance(example, tuple | list):
        return model(*example)
    return model(example) if isinstance(example, torch.Tensor) else example(model)


_SAME = {  # operations that hand their first argument's values on
    *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice"),
    *("select", "split", "split_with_sizes", "unbind", "clone", "_to_copy", "alias", "detach", "native_dropout"),
    *("dropout", "lift_fresh", "contiguous", "as_strided", "unsafe_split", "chunk", "_reshape_alias", "repeat"),
}
_MASKS = {"add", "add_", "masked_fill", "masked_fill_", "where"}  # what happens to attention logits before the softmax
_CONTRACTIONS = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "mv": (0, 1), "linear": (0, 1)}
_GROUPED = {"_grouped_mm": (0, 1)}


@dataclass
class Use:
    """How one parameter is used."""

    contracted: set[int] = field(default_factory=set)  # its dimensions that are summed over
    matrix: bool = False  # multiplied as a matrix at all
    lookup: bool = False  # indexed, as an embedding
    elementwise: bool = False
    factor_in: float = 1.0  # the user's own factor on what it is multiplied with
    factor_out: float = 1.0  # on the product
    factor_rows: float = 1.0  # on what was looked up

    @property
    def logits_factor(self) -> float:
        return self.factor_in * self.factor_out


@dataclass(frozen=True)
class Attention:
    """A product of queries and keys."""

    head_size: int
    scale: float  # what the user multiplies it with before the softmax
    logits: torch.Tensor  # the scaled product


@dataclass
class Trace:
    """The uses of parameters by name, and attention by the path of the module that computes it."""

    uses: dict[str, Use] = field(default_factory=dict)
    attention: dict[str, Attention] = field(default_factory=dict)

    def axes(self, name: str, ndim: int) -> Axes | None:
        """The dimensions that the pass sums over and those that it does not; None where it is used in two ways."""
        use = self.uses.get(name)
        if use is None or use.matrix + use.lookup + use.elementwise != 1:
            return None
        return Axes(
            fan_in=tuple(sorted(use.contracted)), fan_out=tuple(d for d in range(ndim) if d not in use.contracted)
        )


def trace(model: nn.Module, example: Example) -> Trace:
    """Run ``model`` (a fresh build, changed to eval mode) on ``example`` and look at every operation.

    Raises ExampleError where the model does not run on the example.
    """
    found = _Tracer(model)
    handles = [
        nn.modules.module.register_module_forward_pre_hook(found.enter),
        nn.modules.module.register_module_forward_hook(found.leave, always_call=True),
    ]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused kernel that hides everything
    try:
        with preserved_random_state(), torch.no_grad(), found:
            call(model.eval(), example)
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
class _Product:
    """Of two tensors of which neither is a parameter: queries and keys, if a softmax follows."""

    path: str  # of the module that computes it
    head_size: int
    before: float  # the user's factors on both
    values: torch.Tensor


@dataclass(frozen=True)
class _Tag:
    """Where a tensor comes from, and by which factor it was multiplied since."""

    source: str | None = None  # parameter whose product, or whose rows, it is
    rows: bool = False
    parameter: str | None = None  # parameter that it is a view of
    product: _Product | None = None  # of queries and keys
    factor: float = 1.0


class _Tracer(TorchDispatchMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.result = Trace()
        self.parameters = dict(model.named_parameters())
        self.paths = {module: path for path, module in model.named_modules()}
        self.stack: list[str] = [""]
        self.tags: dict[int, _Tag] = {id(p): _Tag(parameter=name) for name, p in self.parameters.items()}
        self.tagged: list[torch.Tensor] = []  # ids of dead tensors would be given out again

    def enter(self, module: nn.Module, args: Any) -> None:
        self.stack.append(self.paths.get(module, self.stack[-1]))

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        self.stack.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("cat", "stack"):
            args = tuple(args[0])
        tags = [self.tags.get(id(a)) if isinstance(a, torch.Tensor) else None for a in args]
        if name in _SAME:
            if tags and tags[0]:
                for tensor in out if isinstance(out, tuple | list) else [out]:
                    self._tag(tensor, tags[0])
        elif name in ("mul", "mul_", "div", "div_") and (factor := _scalar(args)) is not None:
            which, value = factor
            tag = tags[which] or _Tag()
            times = value if name.startswith("mul") else 1 / value if value else 0.0
            self._tag(out, replace(tag, parameter=None, factor=tag.factor * times))
            self._elementwise([replace(tag, source=None)])
        elif name in _CONTRACTIONS or name in _GROUPED or name == "convolution":
            alpha = float((kwargs or {}).get("alpha", 1))
            self._contraction(name, args, tags, out, alpha)
        elif name in ("embedding", "index", "index_select") and tags[0] and tags[0].parameter:
            self._use(tags[0]).lookup = True
            self._tag(out, _Tag(source=tags[0].parameter, rows=True))
        elif name.startswith("_scaled_dot_product"):
            scale = (kwargs or {}).get("scale")
            size = args[0].shape[-1]
            before = prod(tag.factor for tag in tags[:2] if tag)
            scale = size**-0.5 if scale is None else scale
            groups = args[0].shape[-3] // args[1].shape[-3]  # queries that share a key
            product = args[0] @ args[1].repeat_interleave(groups, -3).transpose(-2, -1)
            seen = Attention(size, scale * before, product * scale)
            self.result.attention[self.stack[-1]] = seen
        elif name in ("_softmax", "softmax", "_safe_softmax") and tags[0] and tags[0].product:
            found, after = tags[0].product, tags[0].factor
            seen = Attention(found.head_size, found.before * after, found.values * after)
            self.result.attention[found.path] = seen
        elif name in _MASKS and (logits := next((t for t in tags if t and t.product), None)):
            self._tag(out, logits)
            self._elementwise([t for t in tags if t is not logits])
        else:
            self._elementwise(tags)
        return out

    def _tag(self, tensor: torch.Tensor, tag: _Tag) -> None:
        self.tags[id(tensor)] = tag
        self.tagged.append(tensor)

    def _use(self, tag: _Tag) -> Use:
        assert tag.parameter is not None
        return self.result.uses.setdefault(tag.parameter, Use())

    def _elementwise(self, tags: list[_Tag | None]) -> None:
        for tag in tags:
            if tag is None:
                continue
            if tag.parameter:
                self._use(tag).elementwise = True
            if tag.source and tag.rows:
                self.result.uses[tag.source].factor_rows = tag.factor
            elif tag.source:
                self.result.uses[tag.source].factor_out = tag.factor

    def _contraction(self, name: str, args: Any, tags: list[_Tag | None], out: Any, alpha: float) -> None:
        left, right = (0, 1) if name == "convolution" else (_CONTRACTIONS | _GROUPED)[name]
        self._elementwise([t for i, t in enumerate(tags) if i not in (left, right)])
        for this, other in ((left, right), (right, left)):
            tag = tags[this]
            if tag is None or tag.parameter is None:
                continue
            use, dims = self._use(tag), _contracted_dims(name, this, left, args)
            use.matrix = True
            use.contracted |= _dims_of(self.parameters[tag.parameter], args[this], dims)
            beside = tags[other] or _Tag()
            if beside.source is None:  # else the factor is that of the layer before
                use.factor_in = beside.factor
            self._tag(out, _Tag(source=tag.parameter))
        pair = [tags[left], tags[right]]
        if not any(t and t.parameter for t in pair):
            before = prod(t.factor for t in pair if t) * alpha
            values = args[left] @ args[right] * alpha if name == "baddbmm" else out  # without what is added
            self._tag(out, _Tag(product=_Product(self.stack[-1], args[left].shape[-1], before, values)))
        self._elementwise([replace(t, parameter=None) for t in pair if t and t.source])


def _scalar(args: Any) -> tuple[int, float] | None:
    """Which argument is the tensor, and the number that it is multiplied with."""
    for which, other in ((0, args[1]), (1, args[0])):
        if isinstance(other, int | float):
            return which, float(other)
        is_number = isinstance(other, torch.Tensor) and other.ndim == 0 and not isinstance(other, nn.Parameter)
        if is_number and other.is_floating_point():
            return which, float(other)
    return None


def _contracted_dims(name: str, this: int, left: int, args: Any) -> tuple[int, ...]:
    ndim = args[this].ndim
    if name == "convolution":
        transposed = bool(args[6])
        return (0 if transposed else 1, *range(2, ndim))
    if name == "linear" or this == left:
        return (ndim - 1,)
    return (max(ndim - 2, 0),)


def _dims_of(parameter: torch.Tensor, view: torch.Tensor, dims: tuple[int, ...]) -> set[int]:
    """The parameter's dimensions that dimensions of a view of it walk along, by their strides."""
    found = set()
    for d in dims:
        if view.shape[d] <= 1:
            continue
        matches = [i for i in range(parameter.ndim) if parameter.stride(i) == view.stride(d) and parameter.shape[i] > 1]
        found |= set(matches[:1])
    return found
