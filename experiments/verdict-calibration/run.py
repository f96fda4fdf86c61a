"""How often the verdict's intervals hold the truth and its verdicts are right, on studies drawn from known laws.

    OMP_NUM_THREADS=1 python experiments/verdict-calibration/run.py [--studies 2016] [--seeds 3,4,5,10]
        [--families written-last] [--processes 2]

Writes results/synthetic.json and prints its table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
from families import CEILING, FAMILIES, FINE, GROUPS, Seeds, draw
from simulate import DOUBLINGS, Truth, simulate
from table import summary, table

RESULTS = Path(__file__).parent / "results"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2016, help="in all, spread over families and numbers of seeds")
    parser.add_argument("--seeds", default="3,4,5,10")
    parser.add_argument("--families", default="all", help="all, tuned-on, looked-at, written-last, or names")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "synthetic.json")
    options = parser.parse_args()
    known = {"all": list(FAMILIES), **{name.replace(" ", "-"): list(group) for name, group in GROUPS.items()}}
    families = known.get(options.families) or options.families.split(",")
    counts = [int(n) for n in options.seeds.split(",")]
    each = -(-options.studies // (len(families) * len(counts)))
    tasks = [(family, n, i) for i in range(each) for family in families for n in counts]
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        studies = list(pool.imap(study, tasks, chunksize=4))
    found = {"studies": len(studies), "seconds": round(time.monotonic() - started), **summary(studies, GROUPS)}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
