"""What happens at infinite width: the limits, and how everything moves towards them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The limits of Tensor Programs IV, section 3, and the one that its initial conditions exclude."""

    DEGENERATE = "degenerate"  # activations vanish or blow up at initialisation
    UNSTABLE = "unstable"  # activations or logits blow up in training
    TRIVIAL = "trivial"  # the function does not move
    KERNEL = "kernel"  # the function moves, features do not
    FEATURE_LEARNING = "feature learning"


@dataclass(frozen=True, kw_only=True)
class Regime:
    """The regime, r (features move by n**-r), and the inequality that decides. Exponents are powers of n."""

    kind: Kind
    r: float
    binding: str
    usable_with_cross_entropy: bool
    change: tuple[float, float, float]  # of the change of (first layer, hidden layers, logits) in training
    logits_at_init: float
    change_by_vectors: float | None = None  # of what biases and gains add to that change; None: not asked
    bottleneck_change: float | None = None
    bottleneck_at_init: float | None = None
    faithful: bool = True  # Adam's eps follows the gradient
    updates: Mapping[str, float] = field(default_factory=dict)  # role -> of what its own update adds to its output

    @property
    def predictions(self) -> str:
        """How everything moves with width n, as text."""
        first, hidden, logits = self.change
        moves = {"the first layer": first, "hidden layers": hidden, "the logits": logits}
        if self.bottleneck_change is not None:
            moves["bottlenecks"] = self.bottleneck_change
        listed = ", ".join(f"{name} like n^{x:g}" for name, x in moves.items())
        when = "the first step" if self.kind is Kind.UNSTABLE else "training"  # after which nothing is a power of n
        return f"{when} changes {listed}; logits at initialisation go like n^{self.logits_at_init:g}"
