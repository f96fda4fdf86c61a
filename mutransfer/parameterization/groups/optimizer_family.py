"""The family of an optimizer that is at work, by the names of its classes."""

from __future__ import annotations

import torch

from mutransfer.theory.rules import NO_RULE, OPTIMIZERS, Family

# Words that names of other people's optimizers hold (AdamW8bit, SGDScheduleFree).
_WORDS = {
    "adam": Family.ADAM,
    "lion": Family.ADAM,
    "sgd": Family.SGD,
    "muon": Family.MUON,
    "adafactor": Family.ADAFACTOR,
}


def family_by_name(optimizer: torch.optim.Optimizer) -> tuple[Family | None, bool]:
    """The family, and whether that is certain: it is for torch's own classes and what is derived from them.

    (None, True) is an optimizer that is known, and of which there is no rule; (None, False) one of which nothing is.

    >>> family_by_name(torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))]))
    (<Family.ADAM: 'adam'>, True)
    """
    for kind in type(optimizer).__mro__:
        name = kind.__name__.lower()
        if name in OPTIMIZERS:
            return OPTIMIZERS[name], True
        if name in NO_RULE:
            return None, True
        if kind.__module__.startswith("torch.optim.") and kind is not torch.optim.Optimizer:
            # Sparse gradients have an Adam of their own; the others have no rule.
            return (Family.ADAM, True) if name == "sparseadam" else (None, True)
    names = [kind.__name__.lower() for kind in type(optimizer).__mro__]
    found = {family for word, family in _WORDS.items() if any(word in name for name in names)}
    return (found.pop(), False) if len(found) == 1 else (None, False)
