"""How a multiplier can be put on attention logits from outside: what to try, and how."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.hooks import put_on, take_off
from mutransfer.parameterization.sites import Mechanism, On
from mutransfer.parameterization.tracing.trace import tensors


def filled_model(builds: Builds) -> nn.Module:
    """A fresh model in which nothing is zero: a readout or a branch that starts at zero hides what is before it."""
    model = builds.fresh(builds.base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def candidates(module: nn.Module) -> Iterator[tuple[str, Mechanism]]:
    """What to try, the exact first: scale attributes, norms of queries or keys, projections, fused projections."""
    for name, value in vars(module).items():
        if isinstance(value, float):
            yield "", Mechanism(On.ATTRIBUTE, name=name)
    output = Mechanism(On.OUTPUT)
    children = [(name, child) for name, child in module.named_modules() if name and not list(child.children())]
    yield from ((name, output) for name, child in children if "norm" in type(child).__name__.lower())
    yield from ((name, output) for name, _ in children)
    pieces = [Mechanism(On.OUTPUT, part=part, parts=parts) for parts in (3, 2) for part in (1, 0)]
    yield from ((name, piece) for name, _ in children for piece in pieces)


@contextmanager
def multiplied(model: nn.Module, path: str, mechanism: Mechanism, factor: float | torch.Tensor) -> Generator[None]:
    """Multiply at one place for a while; buffers that a forward pass changes, running means say, are put back."""
    module = model.get_submodule(path)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    put_on(module, mechanism, factor)
    try:
        yield
    finally:
        take_off(module)
        for name, buffer in model.named_buffers():
            if name in buffers and buffers[name].shape == buffer.shape:
                buffer.copy_(buffers[name])


def joined(path: str, child: str) -> str:
    """The path of a module below another; either may be the empty path of the model itself."""
    return ".".join(filter(None, (path, child)))


@contextmanager
def module_outputs() -> Generator[list[tuple[nn.Module | None, torch.Tensor]]]:
    """What modules return meanwhile, with the module, as copies in the order of calls."""
    outputs: list[tuple[nn.Module | None, torch.Tensor]] = []

    def note(module: nn.Module, args: object, out: object) -> None:
        outputs.extend((module, t.detach().clone()) for t in tensors(out))

    handle = nn.modules.module.register_module_forward_hook(note)
    try:
        yield outputs
    finally:
        handle.remove()
