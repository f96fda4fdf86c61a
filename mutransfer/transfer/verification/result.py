"""The result of a verification, and the verdict that its finished sweeps amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mutransfer.intervals import Interval, Slope
from mutransfer.parameterization.plan import Plan
from mutransfer.theory import regimes
from mutransfer.theory.regimes import Kind
from mutransfer.theory.rules import Parameterization
from mutransfer.transfer.curves.optimum import Optimum
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.transfer.verification.budget import Spending
from mutransfer.transfer.verification.during_training import OverTraining, over_training
from mutransfer.transfer.verification.evidence import Evidence, weigh
from mutransfer.transfer.verification.feature_movement import feature_change, module_slopes, overall_slope
from mutransfer.transfer.verification.optimum_by_step import OptimumCourse
from mutransfer.transfer.verification.sensitivity import Sensitivity
from mutransfer.transfer.verification.verdict import (
    Movement,
    Verdict,
    exit_code,
    headline,
    judge_movement,
    judge_transfer,
    sentence,
)
from mutransfer.widths import WidthKey, beyond_base, width_size


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict for one parameterization and everything behind it; keys of mappings are widths."""

    parameterization: str
    verdict: Verdict
    reason: str
    movement: Movement
    movement_reason: str
    optima: Mapping[WidthKey, Optimum]
    drift: Slope | None  # octaves per doubling
    regret: Mapping[WidthKey, Interval]  # log loss at the transferred learning rate minus the width's best
    tolerance: float  # regret that is called small, in log loss
    drift_tolerance: float  # drift that costs no more than that at the largest width
    transferred_log2_lr: float
    sweeps: Mapping[WidthKey, Sweep]
    features: Mapping[str, Slope]  # module -> slope of relative feature change
    feature_change: Mapping[str, Mapping[WidthKey, tuple[float, ...]]]  # module -> width -> per seed
    overall_features: Slope | None
    over_training: OverTraining  # kernel drift, alignment and refined coordinate check at the transferred rate
    sensitivity: Mapping[str, Sensitivity] = field(default_factory=dict)  # of other hyperparameters, by name
    spending: Spending | None = None  # of a sequential verification
    courses: Mapping[WidthKey, OptimumCourse] = field(default_factory=dict)  # at base and largest width
    notes: tuple[str, ...] = ()  # what a reader must know: other steps or batches than when tuning

    @property
    def headline(self) -> str:
        return headline(self.verdict, self.movement)

    @property
    def exit_code(self) -> int:
        return exit_code(self.verdict, self.movement)

    @property
    def sentence(self) -> str:
        keys = list(self.optima)
        return sentence(
            self.verdict,
            self.movement,
            parameterization=self.parameterization,
            base=str(keys[0]),
            largest=str(keys[-1]),
            drift=self.drift,
        )


def judge_sweeps(
    sweeps: Mapping[WidthKey, Sweep],
    sizes: Sequence[float],
    transferred: float,
    *,
    predicted_drift: float | None = None,
) -> tuple[Evidence, Verdict, str]:
    """Evidence, verdict and reason of finished sweeps, base width first and largest last.

    ``sizes``: one number per width.
    """
    keys = list(sweeps)
    largest = sweeps[keys[-1]]
    evidence = weigh(
        {key: s.curve for key, s in sweeps.items()},
        {key: s.ceiling for key, s in sweeps.items()},
        sizes,
        transferred,
        predicted_drift=predicted_drift,
    )
    verdict, reason = judge_transfer(
        regret={str(key): r for key, r in evidence.regret.items()},
        tolerance=evidence.tolerance,
        drift=evidence.drift,
        drift_tolerance=evidence.drift_tolerance,
        diverged={str(key): n for key, s in sweeps.items() if (n := s.diverged_at(transferred))},
        edges={str(key): o.at_edge for key, o in evidence.optima.items() if o.at_edge},
        base=str(keys[0]),
        seeds=len(largest.seeds),
        points=len(largest.results),
    )
    return evidence, verdict, reason


def judge(table: Parameterization, sweeps: Mapping[WidthKey, Sweep], transferred: float, plan: Plan) -> Verification:
    """The verification that finished sweeps amount to, base width first and largest last; no run is made."""
    keys = list(sweeps)
    sizes = [width_size(s.template.width) for s in sweeps.values()]
    regime = regimes.regime_of(plan, table)
    predicted_drift = None
    if regime is not None:
        depth = regimes.depth_of([s.role for s in plan.values()])
        predicted_drift = regimes.drift(table, optimizer=plan.optimizer, depth=depth)
    # What is unstable is predicted for the first step alone; nothing is, for the end of training.
    change_law = regime.change if regime is not None and regime.kind in (Kind.KERNEL, Kind.FEATURE_LEARNING) else None
    evidence, verdict, reason = judge_sweeps(sweeps, sizes, transferred, predicted_drift=predicted_drift)
    too_large = [str(key) for key, s in sweeps.items() if s.out_of_memory_at(transferred)]
    if too_large and verdict is not Verdict.UNSTABLE:
        verdict, reason = Verdict.INCONCLUSIVE, f"the memory does not hold width {', '.join(too_large)}"
    change = feature_change(sweeps, transferred, plan)
    features = module_slopes(change, dict(zip(keys, sizes, strict=True)), plan, change_law)
    fitted = beyond_base(keys, sizes, sizes[0])
    overall = overall_slope(change, fitted, sizes, keys, None if change_law is None else change_law[1])
    movement, movement_reason = judge_movement(overall)
    return Verification(
        parameterization=table.name,
        verdict=verdict,
        reason=reason,
        movement=movement,
        movement_reason=movement_reason,
        optima=evidence.optima,
        drift=evidence.drift,
        regret=evidence.regret,
        tolerance=evidence.tolerance,
        drift_tolerance=evidence.drift_tolerance,
        transferred_log2_lr=transferred,
        sweeps=sweeps,
        features=features,
        feature_change=change,
        overall_features=overall,
        over_training=over_training(sweeps, transferred, plan, regime, sizes),
    )
