"""The result of a coordinate check: slopes, those that theory expects, and sentences on what does not scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mutransfer.intervals import Slope
from mutransfer.parameterization.judging.measured import Rows
from mutransfer.parameterization.judging.offenders import EARLY, TOLERANCE, Offender, grouped_by_cause, sentence_for
from mutransfer.parameterization.measuring.quantities import OF_MODULES, Quantity
from mutransfer.theory import rules
from mutransfer.theory.regimes import Kind, Regime
from mutransfer.theory.rules import Family
from mutransfer.widths import Width, WidthKey


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """Slopes against width per module and step, those that theory expects, and what does not scale.

    Quantities of a module's output on a fixed batch: "size"; its "change" since step 0, which is the sum of the
    "effective" update (W_t - W_0) x_t and of what was "propagated" to it, W_0 (x_t - x_0).
    """

    parameterization: str
    optimizer: str
    regime: Regime | None  # None: not predicted
    widths: tuple[Width, ...]
    steps: int
    slopes: Mapping[str, Mapping[str, Slope]]  # module -> quantity, after ``steps``
    by_step: Mapping[int, Mapping[str, Mapping[str, Slope]]]  # step -> module -> quantity; step 0: "size"
    updates: Mapping[str, Slope]  # parameter -> what its update alone does to its module's output after one step
    sizes: Mapping[str, Mapping[str, Rows]]  # module -> quantity -> width -> seed, after ``steps``
    at_init: Mapping[str, float]  # exponents of sizes before training, where training ends at others
    transient: Mapping[str, float]  # modules behind a bottleneck -> the power that their change may have at first
    factored: frozenset[str]  # modules whose output is multiplied by a factor that grows: not judged, what follows is
    diverged: tuple[WidthKey, ...]  # widths at which an activation was not finite
    offenders: tuple[Offender, ...]  # causes of what does not scale, first things first
    limits: tuple[str, ...] = ()  # sentences on what is off by right, with theory's exponent: no failures
    left_out: tuple[WidthKey, ...] = ()  # widths that the memory did not hold

    @property
    def failures(self) -> tuple[str, ...]:
        """Sentences on what does not scale as it should, causes first; empty where the check passes."""
        sentences = [f"activations are not finite at width {w}" for w in self.diverged]
        if self.regime is not None and self.regime.kind in (Kind.UNSTABLE, Kind.DEGENERATE, Kind.TRIVIAL):
            sentences.append(f"{self.parameterization} is {self.regime.kind} ({self.regime.binding})")
        sentences += map(sentence_for, grouped_by_cause(self.offenders))
        if symptoms := self.symptoms:
            sentences.append(("in consequence, " if self.offenders else "") + "; ".join(symptoms))
        return tuple(sentences)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the check does not say."""
        if not self.left_out:
            return ()
        which = ", ".join(map(str, self.left_out))
        return (f"the memory does not hold width {self.left_out[0]}: left out of the coordinate check is {which}",)

    @property
    def symptoms(self) -> tuple[str, ...]:
        """Modules whose size or change is off after the last step, and which grow too fast at an earlier one."""
        sentences = []
        for module, quantity, step, slope in self.unexpected():
            when = "" if step == self.steps else f" after step {step}"
            sentences.append(f"{quantity} of {module} goes like n^{slope}{when}")
        return tuple(sentences)

    def unexpected(self, *, transients: bool = True) -> Iterator[tuple[str, str, int, Slope]]:
        """The ``symptoms`` as module, quantity, step and slope; with ``transients`` less those that pass by right."""
        for module, quantities in self.slopes.items():
            for q in (Quantity.SIZE, Quantity.CHANGE):
                if q in quantities and self._off(module, quantities[q], transients=transients):
                    yield module, q, self.steps, quantities[q]
                    continue
                for step, modules in self.by_step.items():
                    slope = modules.get(module, {}).get(q)
                    if step and slope is not None and self._off(module, slope, growth=True, transients=transients):
                        yield module, q, step, slope
                        break

    def late_limits(self, sources: str) -> tuple[str, ...]:
        """Sentences on changes that grow behind ``sources``, by right, until what started faint has caught up."""
        failing = {(module, quantity) for module, quantity, _, _ in self.unexpected()}
        return tuple(
            f"{quantity} of {module} goes like n^{slope} after step {step}: theory up to n^{self.transient[module]:+g} "
            f"behind {sources}, until what started faint has caught up"
            for module, quantity, step, slope in self.unexpected(transients=False)
            if (module, quantity) not in failing
        )

    def _off(self, module: str, slope: Slope, *, growth: bool = False, transients: bool = True) -> bool:
        if module in self.factored:  # what is behind them is
            return False
        if slope.predicted is None:
            return slope.low > TOLERANCE
        # Logits start at their size at initialisation and only later move by the predicted power: in between
        # any slope from the one to the other is right.
        # So does a size where the change fades (the kernel regime) and is most of it at small width.
        changed = self.slopes[module].get(Quantity.CHANGE)
        fading = slope.predicted if changed is None or changed.predicted is None else changed.predicted
        floor = min(slope.predicted, self.at_init.get(module, slope.predicted), fading)
        if rules.family(self.optimizer) is Family.SGD:  # a gradient starts fainter, until what reads it has aligned
            floor -= EARLY
        most = max(slope.predicted, self.transient.get(module, slope.predicted) if transients else slope.predicted)
        return slope.low > most + TOLERANCE or (not growth and slope.high < floor - TOLERANCE)

    @property
    def passed(self) -> bool:
        """Whether every module scales as predicted and nothing grows without bound."""
        return not self.failures

    def table(self) -> str:
        """One line per module and step, as text, and below them the ``limits``."""
        rows = [["module", "step", *OF_MODULES]]
        for module in self.slopes:
            title = module
            for step, modules in self.by_step.items():
                if module in modules:
                    slopes = (str(modules[module].get(quantity, "-")) for quantity in OF_MODULES)
                    rows.append([title, str(step), *slopes])
                    title = ""  # once for all steps
        sizes = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(f"{c:{n}}" for c, n in zip(r, sizes, strict=True)).rstrip() for r in rows]
        return "\n".join([*lines, *(f"within its limits: {limit}" for limit in self.limits)])
