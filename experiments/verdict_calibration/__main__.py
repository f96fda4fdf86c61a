"""How often the verdict's intervals hold the truth and its verdicts are right, on studies drawn from known laws.

    OMP_NUM_THREADS=1 python -m experiments.verdict_calibration [--studies 2016] [--seeds 3,4,5,10]
        [--families written-last] [--processes 2]

Writes results/synthetic.json and, of all families, the page's table; --table writes that again from the results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

from experiments.pages import write_between
from experiments.verdict_calibration.families import FAMILIES, GROUPS
from experiments.verdict_calibration.synthetic import study
from experiments.verdict_calibration.table import PAGE, RESULTS, summary, table

OUT = RESULTS / "synthetic.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2016, help="in all, spread over families and numbers of seeds")
    parser.add_argument("--seeds", default="3,4,5,10")
    parser.add_argument("--families", default="all", help="all, tuned-on, looked-at, written-last, or names")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="the page's table again, from the results on disk")
    options = parser.parse_args()
    found = json.loads(OUT.read_text()) if options.table else measured(options)
    print(table(found))
    if options.table or (options.out == OUT and options.families == "all"):
        write_between(PAGE, "synthetic", table(found))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Rates over the studies asked for, written to the file asked for."""
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
    return found


if __name__ == "__main__":
    main()
