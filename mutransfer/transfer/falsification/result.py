"""The result of a frozen-feature control: what each learner reached, and whether features were needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mutransfer.intervals import Interval
from mutransfer.transfer.falsification.finding import Arm, Finding
from mutransfer.widths import Width, show_width


@dataclass(frozen=True, kw_only=True)
class Falsification:
    """The result of :func:`~mutransfer.falsify`. ``arms``: the network under study first, then the controls."""

    task: str
    width: Width
    base_width: Width
    finding: Finding
    reason: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]
    explained: Mapping[str, Interval]  # control -> part of the network's improvement, 90 %
    left_out: Mapping[str, str]  # what was not done or measured -> why

    @property
    def sentence(self) -> str:
        """The finding in words, for a person."""
        network = f"{next(iter(self.arms))} at width {show_width(self.width)}"
        return {
            Finding.FEATURES_NEEDED: f"with frozen features, {network} would not have learned this",
            Finding.FROZEN_SUFFICES: f"what {network} learned is also learned with frozen features",
            Finding.INCONCLUSIVE: f"the runs cannot tell whether {network} needs its features to move",
        }[self.finding] + f": {self.reason}."

    @property
    def exit_code(self) -> int:
        """0: features are needed; 1: frozen features suffice, so that a claim about features falls; 3: inconclusive."""
        return {Finding.FEATURES_NEEDED: 0, Finding.FROZEN_SUFFICES: 1, Finding.INCONCLUSIVE: 3}[self.finding]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is unknown is None."""
        explained = {name: asdict(part) if math.isfinite(part.value) else None for name, part in self.explained.items()}
        arms = {
            name: {**asdict(arm), "moments": [[m._asdict() for m in seed] for seed in arm.moments]}
            for name, arm in self.arms.items()
        }
        readable = {"finding": str(self.finding), "sentence": self.sentence, "explained": explained, "arms": arms}
        return {**asdict(self), **readable}
