"""One study whose runs are drawn from a law of a family, beside what is true of that law."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.verdict_calibration.families import draw
from experiments.verdict_calibration.laws import CEILING, FINE, Seeds
from experiments.verdict_calibration.simulate import DOUBLINGS, Truth, simulate

DRIFTS = (0.0, 0.0, 0.25, 0.5, 1.0)  # octaves per doubling; 0 as often as 0.5 and 1 together


def study(task: tuple[str, int, int]) -> dict[str, Any]:
    """One study: family, number of seeds, and which."""
    family, seeds, index = task
    rng = np.random.default_rng([index, seeds, *family.encode()])
    drift = DRIFTS[index % len(DRIFTS)]
    law = draw(family, rng, drift)
    drawn = Seeds(rng, seeds, DOUBLINGS + 1)
    truths = [Truth(law.centre(j) + FINE, law.expected(j)) for j in range(DOUBLINGS + 1)]
    found = simulate(
        lambda x, j: law.log_losses(x, j, drawn),
        truths,
        initial=float(np.exp(CEILING)),
        seeds=seeds,
        spacing=law.spacing,
        drift=drift,
    )
    return {"family": family, "seeds": seeds, "index": index, **found}
