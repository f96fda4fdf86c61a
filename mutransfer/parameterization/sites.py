"""Sites: multipliers that belong to a use of a module and not to a tensor, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mutransfer.errors import PlanError


class SiteKind(StrEnum):
    """What a site multiplies."""

    TIED_READOUT = "tied readout"  # the use of an embedding's tensor as a readout
    ATTENTION_LOGITS = "attention logits"


class On(StrEnum):
    """What of a module a multiplier takes hold of."""

    INPUT = "input"  # the module's first input
    # The keys that an nn.MultiheadAttention is given: their bias shifts all logits of a query alike, and so drops out
    # of the softmax.
    KEY = "key"
    OUTPUT = "output"  # its output, or one of equal parts of the output's last dimension
    ATTRIBUTE = "attribute"  # a float that the module multiplies with


@dataclass(frozen=True)
class Mechanism:
    """How a multiplier acts on a module; as text, what plan files hold.

    >>> str(Mechanism(On.OUTPUT, part=1, parts=3))
    'output 1/3'
    >>> Mechanism.parse("attribute scaling")
    Mechanism(on=<On.ATTRIBUTE: 'attribute'>, part=0, parts=1, name='scaling')
    """

    on: On
    part: int = 0  # which of ``parts`` of an output, from 0
    parts: int = 1
    name: str = ""  # of an attribute

    def __str__(self) -> str:
        detail = self.name or (f"{self.part}/{self.parts}" if self.parts > 1 else "")
        return f"{self.on} {detail}".strip()

    @classmethod
    def parse(cls, text: str) -> Mechanism:
        """The mechanism of this text; PlanError where there is none."""
        on, _, detail = text.partition(" ")
        if on == On.ATTRIBUTE and detail.isidentifier():
            if detail.startswith("__"):
                raise PlanError(f"mechanism {text!r}: Python's own attributes scale no attention")
            return cls(On.ATTRIBUTE, name=detail)
        if on == On.OUTPUT and detail:
            part, _, parts = detail.partition("/")
            if part.isdecimal() and parts.isdecimal() and int(part) < int(parts):
                return cls(On.OUTPUT, part=int(part), parts=int(parts))
        if on in (On.INPUT, On.KEY, On.OUTPUT) and not detail:
            return cls(On(on))
        raise PlanError(f"unknown mechanism {text!r}: was the plan made by a newer version?")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A multiplier that belongs to a use of a module, not to a tensor.

    ``kind`` and ``mechanism`` may be given as text.
    """

    kind: SiteKind
    factor: float
    mechanism: Mechanism

    def __post_init__(self) -> None:
        if self.kind not in list(SiteKind):
            raise PlanError(f"unknown kind of site {self.kind!r}: expected one of {', '.join(SiteKind)}")
        object.__setattr__(self, "kind", SiteKind(self.kind))
        if isinstance(self.mechanism, str):
            object.__setattr__(self, "mechanism", Mechanism.parse(self.mechanism))
        if self.mechanism.on is On.ATTRIBUTE and self.kind is not SiteKind.ATTENTION_LOGITS:
            raise PlanError(f"mechanism {str(self.mechanism)!r}: an attribute scales attention logits, no {self.kind}")
