"""Stand-ins: modules that hold another's parameters by the same names and compute by that one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class StandIn(nn.Module, ABC):
    """A module whose own submodules compute nothing; run-time multipliers act in its ``original``."""

    @property
    @abstractmethod
    def original(self) -> nn.Module:
        """The module that is called with the stand-in's parameters."""
