"""Other transferred hyperparameters, each moved on its own."""

from __future__ import annotations

from typing import Any

from mutransfer.intervals import Interval
from mutransfer.report.numbers import bounds, loss_change
from mutransfer.report.section import Section
from mutransfer.transfer.search.space import Value
from mutransfer.transfer.verification.result import Verification
from mutransfer.transfer.verification.sensitivity import Sensitivity


def sensitivity_section(verification: Verification) -> Section:
    """A row per perturbed hyperparameter and width."""
    perturbed = verification.sensitivity
    rows = [
        {
            "hyperparameter": f"{name} = {_value(s.value)}",
            "width": str(key),
            "loss against the transferred value": "; ".join(
                f"{_value(x)}: {_change(gain)}" for x, gain in s.gain[key].items()
            ),
            "regret": loss_change(regret),
            "finding": s.finding,
        }
        for name, s in perturbed.items()
        for key, regret in s.regret.items()
    ]
    return Section(
        notes=("Other transferred hyperparameters, each moved one step with the rest held:",) if rows else (),
        table=rows,
        data={"sensitivity": {name: _data(s) for name, s in perturbed.items()}},
    )


def _data(s: Sensitivity) -> dict[str, Any]:
    return {
        "value": s.value,
        "finding": s.finding,
        "regret_log_loss": {str(key): bounds(regret) for key, regret in s.regret.items()},
        "gain_log_loss": {
            str(key): {str(x): bounds(gain) for x, gain in gains.items()} for key, gains in s.gain.items()
        },
    }


def _value(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _change(gain: Interval) -> str:
    """The change of the loss where log loss gains that much."""
    return loss_change(Interval(value=-gain.value, low=-gain.high, high=-gain.low))
