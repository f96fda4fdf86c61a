"""Causes in words of what does not scale: factors of a plan that are not those that its table asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mutransfer.parameterization.judging.offenders import TOLERANCE
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.sites import SiteKind
from mutransfer.theory import rules
from mutransfer.theory.rules import Family, Parameterization, Power, Role
from mutransfer.widths import Width, show_width, width_size

TITLES = {
    "forward_mult": "forward multiplier",
    "init_mult": "initialisation",
    "lr_mult": "learning rate",
    "eps_mult": "eps",
    "wd_mult": "weight decay",
}
INIT = ("forward_mult", "init_mult")
UPDATE = ("lr_mult", "forward_mult")


@dataclass(frozen=True)
class Causes:
    """Words for what ``plan`` has wrong, by comparison with ``right``, the inferred plan of the same width.

    ``smallest``: the same two plans at the smallest width; None where none can be inferred there.
    """

    plan: Plan
    right: Plan | None
    table: Parameterization
    smallest: tuple[Plan, Plan] | None = None

    def of(self, parameter: str, fields: tuple[str, ...], excess: float) -> str:
        """The cause, among ``fields``, of a parameter that is off by n**excess."""
        if (difference := self._different(parameter, fields)) is not None:
            return difference
        if fields == UPDATE and (difference := self._different(parameter, ("eps_mult", "init_mult"))) is not None:
            return difference
        title = TITLES["init_mult" if fields[0] == "forward_mult" else fields[0]]
        scaling = self.plan[parameter]
        growing = "large" if excess > 0 else "small"
        symptom = f"its {title} is n^{abs(excess):.1f} too {growing} for {_a(scaling.role)} parameter"
        if self.right is None:
            return f"{symptom}: {self._amended(scaling, fields[0], excess)}. Check its role and its fans"
        if (unscaled := self._eps_left(parameter)) is not None:
            return f"{symptom}, or its gradient is not far above eps, and {unscaled}"
        if (difference := self._different(parameter, tuple(TITLES))) is not None:
            return f"{symptom}; of the plan's factors, {difference}"
        return (
            f"{symptom}, although the plan's factors are those of {self.table.name}: either the table lets it grow, or "
            "its role is wrong, or the model multiplies by a power of its width where the plan does not see it"
        )

    def _amended(self, scaling: Scaling, field: str, excess: float) -> str:
        """The factor of the plan, and the one that would make up for n**excess, a multiple of n**1/2 as a rule."""
        halves = round(2 * excess) / 2
        power = halves if halves and abs(halves - excess) <= TOLERANCE else excess
        name = "init_mult" if field == "forward_mult" else field
        factor = getattr(scaling, name)
        right = factor * (width_size(self.plan.width) / width_size(self.plan.base_width)) ** -power
        return f"its factor is {factor:.4g} at width {show_width(self.plan.width)} and would have to be {right:.4g}"

    def differs(self, parameter: str, *names: str) -> bool:
        """Whether any of these factors is another than in the inferred plan."""
        if self.right is None or parameter not in self.right:
            return False
        actual, right = self.plan[parameter], self.right[parameter]
        return any(not math.isclose(getattr(actual, n), getattr(right, n), rel_tol=1e-6, abs_tol=1e-12) for n in names)

    def step_power(self, parameter: str) -> float:
        """The power of width by which what SGD's step does to an output departs from the inferred plan's.

        0 where nothing is known, and where the difference is a constant, the user's own.
        """
        return self._power(parameter, UPDATE, _step)

    def init_power(self, parameter: str) -> float:
        """The same of the size of its module's output before training."""
        return self._power(parameter, INIT, _start)

    def _power(self, parameter: str, fields: tuple[str, ...], of: Callable[[Scaling], float]) -> float:
        if self.right is None or self.smallest is None or not self.differs(parameter, *fields):
            return 0.0
        pairs = ((self.plan, self.right), self.smallest)
        if any(parameter not in plan for pair in pairs for plan in pair):
            return 0.0
        ends = [math.log(of(actual[parameter]) / of(right[parameter])) for actual, right in pairs]
        growth = width_size(self.plan.width) / width_size(self.smallest[0].width)
        return (ends[0] - ends[1]) / math.log(growth)

    def site(self, module: str, kind: SiteKind, what: str) -> str | None:
        """The cause in a multiplier on a use, a tied readout's or that of attention logits; None where it is right."""
        actual, right = (self._site(plan, module, kind) for plan in (self.plan, self.right))
        if right is None and actual is None:
            return None
        return self._compared(what, 1.0 if actual is None else actual, 1.0 if right is None else right, None)

    def use(self, module: str) -> str | None:
        """The cause in a multiplier on a module itself, but that of attention logits; None where it is right."""
        if self.right is None:
            return None
        actual, right = self.plan.sites.get(module), self.right.sites.get(module)
        site = actual or right
        if site is None or site.kind is SiteKind.ATTENTION_LOGITS:
            return None
        what = f"a multiplier on its {site.mechanism}"
        return self._compared(what, actual.factor if actual else 1.0, right.factor if right else 1.0, None)

    def eps_differs(self, parameter: str) -> bool:
        """Whether eps over the gradient, which a forward multiplier is a factor of, is another than it should be."""
        if self.right is None or parameter not in self.right:
            return False
        actual, right = (s.eps_mult / s.forward_mult for s in (self.plan[parameter], self.right[parameter]))
        return not math.isclose(actual, right, rel_tol=1e-6)

    def base(self, plans: Mapping[str, Plan], declared: Width) -> str | None:
        """A base width that is not the same at every width, or not the one that was said."""
        bases = {width: show_width(p.base_width) for width, p in plans.items()}
        if len(set(bases.values())) > 1:
            listed = ", ".join(f"{base} at width {width}" for width, base in bases.items())
            return f"the plans' base width is not the same at every width ({listed}): their factors cannot be compared"
        if (base := next(iter(bases.values()))) != show_width(declared):
            return f"the plans' base width is {base}, not {show_width(declared)}, so {show_width(declared)} is rescaled"
        return None

    def _different(self, parameter: str, fields: tuple[str, ...]) -> str | None:
        if self.right is None or parameter not in self.right:
            return None
        actual, right = self.plan[parameter], self.right[parameter]
        if (fans := self._fans(actual, right)) is not None:
            return fans
        for name in fields:
            if (text := self._factor(parameter, name, actual, right)) is not None:
                too = [TITLES[other] for other in TITLES if other != name and self.differs(parameter, other)]
                return text + (f" (and so of its {', '.join(too)})" if too else "")
        return None

    def _eps_left(self, parameter: str) -> str | None:
        """That a plan leaves eps as it is (scale_eps=False) where its table scales it."""
        if self.plan.scale_eps or rules.family(self.plan.optimizer) is not Family.ADAM:
            return None
        scaling = self.plan[parameter]
        row = self.table.rows[scaling.role]
        power = (row.absorbed() if self.plan.form == "absorbed" else row).eps
        compared = self._compared("eps", scaling.eps_mult, power(scaling.m_in, scaling.m_out), power)
        return None if compared is None else f"{compared} (scale_eps=False)"

    def _fans(self, actual: Scaling, right: Scaling) -> str | None:
        read = f"the plan reads it as {actual.role}, its shapes and its use say {right.role}"
        if (actual.m_in, actual.m_out) == (right.m_in, right.m_out):
            return read if actual.role is not right.role else None
        if show_width(self.plan.base_width) != show_width(self.right.base_width if self.right else 0):
            return f"the plan's base width is {show_width(self.plan.base_width)}"
        if (actual.m_in, actual.m_out) == (right.m_out, right.m_in):
            return f"its fan_in and fan_out are swapped ({read})"
        return (
            f"its fans grow by m_in = {right.m_in:g} and m_out = {right.m_out:g}, the plan has {actual.m_in:g} and "
            f"{actual.m_out:g}" + (f" ({read})" if actual.role is not right.role else "")
        )

    def _factor(self, parameter: str, name: str, actual: Scaling, right: Scaling) -> str | None:
        row = self.table.rows[right.role]
        if self.plan.form == "absorbed":
            row = row.absorbed()
        power = None
        if name == "lr_mult":
            family = rules.family_of(rules.family(self.plan.optimizer), right.role, len(self.plan.shapes[parameter]))
            power = row.lr.get(family)
        elif name in ("forward_mult", "eps_mult"):
            power = row.forward if name == "forward_mult" else row.eps
        readout = right.role is Role.OUTPUT and name == "forward_mult"
        title = "readout multiplier" if readout else f"its {TITLES[name]}"
        if power is not None and not math.isclose(power(right.m_in, right.m_out), getattr(right, name)):
            power = None  # a law or a factor of the user's own is in it too
        return self._compared(title, getattr(actual, name), getattr(right, name), power)

    def _compared(self, what: str, actual: float, right: float, power: Power | None) -> str | None:
        if math.isclose(actual, right, rel_tol=1e-6):
            return None
        if math.isclose(right, 1.0):
            how = "is scaled and should not be"
        elif math.isclose(actual, 1.0):
            how = "is missing" if "multiplier" in what else "is not scaled"
        elif math.isclose(actual, right**2):
            how = "is scaled twice"
        elif math.isclose(actual, 1 / right):
            how = "is scaled the wrong way round"
        else:
            how = "is scaled by another power of the width"
        formula = "" if power is None or power == rules.ONE else f" = {_formula(power)}"
        at = f"at width {show_width(self.plan.width)}"
        return f"{what} {how}: factor {actual:.4g} {at} where {self.table.name} has {right:.4g}{formula}"

    @staticmethod
    def _site(plan: Plan | None, module: str, kind: SiteKind) -> float | None:
        """The factor of the site on a module or within it."""
        within = [
            site.factor
            for path, site in (plan.sites if plan else {}).items()
            if site.kind is kind and (path == module or path.startswith(f"{module}.") or not module)
        ]
        return within[0] if within else None


def _step(scaling: Scaling) -> float:
    """What a step of SGD does to the output, up to what a plan does not change: gradient and output have the factor."""
    return scaling.lr_mult * scaling.forward_mult**2


def _start(scaling: Scaling) -> float:
    """The size of what a parameter adds to an output before training, up to what a plan does not change."""
    return scaling.init_mult * scaling.forward_mult


def _formula(power: Power) -> str:
    """``m_out/m_in`` and the like.

    >>> _formula(Power(fan_in=-1, fan_out=1)), _formula(Power(fan_in=-0.5)), _formula(Power())
    ('m_out/m_in', '1/m_in^0.5', '1')
    """
    sides = {"m_in": power.fan_in, "m_out": power.fan_out}
    above = "*".join(f"{m}^{x:g}" if x != 1 else m for m, x in sides.items() if x > 0)
    below = "*".join(f"{m}^{-x:g}" if x != -1 else m for m, x in sides.items() if x < 0)
    if not below:
        return above or "1"
    return f"{above or '1'}/({below})" if "*" in below else f"{above or '1'}/{below}"


def _a(role: Role) -> str:
    return f"an {role}" if role[0] in "io" else f"a {role}"
