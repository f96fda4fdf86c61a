"""A mistake in a plan as a value, and the names and words that lists of mistakes share."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.mutation_score.changes import Change
from experiments.mutation_score.settings import Setting
from mutransfer.theory.rules import Role


@dataclass(frozen=True)
class Mutation:
    """One mistake. Named rightly: nothing but ``where`` is blamed, and of what is blamed first one of ``words``."""

    name: str
    setting: Setting
    change: Change
    where: tuple[str, ...]  # fnmatch patterns over parameters, modules or what is said to be off
    words: tuple[str, ...]
    harmless: str = ""  # why nothing can go wrong, where that is so
    unshown: str = ""  # why no first step of a small model can show it
    unseen: bool = False  # written when the check was final; with the others it was improved


HIDDEN, INPUT, OUTPUT, VECTOR, BOTTLE = Role.HIDDEN, Role.INPUT, Role.OUTPUT, Role.VECTOR, Role.BOTTLENECK
FIRST, HIDDENS, LAST, BIASES = ("1.weight",), ("3.weight", "5.weight"), ("7.weight",), ("[135].bias",)
MATRICES = ("blocks.*.attention.*", "blocks.*.up.weight", "blocks.*.down.weight")
LR, INIT, MULTIPLIER = ("learning rate",), ("initialisation",), ("multiplier",)
ROLE = ("the plan reads it as",)
