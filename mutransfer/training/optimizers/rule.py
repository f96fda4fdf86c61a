"""An optimizer as a value: everything that studies need to know of it, so that it stands in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutransfer.theory import rules
from mutransfer.training.extra_hyperparameters import DECAY, MULTIPLIERS

Columns = Mapping[str, np.ndarray]  # name -> one value per member, float64
Coefficients = Mapping[str, Tensor]  # name -> (members, 1)


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """The plan's factors for one parameter, or (members, 1) where members have their own."""

    lr: float | Tensor = 1.0
    weight_decay: float | Tensor = 1.0
    eps: float | Tensor = 1.0


@dataclass(frozen=True, kw_only=True)
class OptimizerRule:
    """One optimizer: what it is called, what can be tuned in it, how it steps, alone and stacked.

    Its family, eps and kind of decay are the theory's (:mod:`mutransfer.theory.rules`), under the same name.

    Attributes:
        defaults: its hyperparameters beside learning rate and decay, at the values of a run that does not name them.
        make: (parameter groups, hyperparameters, ``fused``) -> the optimizer of a run alone.
        slots: names of the tensors that it remembers, each like the parameter and zero at first.
        coefficients: (hyperparameters with the step's own lr, number of the step from 1 on) -> numbers of that step,
            one per member, in double precision.
        step: (parameter, gradient, slots, coefficients, multipliers): the same step with one row per member; changes
            the parameter and the slots.
        log2_lrs: lowest and highest log2 learning rate to try where nothing is known.
        check_lr: learning rate of a coordinate check, low enough for a few stable steps at any width.
    """

    name: str
    defaults: Mapping[str, float]
    make: Callable[[list[dict[str, Any]], Mapping[str, float], bool | None], torch.optim.Optimizer]
    slots: tuple[str, ...]
    coefficients: Callable[[Columns, int], dict[str, np.ndarray]]
    step: Callable[[Tensor, Tensor, Mapping[str, Tensor], Coefficients, Multipliers], None]
    log2_lrs: tuple[int, int]
    check_lr: float

    @property
    def family(self) -> rules.Family:
        return rules.family(self.name)

    @property
    def decays(self) -> bool:
        """Whether weight decay can be tuned: inside Adam's gradient it has no form that is the same at every width."""
        return self.name not in rules.COUPLED_DECAY

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """Names of all that can be tuned."""
        return ("lr", *self.defaults, *(DECAY if self.decays else ()), *MULTIPLIERS)

    def default(self, name: str) -> float:
        """The value of a hyperparameter that is not named: no decay, multipliers of 1."""
        return 1.0 if name in MULTIPLIERS else self.defaults.get(name, 0.0)
