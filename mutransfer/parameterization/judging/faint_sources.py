"""What starts fainter the wider the model though every factor is right, what it leaves behind it, and how that is told.

A bottleneck's output, cosines, and products that reach no softmax begin at n^-1/2, and catch up while training. What
they reach starts as faint; gradients that pass by two of them (values and keys) are fainter by both; a norm right
behind one makes its change the larger. None of that is a wrong factor.
"""

from __future__ import annotations

from collections.abc import Iterator

from mutransfer.intervals import Slope
from mutransfer.parameterization.judging.expected import roles_of
from mutransfer.parameterization.judging.judge import Judge
from mutransfer.parameterization.judging.offenders import (
    EARLY,
    EPS_GROWTH,
    TOLERANCE,
    UPDATE_TOLERANCE,
    Offender,
    excess,
    grouped_by_cause,
    sentence_for,
)
from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.model.names import owner
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.examples import Traces
from mutransfer.parameterization.tracing.logit_growth import is_bounded
from mutransfer.theory import rules
from mutransfer.theory.rules import Family, Role

FAINT = 0.5  # the power by which what a source makes starts fainter


def faint_sources(plan: Plan, traces: Traces) -> str:
    """The sources in words; empty where there is none."""
    pairs = [
        (base, target)
        for base, target in zip(traces.base.products, traces.target.products, strict=False)
        if base.size != target.size
    ]
    found = {
        "bottlenecks": any(s.role is Role.BOTTLENECK for s in plan.values()),
        "cosines": any(base.weighs is not None and is_bounded(base, target) for base, target in pairs),
        "products without a softmax": any(base.weighs is None for base, _ in pairs),
    }
    return " and ".join(source for source, there in found.items() if there)


def cosine_logits(traces: Traces) -> set[str]:
    """Attention whose logits are cosines, which start at n^-1/2 whatever the table."""
    pairs = zip(traces.base.products, traces.target.products, strict=False)
    return {base.weighs for base, target in pairs if base.weighs is not None and is_bounded(base, target)}


def faint_modules(judge: Judge) -> dict[str, Slope]:
    """Modules whose output starts fainter than at the end of training, readouts apart, and is not to blame for it."""
    blamed = {offender.module for offender in judge.offenders()}
    found = {}
    for module, slope in judge.init.get(Quantity.SIZE, {}).items():
        within = judge.expected.at_init(module)
        if within is None or module in blamed | judge.factored or judge.reads_out(module):
            continue
        if excess(slope, within[1], within[1], TOLERANCE) < 0:
            found[module] = slope
    return found


def faint_starts(judge: Judge, sources: str) -> Iterator[str]:
    """Sentences on what starts fainter by right: sizes, gradients beside eps, and what updates under SGD do."""
    behind = f"theory down to n^-{FAINT:g} at first, by {sources}; it catches up while training"
    twice = f"theory up to n^{2 * FAINT:g} too faint a gradient at first, by {sources}; it catches up while training"
    starts = [_limit(module, "its output at initialisation", s, behind) for module, s in faint_modules(judge).items()]
    blamed = {offender.where for offender in judge.offenders()}
    for name, slope in judge.first.get(Quantity.EPS_OVER_GRADIENT, {}).items():
        if slope.low > EPS_GROWTH and name not in blamed and rules.family(judge.plan.optimizer) is Family.ADAM:
            starts.append(_limit(name, "eps over its gradient", slope, twice))
    for name, slope in judge.first.get(Quantity.UPDATE, {}).items():
        expected = judge.expected.update(name) if name in judge.plan else None
        if expected is None or name in blamed or owner(name) in judge.factored:
            continue
        if excess(slope, expected - EARLY, float("inf"), UPDATE_TOLERANCE):
            starts.append(_limit(name, "what its update does after one step", slope, twice))
    return map(sentence_for, grouped_by_cause(starts))


def transient_changes(judge: Judge) -> dict[str, float]:
    """Modules behind a bottleneck, with the power up to which their change may grow while its output catches up.

    They move as the bottleneck does, which also where features freeze is free to; behind a norm of what starts faint,
    by as much more as that is fainter. Where a factor of a module's own is known to be wrong nothing is allowed.
    """
    regime = judge.expected.regime
    if regime is None or regime.bottleneck_change is None:
        return {}
    inputs, allowed, power, behind = judge.init.get(Quantity.INPUT, {}), {}, regime.bottleneck_change, False
    for module, slope in judge.init.get(Quantity.SIZE, {}).items():
        narrow = Role.BOTTLENECK in roles_of(judge.expected.handed_on.get(module, module), judge.plan)
        if behind and module in inputs and inputs[module].value < -UPDATE_TOLERANCE and slope.value > -TOLERANCE:
            power = regime.bottleneck_change + FAINT
        if behind and not judge.is_suspect(module):
            allowed[module] = power
        behind = behind or narrow
    return allowed


def _limit(where: str, what: str, slope: Slope, why: str) -> Offender:
    return Offender(where=where, module=where, what=what, slope=slope, cause=why)
