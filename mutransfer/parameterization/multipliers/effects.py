"""Proof that every run-time multiplier of a plan does something."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.multipliers.mechanisms import Trials
from mutransfer.parameterization.multipliers.trials import module_outputs, multiplied
from mutransfer.parameterization.sites import Mechanism, On
from mutransfer.parameterization.tracing.trace import Example, call, tensors
from mutransfer.random_state import preserved_random_state, seed_everything

_Seen = list[tuple[nn.Module | None, torch.Tensor]]  # what modules returned, in the order of calls


def check_effects(trials: Trials, multipliers: Mapping[str, Mechanism]) -> None:
    """Refuse a multiplier, by path and mechanism, that changes nothing in what the model computes, in either mode.

    A weight that is read without calling its module, or a fused kernel that skips an attribute, would be missed. One
    pass forwards and one backwards show most that do something; the rest are tried one by one.
    """
    for mode in ("train", "eval") if multipliers else ():
        trials.model.train(mode == "train")
        moving = _moving(trials.model, trials.example, multipliers)
        _try_each(trials, {path: m for path, m in multipliers.items() if path not in moving}, mode)


def _moving(model: nn.Module, example: Example, multipliers: Mapping[str, Mechanism]) -> set[str]:
    """The multipliers by which outputs have a derivative that is not 0; none where there are no derivatives."""
    factors = {p: torch.ones((), requires_grad=True) for p, m in multipliers.items() if m.on is not On.ATTRIBUTE}
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in frozen:  # what they need for theirs would be kept
            parameter.requires_grad_(False)
        with ExitStack() as stack, preserved_random_state(), torch.enable_grad():
            for path, factor in factors.items():
                stack.enter_context(multiplied(model, path, multipliers[path], factor))
            seed_everything(0)
            outputs = [t for t in tensors(call(model, example)) if t.requires_grad]
            some = [(t.double() * torch.randn(t.shape, dtype=torch.float64, device=t.device)).sum() for t in outputs]
            if not some:
                return set()
            slopes = torch.autograd.grad(torch.stack(some).sum(), list(factors.values()), allow_unused=True)
    except (RuntimeError, TypeError):  # code without gradients, or which takes numbers alone
        return set()
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return {p for p, s in zip(factors, slopes, strict=False) if s is not None and bool(s.isfinite() & (s != 0))}


def _try_each(trials: Trials, multipliers: Mapping[str, Mechanism], mode: str) -> None:
    """Refuse one that changes nothing in what other modules return: a loss in single precision hides small changes.

    Where other weights of the module change nothing either, an expert that no example is sent to, nothing can be told.
    """
    plain = _outputs(trials.model, trials.example) if multipliers else []
    for path, mechanism in multipliers.items():
        inside = set(trials.model.get_submodule(path).modules())
        with multiplied(trials.model, path, mechanism, 0.5):
            outputs = _outputs(trials.model, trials.example)
        if not _alike_outside(plain, outputs, inside):
            continue
        with _other_weights(trials.model.get_submodule(path)) as any_weight:
            used = not any_weight or not _alike_outside(plain, _outputs(trials.model, trials.example), inside)
        if used:
            raise ClassificationError(
                f"a multiplier on {path} ({mechanism}) changes nothing in {mode} mode: the model does not compute "
                f"with what passes there. Use form='absorbed', or call {path} as a module"
            )


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


def _alike_outside(plain: _Seen, changed: _Seen, inside: set[nn.Module]) -> bool:
    before, after = ([t for module, t in found if module not in inside] for found in (plain, changed))
    return bool(before) and len(before) == len(after) and all(map(torch.equal, before, after))


def _outputs(model: nn.Module, example: Example) -> _Seen:
    with preserved_random_state(), torch.no_grad(), module_outputs() as outputs:
        seed_everything(0)
        outputs += [(None, t) for t in tensors(call(model, example))]
    return outputs
