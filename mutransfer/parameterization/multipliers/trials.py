"""How a multiplier can be put on attention logits from outside: found by trial, and tried whether it has an effect."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.hooks import put_on, take_off
from mutransfer.parameterization.sites import Mechanism, On
from mutransfer.parameterization.tracing.trace import Example, call, tensors
from mutransfer.random_state import preserved_random_state, seed_everything


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


def check_effects(builds: Builds, example: Example, multipliers: Mapping[str, Mechanism]) -> None:
    """Refuse a multiplier, by path and mechanism, that changes nothing in what the model computes, in either mode.

    A weight that is read without calling its module, or a fused kernel that skips an attribute, would be missed. Looked
    at is what other modules return, and not the end alone: a loss in single precision does not show a small change.
    Where other weights of the module change nothing either, an expert that no example is sent to, nothing can be told.
    """
    model = filled_model(builds)
    for mode in ("train", "eval") if multipliers else ():
        model.train(mode == "train")
        plain = _outputs(model, example)
        for path, mechanism in multipliers.items():
            inside = set(model.get_submodule(path).modules())
            with multiplied(model, path, mechanism, 0.5):
                outputs = _outputs(model, example)
            if not _alike_outside(plain, outputs, inside):
                continue
            with _other_weights(model.get_submodule(path)) as any_weight:
                used = not any_weight or not _alike_outside(plain, _outputs(model, example), inside)
            if used:
                raise ClassificationError(
                    f"a multiplier on {path} ({mechanism}) changes nothing in {mode} mode: the model does not compute "
                    f"with what passes there. Use form='absorbed', or call {path} as a module"
                )


@contextmanager
def multiplied(model: nn.Module, path: str, mechanism: Mechanism, factor: float) -> Generator[None]:
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


@contextmanager
def _other_weights(module: nn.Module) -> Generator[bool]:
    """Give the parameters of a module other values for a while; whether it has any."""
    values = [(parameter, parameter.detach().clone()) for parameter in module.parameters()]
    generator = torch.Generator().manual_seed(1)
    try:
        for parameter, value in values:
            parameter.data.copy_(value + torch.randn(value.shape, generator=generator))
        yield bool(values)
    finally:
        for parameter, value in values:
            parameter.data.copy_(value)


def _alike_outside(
    plain: list[tuple[nn.Module | None, torch.Tensor]],
    changed: list[tuple[nn.Module | None, torch.Tensor]],
    inside: set[nn.Module],
) -> bool:
    before, after = ([t for module, t in found if module not in inside] for found in (plain, changed))
    return bool(before) and len(before) == len(after) and all(map(torch.equal, before, after))


def _outputs(model: nn.Module, example: Example) -> list[tuple[nn.Module | None, torch.Tensor]]:
    with preserved_random_state(), torch.no_grad(), module_outputs() as outputs:
        seed_everything(0)
        outputs += [(None, t) for t in tensors(call(model, example))]
    return outputs
