"""The first parameter that is to blame, from slopes of a coordinate check, in the order of cause and effect.

Sizes before training depend on initialisation and multipliers alone. After the first step, what a parameter's own
update does to its module's initial output depends on its own learning rate alone (under SGD on the gradients at
initialisation too). What is only off later, or between modules, follows from neither. So the stages are judged in this
order, and what comes behind an offender is not blamed for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mutransfer.intervals import Slope
from mutransfer.parameterization.judging.causes import INIT, TITLES, UPDATE, Causes
from mutransfer.parameterization.judging.expected import Expected
from mutransfer.parameterization.judging.offenders import (
    EARLY,
    EPS_GROWTH,
    EPS_TOLERANCE,
    STEP_TOLERANCE,
    TOLERANCE,
    UPDATE_TOLERANCE,
    Offender,
    excess,
)
from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.theory import rules
from mutransfer.theory.rules import Family, Role

Slopes = Mapping[str, Mapping[str, Slope]]  # quantity -> module or parameter -> slope


@dataclass(frozen=True)
class Judge:
    """The search for offenders in slopes at step 0 (``init``), after the ``first`` and after the ``last`` step."""

    plan: Plan  # at the largest width
    expected: Expected
    causes: Causes
    init: Slopes
    first: Slopes
    last: Slopes
    factored: frozenset[str]
    routed: frozenset[str]  # modules whose share of the examples differs between runs
    attention: Mapping[str, float]  # powers of logits before training, of the attention whose heads grow
    fades: bool = False  # whether some modules start fainter with width by right: then so does what they reach
    logit_tolerance: float = UPDATE_TOLERANCE
    slack: float = 1.0  # times the tolerances
    bounded: float = -math.inf  # the power up to which an update is no harm, whatever is expected
    early: tuple[float, float] = (EARLY, EARLY)  # by which an update may start fainter (Adam, SGD)
    eps_growth: float = EPS_GROWTH  # of eps over the gradient, where nothing is known against a plan's eps
    unaligned: Mapping[str, float] = field(default_factory=dict)  # by how much more under Adam, where examples are many

    def offenders(self) -> list[Offender]:
        """Everything off at initialisation and in the first update, else eps; and decay."""
        at_init = list(self._at_init())
        at_init += self._attention(blamed={o.module for o in at_init})
        offenders = [*at_init, *self._updates(at_init)] or [*self._eps()]
        blamed = {offender.where for offender in offenders}
        return [*offenders, *(o for o in self._decay() if o.where not in blamed)]

    def _decay(self) -> Iterator[Offender]:
        """Decay per step must be what the plan's own policy says; a few steps cannot show it."""
        for name, s in self.plan.items():
            right = rules.wd_factor(self.plan.wd_policy, s.role, s.lr_mult, s.m_in)
            if abs(s.wd_mult - right) > 1e-6 * max(right, 1e-12):
                yield Offender(
                    where=name,
                    module=owner(name),
                    what="its weight decay",
                    slope=None,
                    cause=f"factor {s.wd_mult:.4g} where the {self.plan.wd_policy} policy has {right:.4g} beside a "
                    f"learning rate of {s.lr_mult:.4g}: decay per step changes with width",
                )

    def _at_init(self) -> Iterator[Offender]:
        sizes, spreads = (self.init.get(quantity, {}) for quantity in (Quantity.SIZE, Quantity.SPREAD))
        reached = False  # whether something was off before
        for module, slope in sizes.items():
            if module in self.factored:
                continue
            low, high = self.expected.at_init(module) or (float("-inf"), 0.0)
            power = excess(slope, low, high, self.slack * TOLERANCE)
            if power > 0 and self.reads_out(module) and module in spreads:
                # A readout's bias is not scaled, and may be most of the logits.
                slope = spreads[module]
                power = max(excess(slope, low, high, self.slack * TOLERANCE), 0.0)
            if not power and (low < high or self._has_several_matrices(module)):
                power = self._init_power(module)  # what may start fainter, or with another, may hide a wrong factor
            if not power:
                continue
            into = self._into(module)
            if self.fades and power < 0 and abs(slope.value - into) <= UPDATE_TOLERANCE and self._as_planned(module):
                continue
            if reached and abs(power - into) <= UPDATE_TOLERANCE:
                continue  # it only hands on
            use = self.causes.use(self.expected.handed_on.get(module, module))
            if reached and not self._own(module) and use is None:
                continue  # a tied tensor's, which has been judged
            yield self._size_offender(module, slope, power, into, reached)
            reached = True

    def _size_offender(self, module: str, slope: Slope, power: float, into: float, reached: bool) -> Offender:
        what = "its output at initialisation"
        inner = self.expected.handed_on.get(module, module)
        if inner in self.expected.readouts and (
            cause := self.causes.site(inner, SiteKind.TIED_READOUT, "readout multiplier")
        ):
            return Offender(where=inner, module=module, what=what, slope=slope, cause=cause)
        if (cause := self.causes.use(inner)) is not None:
            return Offender(where=inner, module=module, what=what, slope=slope, cause=cause)
        # A matrix before its bias, unless what the matrix makes, which differs from example to example, does not grow.
        spread = self.init.get(Quantity.SPREAD, {}).get(module)
        by_bias = power > 0 and spread is not None and spread.value <= TOLERANCE < slope.value
        weights = sorted(self._own(module), key=lambda n: (self.plan[n].role is Role.VECTOR) is not by_bias)
        if not reached and abs(into) > abs(power) / 2:
            odd = [n for n in weights if self.causes.differs(n, *INIT)]
            if not odd:
                return Offender(
                    where=inner,
                    module=module,
                    what=what,
                    slope=slope,
                    cause=f"what reaches it goes like n^{into:+.2f} already, though the modules before it are as "
                    "expected: the model's own code multiplies by a power of its width where the plan does not see it",
                )
        for name in sorted(weights, key=lambda n: not self.causes.differs(n, *INIT)):
            return Offender(where=name, module=module, what=what, slope=slope, cause=self.causes.of(name, INIT, power))
        return Offender(where=inner, module=module, what=what, slope=slope, cause="no parameter of the plan is its own")

    def _into(self, module: str) -> float:
        """How what reaches a module goes with width before training; an update is as much fainter."""
        inputs = self.init.get(Quantity.INPUT, {})
        return inputs[module].value if module in inputs else 0.0

    def _as_planned(self, module: str) -> bool:
        """Whether nothing is known against the factors of a module's own parameters."""
        return not any(self.causes.differs(name, *INIT) for name in self._own(module))

    def _has_several_matrices(self, module: str) -> bool:
        return sum(len(self.plan.shapes[name]) > 1 for name in self._own(module)) > 1

    def _init_power(self, module: str) -> float:
        """The power by which factors of a module's own matrices depart from the inferred plan's, if by any."""
        powers = [self.causes.init_power(name) for name in self._own(module) if len(self.plan.shapes[name]) > 1]
        most = max(powers, key=abs, default=0.0)
        return most if abs(most) > STEP_TOLERANCE else 0.0

    def is_suspect(self, module: str) -> bool:
        """Whether any factor of a module's own parameters is known to be another than it should be."""
        return any(self.causes.differs(name, *TITLES) for name in self._own(module))

    def reads_out(self, module: str) -> bool:
        """Whether a module's output is the readout's."""
        return self.expected.handed_on.get(module, module) in self.expected.readouts

    def _own(self, module: str) -> list[str]:
        """The parameters that decide a module's output."""
        inner = self.expected.handed_on.get(module, module)
        return [name for name in self.plan if owner(name) == inner]

    def _updates(self, at_init: list[Offender]) -> Iterator[Offender]:
        sgd = rules.family(self.plan.optimizer) is Family.SGD
        if sgd and at_init:
            return  # gradients follow from what is off at initialisation
        order = list(self.init.get(Quantity.SIZE, {}))
        blamed = [order.index(o.module) for o in at_init if o.module in order]
        judged = set(order[: min(blamed)] if blamed else order)  # those that a wrong size reaches say nothing
        for name, slope in self.first.get(Quantity.UPDATE, {}).items():
            if name not in self.plan or owner(name) not in judged:  # a tied tensor is judged where its name says
                continue
            if owner(name) in self.factored and not self.causes.differs(name, *UPDATE):
                continue
            expected = self.expected.update(name)
            suspect = self.causes.differs(name, *UPDATE)
            early = self.early[sgd] if sgd or not suspect else 0.0
            early = max(
                early, 0.0 if suspect else -self._into(owner(name)), 0.0 if sgd else self.unaligned.get(name, 0.0)
            )
            low, high = (float("-inf"), 0.0) if expected is None else (expected - early, max(expected, self.bounded))
            power = excess(slope, low, high, self.slack * UPDATE_TOLERANCE, suspect=suspect)
            if sgd and (not power or owner(name) in self.routed):
                # Too faint by less than what a right update may start with, or a slope of shares: the factors tell.
                power = self.causes.step_power(name)
            if abs(power) > STEP_TOLERANCE:
                what, cause = "what its update does after one step", self.causes.of(name, UPDATE, power)
                yield Offender(where=name, module=owner(name), what=what, slope=slope, cause=cause)

    def _eps(self) -> Iterator[Offender]:
        if rules.family(self.plan.optimizer) is not Family.ADAM or self.expected.regime is None:
            return
        for name, slope in self.first.get(Quantity.EPS_OVER_GRADIENT, {}).items():
            if slope.low > self.eps_growth or (slope.low > EPS_TOLERANCE and self.causes.eps_differs(name)):
                if self.plan.scale_eps:
                    cause = self.causes.of(name, ("eps_mult",), slope.value)
                else:
                    cause = "eps is not scaled (scale_eps=False): wide enough, it outweighs the gradient"
                yield Offender(where=name, module=owner(name), what="eps over its gradient", slope=slope, cause=cause)

    def _attention(self, blamed: set[str]) -> Iterator[Offender]:
        if self.expected.regime is None:
            return
        start, late = self.init.get(Quantity.LOGITS, {}), self.last.get(Quantity.LOGITS, {})
        for path, slope in late.items():
            if path not in self.attention:
                continue
            right = self.attention[path]
            if any(module.startswith(path) for module in blamed):
                continue  # logits of queries or keys of a wrong size
            cause = self.causes.site(path, SiteKind.ATTENTION_LOGITS, "their multiplier")
            suspect = cause is not None and self.causes.right is not None
            if path in start:
                slope = start[path]
                power = excess(slope, right, right, self.slack * self.logit_tolerance, suspect=suspect)
            else:  # queries that start at 0: later, products of what has aligned, as large as the change of both
                grown = max(right, right + 0.5 + self.expected.regime.change[1])
                power = excess(slope, float("-inf"), grown, self.slack * UPDATE_TOLERANCE, suspect=suspect)
            if power:
                twice = "they are scaled more than once" if power < 0 else "they are not scaled by 1/head_size"
                where = f"attention logits of {path or 'the model'}"
                what = f"their size {'at initialisation' if path in start else 'in training'}"
                yield Offender(where=where, module="", what=what, slope=slope, cause=cause or twice)


def late_offenders(unexpected: Iterable[tuple[str, str, int, Slope]], causes: Causes) -> Iterator[Offender]:
    """Factors that differ from the inferred ones, of modules that are off later though nothing was at first.

    ``unexpected``: modules, with the quantity that is off, the step and its slope.
    """
    blamed: set[str] = set()
    for module, quantity, step, slope in unexpected:
        for name in causes.plan:
            if owner(name) == module and name not in blamed and causes.differs(name, *TITLES):
                blamed.add(name)
                what = f"{quantity} of its module's output after step {step}"
                cause = causes.of(name, tuple(TITLES), slope.value)
                yield Offender(where=name, module=module, what=what, slope=slope, cause=cause)
