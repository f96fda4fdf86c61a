"""What reaches products of activations, attention logits say, and nothing else: found by trial on the model at base."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from torch import nn

from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.multipliers.trials import (
    candidates,
    filled_model,
    joined,
    module_outputs,
    multiplied,
)
from mutransfer.parameterization.sites import Mechanism
from mutransfer.parameterization.tracing.bookkeeping import Bookkeeping
from mutransfer.parameterization.tracing.run_traced import outputs_under
from mutransfer.parameterization.tracing.trace import Example, Product

UNAFFECTED = 1e-5  # relative change of outputs, in single precision, that is none
EXACT = 1e-6  # and where a factor of 2 is only moved from one place to another


@dataclass(frozen=True)
class Reach:
    """A mechanism on a module below some path, and which of that path's products it multiplies, alone."""

    child: str
    mechanism: Mechanism
    products: frozenset[int]


class Trials:
    """Trials on one model in which nothing is zero, at base width."""

    def __init__(self, builds: Builds, example: Example) -> None:
        self.builds, self.example = builds, example

    @cached_property
    def model(self) -> nn.Module:
        """Made where it is needed: most models need no trial."""
        return filled_model(self.builds)

    def matters(self, path: str, products: Collection[int]) -> bool:
        """Whether what the model computes outside of ``path`` depends on the size of these products."""
        _, plain = self._run([path])
        _, doubled = self._run([path], dict.fromkeys(products, 2.0))
        return not _same(doubled, plain, UNAFFECTED)

    def reaches(self, path: str, groups: Sequence[Collection[int]]) -> list[Reach] | None:
        """The fewest mechanisms below ``path`` that multiply all products of ``groups``, each by one of them.

        None of them multiplies products of two groups, whose factors differ. None where there are none.
        """
        wanted = sorted(number for group in groups for number in group)
        plain = self._run([path], watched=wanted)
        found: list[Reach] = []
        for child, mechanism in candidates(self.model.get_submodule(path)):
            reached = self._reached(path, child, mechanism, wanted, plain)
            if not reached or not any(reached <= set(group) for group in groups):
                continue
            found.append(Reach(child, mechanism, reached))
            if len(reached) == len(wanted):
                return found[-1:]
        for number in range(2, len(wanted) + 1):
            for chosen in combinations(found, number):
                apart = len({reach.child for reach in chosen}) == number  # a module has one site
                if apart and sorted(product for reach in chosen for product in reach.products) == wanted:
                    return list(chosen)
        return None

    def agree(self, found: Sequence[tuple[str, Reach]]) -> bool:
        """Whether all of these, each below a path, multiply their products alone where all are in force."""
        paths = [path for path, _ in found]
        _, plain = self._run(paths)
        with ExitStack() as stack:
            for path, reach in found:
                stack.enter_context(multiplied(self.model, joined(path, reach.child), reach.mechanism, 2.0))
            _, outputs = self._run(paths, {number: 0.5 for _, reach in found for number in reach.products})
        return _same(outputs, plain)

    def _reached(self, path: str, child: str, mechanism: Mechanism, wanted: list[int], plain: _Run) -> frozenset[int]:
        """Which products a multiplier of 2 doubles, and doubles alone: when they are halved, all is as it was.

        What follows a product may depend on it, so that they are looked at one after the other.
        """
        halved: dict[int, float] = {}
        while True:
            with multiplied(self.model, joined(path, child), mechanism, 2.0):
                products, outputs = self._run([path], halved, wanted)
            changed = [i for i in wanted if i not in halved and not _is_times(products, plain[0], i, 1.0)]
            if not changed:
                return frozenset(halved) if halved and _same(outputs, plain[1]) else frozenset()
            if not _is_times(products, plain[0], changed[0], 2.0):
                return frozenset()
            halved[changed[0]] = 0.5

    def _run(
        self, paths: Collection[str], factors: Mapping[int, float] | None = None, watched: Collection[int] = ()
    ) -> _Run:
        """All products of one pass, and what the modules return that are not inside of others at ``paths``."""
        roots = [self.model.get_submodule(path) for path in paths]
        book = Bookkeeping(self.model, factors, watched)
        inside = {module for root in roots for module in root.modules() if module is not root}
        with module_outputs() as outputs:
            outputs += [(None, t) for t in outputs_under(book, self.model, self.example)]
        return book.result.products, [t for module, t in outputs if module not in inside]


_Run = tuple[list[Product], list[torch.Tensor]]


def _is_times(found: list[Product], plain: list[Product], i: int, factor: float) -> bool:
    """Whether a product, with the user's factors on it, is ``factor`` times what it was."""
    if i >= len(found):
        return False
    (a, x), (b, y) = ((p.values, p.scale / p.before if p.before else 1.0) for p in (found[i], plain[i]))
    if a is None or b is None or a.shape != b.shape or not bool(b.any()):
        return False
    return torch.allclose(a * (x / y), factor * b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def _same(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], room: float = EXACT) -> bool:
    """Whether two runs gave the same but for rounding, tensor by tensor."""
    if len(found) != len(expected):
        return False
    return all(a.shape == b.shape and _close(a, b, room) for a, b in zip(found, expected, strict=True))


def _close(found: torch.Tensor, expected: torch.Tensor, room: float) -> bool:
    if not expected.is_floating_point():
        return True
    a, b = (t.double().nan_to_num(posinf=0.0, neginf=0.0) for t in (found, expected))
    return bool((a - b).norm() <= room * b.norm())
