"""Running a model under a dispatch mode that follows its parameters from operation to operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.errors import ExampleError, MutransferError
from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping, Operation
from mutransfer.parameterization.tracing.contractions import FACTORS, contraction, fused_attention, softmax
from mutransfer.parameterization.tracing.propagation import (
    addition,
    elementwise,
    homogeneous,
    linear,
    lookup,
    reduction,
    scaling,
    selection,
    view,
)
from mutransfer.parameterization.tracing.trace import Example, Trace, call, tensors
from mutransfer.random_state import preserved_random_state

Handler = Callable[[Bookkeeping, Operation], None]

_VIEWS = (  # operations that hand their first argument's values on
    *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice"),
    *("select", "split", "split_with_sizes", "unbind", "clone", "_to_copy", "alias", "detach", "native_dropout"),
    *("dropout", "lift_fresh", "contiguous", "as_strided", "unsafe_split", "chunk", "_reshape_alias", "repeat"),
)
# What is done with an operation of torch's, by its name; with every other, what ``elementwise`` does.
HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(_VIEWS, view),
    **dict.fromkeys(("mul", "mul_", "div", "div_"), scaling),
    **dict.fromkeys(FACTORS, contraction),
    **dict.fromkeys(("embedding", "index", "_embedding_bag"), lookup),
    "index_select": selection,
    **dict.fromkeys(("_softmax", "softmax", "_safe_softmax"), softmax),
    **dict.fromkeys(("add", "add_", "sub", "sub_", "cat", "stack", "masked_fill", "masked_fill_", "where"), addition),
    **dict.fromkeys(("mean", "sum"), reduction),
    **dict.fromkeys(("neg", "gather", "masked_select", "tril", "triu"), linear),
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "abs"), homogeneous),
}


def trace(model: nn.Module, example: Example) -> Trace:
    """Run ``model`` (a fresh build, changed to eval mode) on ``example`` and look at every operation.

    Raises ExampleError where the model does not run on the example.
    """
    book = Bookkeeping(model)
    outputs_under(book, model, example)
    return book.result


def outputs_under(book: Bookkeeping, model: nn.Module, example: Example) -> list[torch.Tensor]:
    """The outputs of ``model`` in eval mode, while ``book`` is kept; errors as of :func:`trace`."""
    tracer = Tracer(book, model)
    handles = [
        nn.modules.module.register_module_forward_pre_hook(tracer.enter),
        nn.modules.module.register_module_forward_hook(tracer.leave, always_call=True),
    ]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused kernel that hides everything
    try:
        with preserved_random_state(), torch.no_grad(), tracer:
            outputs = list(tensors(call(model.eval(), example)))
            book.finish(outputs)
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


class Tracer(TorchDispatchMode):
    """Hands every operation, while it is active, to its handler."""

    def __init__(self, book: Bookkeeping, model: nn.Module) -> None:
        super().__init__()
        self.book = book
        self.paths = {module: path for path, module in model.named_modules()}

    def enter(self, module: nn.Module, args: Any) -> None:
        self.book.modules.append(self.paths.get(module, self.book.here))

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        self.book.modules.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("cat", "stack"):
            args = tuple(args[0])
        self.book.note_number(args, out)
        op = Operation(func, args, kwargs, [self.book.tag(a) for a in args], out)
        handler = fused_attention if name.startswith("_scaled_dot_product") else HANDLERS.get(name, elementwise)
        handler(self.book, op)
        return out
