"""Movement during training at the transferred learning rate: kernel, features and updates, against width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mutransfer.intervals import Slope, fit_slope
from mutransfer.measure.movement import Look
from mutransfer.parameterization.judging.expected import Expected, is_readout
from mutransfer.parameterization.measuring.quantities import Quantity
from mutransfer.parameterization.plan import Plan
from mutransfer.theory.regimes import Kind, Regime
from mutransfer.training.spec import Outcome, RunResult
from mutransfer.transfer.search.sweep import Sweep
from mutransfer.widths import WidthKey, beyond_base


@dataclass(frozen=True, kw_only=True)
class OverTraining:
    """Movement in runs that did not diverge; empty where none was watched or the model has no kernel. Keys are widths.

    The kernel is that of :class:`~mutransfer.measure.movement.KernelProbe`. Predicted are its relative drift's powers
    of width for smooth activations: 0 where features are learned and -1 in the kernel regime (theory's bound: -1/2;
    ReLU networks: -3/4 in the limit, see experiments/LOG.md).
    """

    kernel_drift: Mapping[WidthKey, tuple[float, ...]]  # per seed, after the last step
    kernel_slopes: Mapping[int, Slope]  # step -> slope of the kernel's relative drift
    target_alignment: Mapping[
        WidthKey, tuple[tuple[float, float], ...]
    ]  # per seed, before the first and after the last step
    effective: Mapping[str, Slope]  # module -> slope of (W_t - W_0) x_t after the last step
    propagated: Mapping[str, Slope]  # of W_0 (x_t - x_0)
    update_alignment: Mapping[str, Mapping[WidthKey, float]]  # module -> mean exponent of W_t - W_0 with x_t over seeds

    @property
    def kernel_slope(self) -> Slope | None:
        """The slope of the kernel's drift after the last step."""
        return self.kernel_slopes[max(self.kernel_slopes)] if self.kernel_slopes else None


def over_training(
    sweeps: Mapping[WidthKey, Sweep], transferred: float, plan: Plan, regime: Regime | None, sizes: Sequence[float]
) -> OverTraining:
    """The movement seen by the runs at the transferred learning rate; ``sizes``: one number per width, in order."""
    looks = {key: [r.looks for r in s.results[transferred] if _tells(r)] for key, s in sweeps.items()}
    looks = {key: rows for key, rows in looks.items() if rows}
    size_of = dict(zip(sweeps, sizes, strict=True))
    present = [size_of[key] for key in looks]
    keys = beyond_base(list(looks), present, present[0]) if looks else []

    def slope(of: Callable[[Look], float | None], at: int, predicted: float | None) -> Slope | None:
        values = {key: [x for row in looks[key] if (x := of(row[at])) is not None] for key in keys}
        fitted = [key for key in keys if values[key]]
        return fit_slope([size_of[key] for key in fitted], [values[key] for key in fitted], predicted=predicted)

    last = [row[-1] for rows in looks.values() for row in rows]
    modules = list(last[0].effective) if last else []
    readouts = frozenset(m for m in modules if is_readout(m, plan))
    expected = Expected(plan, regime, {m: m for m in modules}, readouts)
    steps = [look.step for look in next(iter(looks.values()))[0][1:]] if looks else []
    drift = {key: tuple(x for row in rows if (x := row[-1].kernel_drift) is not None) for key, rows in looks.items()}
    aligned = {
        key: tuple((row[0].target_alignment, row[-1].target_alignment) for row in rows) for key, rows in looks.items()
    }
    kernels = {step: slope(lambda x: x.kernel_drift, i + 1, _kernel_law(regime)) for i, step in enumerate(steps)}

    def parts(quantity: Quantity) -> dict[str, Slope]:
        slopes = {
            m: slope(lambda x, m=m: getattr(x, str(quantity)).get(m), -1, expected.of(m, quantity)) for m in modules
        }
        return {m: s for m, s in slopes.items() if s is not None}

    return OverTraining(
        kernel_drift={key: xs for key, xs in drift.items() if xs},
        kernel_slopes={step: s for step, s in kernels.items() if s is not None},
        target_alignment={
            key: measured
            for key, pairs in aligned.items()
            if (measured := tuple((a, b) for a, b in pairs if a is not None and b is not None))
        },
        effective=parts(Quantity.EFFECTIVE),
        propagated=parts(Quantity.PROPAGATED),
        update_alignment={m: rows for m in modules if (rows := _mean_alignment(looks, m))},
    )


def _tells(result: RunResult) -> bool:
    return result.outcome is Outcome.OK and len(result.looks) > 1


def _kernel_law(regime: Regime | None) -> float | None:
    if regime is None or regime.kind not in (Kind.KERNEL, Kind.FEATURE_LEARNING):
        return None
    return 2 * regime.change[1]


def _mean_alignment(looks: Mapping[WidthKey, Sequence[Sequence[Look]]], module: str) -> dict[WidthKey, float]:
    means = {key: fmean(row[-1].alignment.get(module, math.nan) for row in rows) for key, rows in looks.items()}
    return {key: x for key, x in means.items() if math.isfinite(x)}
