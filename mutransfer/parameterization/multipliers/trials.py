"""How a multiplier can be put on attention logits from outside: found by trial, and tried whether it has an effect."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.hooks import put_on, take_off
from mutransfer.parameterization.sites import Mechanism, On
from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping
from mutransfer.parameterization.tracing.run_traced import outputs_under, trace
from mutransfer.parameterization.tracing.trace import Example, call, tensors
from mutransfer.random_state import preserved_random_state, seed_everything

UNAFFECTED = 1e-5  # relative change of outputs, in single precision, that is none
PROVABLE = 1e-3  # and one of which a hundredth is still above rounding


class Unaffected(Exception):
    """What the model computes does not depend on the size of these products."""


def logits_mechanism(builds: Builds, example: Example, path: str) -> tuple[str, Mechanism]:
    """The path of a module below ``path`` and the mechanism on it that multiplies the logits and nothing else."""
    model = filled_model(builds)
    plain = trace(model, example).attention[path]
    for child, mechanism in candidates(model.get_submodule(path)):
        with multiplied(model, joined(path, child), mechanism, 2.0):
            attention = trace(model, example).attention.get(path)
        if attention is None or not _is_twice(attention.logits, plain.logits):
            continue
        if _is_same(attention.values, plain.values):
            return child, mechanism
    raise ClassificationError(
        f"the heads of {path or 'the model'} grow with width, and its logits cannot be reached: no float attribute, "
        "norm or projection of it multiplies them alone. Let the number of heads grow instead of their size, or divide "
        "the logits by the head's size in the model"
    )


def _is_twice(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if found.shape != expected.shape or not bool(expected.any()):
        return False
    return torch.allclose(found, 2 * expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def _is_same(found: torch.Tensor | None, expected: torch.Tensor | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


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


def product_mechanism(
    builds: Builds, example: Example, path: str, products: Collection[int]
) -> tuple[str, Mechanism] | None:
    """What :func:`logits_mechanism` finds, for ``products`` that anything may follow; None where nothing is found.

    A mechanism at 2 must do to everything outside of ``path`` what doubling these products themselves does.

    Raises Unaffected where that changes nothing, as where the products are divided by their own sum.
    """
    model = filled_model(builds)

    def outside(doubled: Collection[int] = ()) -> list[torch.Tensor]:
        with outputs_outside(model, path) as outputs:
            outputs += outputs_under(Bookkeeping(model, doubled), model, example)
        return [t.double() for t in outputs if t.is_floating_point()]

    plain, wanted = outside(), outside(products)
    effect = _distance(wanted, plain)
    if effect < UNAFFECTED:
        raise Unaffected
    if effect < PROVABLE:
        return None
    for child, mechanism in candidates(model.get_submodule(path)):
        with multiplied(model, joined(path, child), mechanism, 2.0):
            outputs = outside()
        if _distance(outputs, wanted) < 0.01 * effect:
            return child, mechanism
    return None


def _distance(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Relative, of the outputs on which the two differ most."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if bool(b.any())]
    return max((float((a - b).norm() / b.norm()) for a, b in pairs if a.shape == b.shape), default=0.0)


def check_effects(builds: Builds, example: Example, multipliers: Mapping[str, Mechanism]) -> None:
    """Refuse a multiplier, by path and mechanism, that changes nothing in what the model computes, in either mode.

    A weight that is read without calling its module, or a fused kernel that skips an attribute, would be missed. Looked
    at is what other modules return, and not the end alone: a loss in single precision does not show a small change.
    """
    model = filled_model(builds)
    for mode in ("train", "eval") if multipliers else ():
        model.train(mode == "train")
        for path, mechanism in multipliers.items():
            plain = _outputs(model, example, path)
            with multiplied(model, path, mechanism, 0.5):
                outputs = _outputs(model, example, path)
            if plain and len(plain) == len(outputs) and all(map(torch.equal, plain, outputs)):
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
def outputs_outside(model: nn.Module, path: str) -> Generator[list[torch.Tensor]]:
    """What the modules that are not at ``path`` nor inside of it return meanwhile, as copies in the order of calls."""
    inside = set(model.get_submodule(path).modules())
    outputs: list[torch.Tensor] = []

    def note(module: nn.Module, args: object, out: object) -> None:
        if module not in inside:
            outputs.extend(t.detach().clone() for t in tensors(out))

    handle = nn.modules.module.register_module_forward_hook(note)
    try:
        yield outputs
    finally:
        handle.remove()


def _outputs(model: nn.Module, example: Example, path: str) -> list[torch.Tensor]:
    with preserved_random_state(), torch.no_grad(), outputs_outside(model, path) as outputs:
        seed_everything(0)
        outputs += tensors(call(model, example))
    return outputs
