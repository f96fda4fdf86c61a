"""The powers of width that theory expects of activations, their change and every parameter's update."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, equal

from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import On, SiteKind
from mutransfer.theory.regimes import Kind, Regime
from mutransfer.theory.rules import Role


@dataclass(frozen=True)
class Expected:
    """Powers of width that ``regime`` expects of the modules and parameters of ``plan``; None where it expects nothing.

    ``readouts``: the modules whose output is the readout's, with what they hand on: themselves as a rule. ``finite``:
    modules whose output does not grow. ``growth``: what the models' width, the one number that slopes are fitted
    against, grows by; fan_in may grow by another power.
    """

    plan: Plan
    regime: Regime | None
    handed_on: Mapping[str, str]
    readouts: frozenset[str]
    finite: frozenset[str] = frozenset()
    growth: float = 1.0

    def of(self, module: str, quantity: Quantity) -> float | None:
        """The power of a module's "size", "change", "effective" or "propagated" in training."""
        regime = self.regime
        if regime is None or regime.kind in (Kind.UNSTABLE, Kind.DEGENERATE):
            return None
        module = self.handed_on.get(module, module)
        roles = roles_of(module, self.plan)
        if quantity == Quantity.EFFECTIVE:
            powers = [x for role in self._updated(module) if (x := regime.updates.get(role)) is not None]
            return max(powers, default=None)
        if module in self.readouts:
            change = regime.change[2]
            return max(change, regime.logits_at_init) if quantity == Quantity.SIZE else change
        if Role.BOTTLENECK in roles:  # fades at init, then moves: between the two is right
            change = regime.bottleneck_change
            if quantity != Quantity.SIZE or change is None:
                return change
            return max(change, regime.bottleneck_at_init or 0.0)
        change = regime.change[0] if Role.INPUT in roles else regime.change[1]
        return 0.0 if quantity == Quantity.SIZE else change

    def update(self, parameter: str) -> float | None:
        """The power of what a parameter's own update does to its module's output."""
        role = self.plan[parameter].role
        return None if self.regime is None or role is Role.SCALAR else self.regime.updates.get(role)

    def at_init(self, module: str) -> tuple[float, float] | None:
        """The least and the largest power of a module's size before training."""
        regime = self.regime
        if regime is None or regime.kind is Kind.DEGENERATE:
            return None
        inner = self.handed_on.get(module, module)
        if inner in self.readouts:
            # A tied readout may find the very embedding that it multiplies in its input: a sum of n squares.
            logits = self._logits_at_init(inner, regime)
            return logits, logits + (0.5 if self._is_tied(inner) else 0.0)
        faint = self.faint().get(module, 0.0)
        if module in self.finite:  # whatever it computes was made of growing features before, or is by itself
            faint = min(faint, regime.logits_at_init)
        return min(faint, 0.0), 0.0

    def faint(self) -> dict[str, float]:
        """Readouts and bottlenecks, which under mup are fainter before training than in it, with their power.

        So are the siblings of a bottleneck, which may come after it: the output projection behind values with a fixed
        number of heads.
        """
        regime = self.regime
        if regime is None:
            return {}
        faint: dict[str, float] = {}
        parents = {m.rpartition(".")[0] for m in self.handed_on if Role.BOTTLENECK in roles_of(m, self.plan)}
        for module, inner in self.handed_on.items():
            if module.rpartition(".")[0] in parents and regime.bottleneck_at_init is not None:
                faint[module] = regime.bottleneck_at_init
            if inner in self.readouts:
                faint[module] = self._logits_at_init(inner, regime)
        return faint

    def _logits_at_init(self, readout: str, regime: Regime) -> float:
        grown = [s.m_in for n, s in self.plan.items() if owner(n) == readout and s.role is Role.OUTPUT]
        if not grown or min(*grown, self.growth) <= 1.0:
            return regime.logits_at_init
        return regime.logits_at_init * math.log(grown[0]) / math.log(self.growth)

    def _updated(self, module: str) -> set[Role]:
        if module in self.readouts and self._is_tied(module):
            return {Role.OUTPUT}
        return roles_of(module, self.plan) - {Role.SCALAR}

    def _is_tied(self, readout: str) -> bool:
        """Whether its weight belongs to another module; a bias may be its own."""
        return Role.OUTPUT not in roles_of(readout, self.plan)


def without_growth(regime: Regime | None) -> Regime | None:
    """The regime with updates that do not grow, whatever the table lets them do: what it has to be to train at all."""
    return None if regime is None else replace(regime, updates={r: min(x, 0.0) for r, x in regime.updates.items()})


def roles_of(module: str, plan: Plan) -> set[Role]:
    return {s.role for name, s in plan.items() if owner(name) == module}


def is_readout(module: str, plan: Plan) -> bool:
    tied = module in plan.sites and plan.sites[module].kind is SiteKind.TIED_READOUT
    return tied or Role.OUTPUT in roles_of(module, plan)


def handed_on(outputs: Mapping[str, Tensor], readouts: Collection[str]) -> dict[str, str]:
    """Every module with the readout whose output it hands on, a head around it or the model itself; else itself."""
    inner = {}
    for module, output in outputs.items():
        within = "" if module == "model" else f"{module}."
        inside = [m for m in outputs if m != module and m.startswith(within) and m in readouts]
        inner[module] = next((m for m in inside if equal(outputs[m], output)), module)
    return inner


def factored_modules(plan: Plan) -> frozenset[str]:
    """Modules whose output a growing factor follows: the model's own, or the plan's on queries, meant for a product.

    They are not judged; what comes behind the factor is.
    """
    grown = {owner(name) for name, s in plan.items() if s.own_mult != 1.0}
    queries = {
        path for path, s in plan.sites.items() if s.kind is SiteKind.ATTENTION_LOGITS and s.mechanism.on is On.OUTPUT
    }
    return frozenset(grown | queries)
