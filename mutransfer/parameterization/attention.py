"""The scale of attention logits where the size of a head grows: 1/d instead of 1/sqrt(d) under mup, without edits.

Tensor Programs V, Appendix B.1: after training, queries and keys are correlated, so that their product grows like the
head's size d and not like its root. Where heads grow in number and not in size, nothing needs to change.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.building import Build, Width, preserved_random_state, seed_everything, skeleton
from mutransfer.parameterization.examples import Observed, fresh
from mutransfer.parameterization.exponents import Parameterization
from mutransfer.parameterization.sites import Site, install
from mutransfer.parameterization.trace import Example, call, tensors
from mutransfer.parameterization.tracer import trace

KIND = "attention logits"


def head_sizes(model: nn.Module) -> dict[str, int]:
    """Head size of every nn.MultiheadAttention, by path."""
    return {
        path: module.embed_dim // module.num_heads
        for path, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    }


def packed_sites(models: Sequence[nn.Module], table: Parameterization) -> dict[str, Site]:
    """Sites of nn.MultiheadAttention, from its attributes at base (``models[0]``) and target width."""
    sites = {}
    for path, size in head_sizes(models[1]).items():
        growth = size / head_sizes(models[0])[path]
        if growth == 1.0:
            continue
        module = models[1].get_submodule(path)
        assert isinstance(module, nn.MultiheadAttention)
        if module.bias_k is not None or module.add_zero_attn:
            raise ClassificationError(
                f"the heads of {path} grow from size {size / growth:g} to {size}, and its logits cannot be rescaled "
                "beside add_bias_kv or add_zero_attn; let the number of heads grow with width instead of their size"
            )
        sites[path] = Site(kind=KIND, factor=growth ** (0.5 - table.attention), mechanism="key")
    return sites


def traced_sites(build: Build, base_width: Width, seen: Observed, table: Parameterization) -> dict[str, Site]:
    """Sites of every other attention, as forward passes at base and target width showed it.

    The mechanism is found by trial on the model at base width: a multiplier of 2 must double the logits, exactly.

    Raises ClassificationError where heads grow and nothing outside the model reaches their logits alone.
    """
    sites: dict[str, Site] = {}
    by_class: dict[Any, tuple[str, str]] = {}
    grows = {
        path: attention.head_size / first.head_size
        for path, attention in seen.target.attention.items()
        if (first := seen.base.attention.get(path)) is not None and attention.head_size != first.head_size
    }
    _warn_of_products(seen)
    _warn_of_groups(seen)
    model = skeleton(build, base_width)
    for path, growth in grows.items():
        module, first, attention = model.get_submodule(path), seen.base.attention[path], seen.target.attention[path]
        if isinstance(module, nn.MultiheadAttention):
            continue
        factor = growth**-table.attention / (attention.scale / first.scale)
        if math.isclose(factor, 1.0):  # the model's own scale grows as it should
            continue
        if path in seen.base.shared:
            raise ClassificationError(
                f"{path or 'the model'} computes several attentions in one module, and their heads grow: no multiplier "
                "reaches each alone. Put each into a module of its own, or let the number of heads grow"
            )
        like = (type(module), *(type(m) for m in module.modules()))
        if like not in by_class:
            by_class[like] = _mechanism(build, base_width, seen.example, path)
        child, mechanism = by_class[like]
        sites[".".join(filter(None, (path, child)))] = Site(kind=KIND, factor=factor, mechanism=mechanism)
    return sites


def _warn_of_products(seen: Observed) -> None:
    """Products of activations over a growing dimension that no softmax follows: another kind of attention, perhaps."""
    pairs = zip(seen.base.products, seen.target.products, strict=False)
    grown = {a.path for a, b in pairs if a.size != b.size} - seen.base.attention.keys()
    if grown:
        warnings.warn(
            f"{', '.join(map(repr, sorted(grown)))}: a product of two activations sums over a dimension that grows, "
            "and no softmax follows that could be rescaled. If these are attention logits, divide them by that size "
            "yourself",
            stacklevel=4,
        )


def _warn_of_groups(seen: Observed) -> None:
    """Keys that more and more heads of queries share."""
    changed = {
        path: (first.shared_by, attention.shared_by)
        for path, attention in seen.target.attention.items()
        if (first := seen.base.attention.get(path)) is not None and first.shared_by != attention.shared_by
    }
    if changed:
        path, (before, after) = next(iter(changed.items()))
        warnings.warn(
            f"{path or 'the model'}{f' and {len(changed) - 1} more' if len(changed) > 1 else ''}: each head of keys "
            f"serves {before:g} heads of queries at base width and {after:g} at the target. What is scaled here keeps "
            "activations and their change bounded, but that hyperparameters transfer across this ratio is not known "
            "(arXiv:2605.15290 has rules of its own for it): let the number of key-value heads grow like that of "
            "query heads",
            stacklevel=4,
        )


def _mechanism(build: Build, width: Width, example: Example, path: str) -> tuple[str, str]:
    """The path of a module below ``path`` and the mechanism on it that multiplies the logits and nothing else."""
    plain = trace(_lively(build, width), example).attention[path]
    for child, mechanism in _candidates(fresh(build, width).get_submodule(path)):
        model = _lively(build, width)
        install(model.get_submodule(".".join(filter(None, (path, child)))), mechanism, 2.0)
        found = trace(model, example).attention.get(path)
        if found is not None and _is_twice(found.logits, plain.logits) and _is_same(found.values, plain.values):
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


def _lively(build: Build, width: Width) -> nn.Module:
    """A fresh model in which nothing is zero: a readout or a branch that starts at zero hides what is before it."""
    model = fresh(build, width)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def _candidates(module: nn.Module) -> Iterator[tuple[str, str]]:
    """What to try, the exact first: scale attributes, norms of queries or keys, projections, fused projections."""
    for name, value in vars(module).items():
        if isinstance(value, float):
            yield "", f"attribute {name}"
    children = [(name, child) for name, child in module.named_modules() if name and not list(child.children())]
    yield from ((name, "output") for name, child in children if "norm" in type(child).__name__.lower())
    yield from ((name, "output") for name, _ in children)
    yield from ((name, f"output {part}/{n}") for name, _ in children for n in (3, 2) for part in (1, 0))


def check_multipliers(build: Build, width: Width, example: Example, multipliers: Mapping[str, str]) -> None:
    """Refuse a multiplier, by path and mechanism, that changes nothing in what the model computes, in either mode.

    A weight that is read without calling its module, or a fused kernel that skips an attribute, would be missed.
    """
    for path, mechanism in multipliers.items():
        for training in (True, False):
            if not _has_effect(_lively(build, width).train(training), example, path, mechanism):
                mode = "train" if training else "eval"
                raise ClassificationError(
                    f"a multiplier on {path} ({mechanism}) changes nothing in {mode} mode: the model does not compute "
                    f"with what passes there. Use form='absorbed', or call {path} as a module"
                )


def _has_effect(model: nn.Module, example: Example, path: str, mechanism: str) -> bool:
    before = _outputs(model, example)
    install(model.get_submodule(path), mechanism, 0.5)
    after = _outputs(model, example)
    if not before:
        return True  # nothing to see the effect in
    return not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _outputs(model: nn.Module, example: Example) -> list[torch.Tensor]:
    with preserved_random_state(), torch.no_grad():
        seed_everything(0)
        return list(tensors(call(model, example)))
