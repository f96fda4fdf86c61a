"""The optimizers that studies can train with. A new one is a file beside this one and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from mutransfer.errors import ConfigError
from mutransfer.training.optimizers.adam import ADAM, ADAMW
from mutransfer.training.optimizers.lion import LION
from mutransfer.training.optimizers.nadam import NADAM
from mutransfer.training.optimizers.rule import OptimizerRule
from mutransfer.training.optimizers.sgd import SGD

OPTIMIZER_RULES: Mapping[str, OptimizerRule] = {rule.name: rule for rule in (SGD, ADAM, ADAMW, LION, NADAM)}


def optimizer_rule(name: str) -> OptimizerRule:
    """The row of an optimizer; ConfigError where studies cannot train with it."""
    if name not in OPTIMIZER_RULES:
        raise ConfigError(f"optimizer must be one of {', '.join(OPTIMIZER_RULES)}, found {name!r}")
    return OPTIMIZER_RULES[name]
