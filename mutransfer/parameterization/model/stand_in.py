"""Stand-ins: modules that hold another's parameters by the same names and compute by that one."""

from __future__ import annotations

from torch import nn


class StandIn(nn.Module):
    """A module whose own submodules compute nothing; run-time multipliers act in its ``original``."""

    @property
    def original(self) -> nn.Module:
        """The module that is called with the stand-in's parameters."""
        raise NotImplementedError
