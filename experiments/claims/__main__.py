"""The table of all claims, written into README.md beside this file from the results in their folders.

python -m experiments.claims
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from experiments.claims.findings import VERDICTS
from experiments.pages import markdown, write_between

HERE = Path(__file__).resolve().parent
CLAIMS = (  # in the order of the page
    "kernel_concentrates",
    "linearised_model",
    "lazy_training",
    "gradient_descent_converges",
    "convolutional_kernel",
    "double_descent",
    "lazy_to_feature",
    "mean_field",
    "kernel_or_feature",
    "mu_transfer",
    "kernel_moves_early",
    "spectral_bias",
    "features_needed",
    "loose_statements",
    "every_parameterization_transfers",
)


def table() -> str:
    """How many findings hold, and one row per finding."""
    found = {claim: json.loads((HERE / claim / "results.json").read_text())["findings"] for claim in CLAIMS}
    counts = Counter(f["verdict"] for findings in found.values() for f in findings)
    rows = [
        [f"[{claim}]({claim}/README.md)", *(f[k] for k in ("statement", "published", "measured", "verdict"))]
        for claim, findings in found.items()
        for f in findings
    ]
    columns = ("claim", "statement", "published", "measured (90 % interval)", "verdict")
    return ", ".join(f"{counts[v]} {v}" for v in VERDICTS.values()) + ".\n\n" + markdown(columns, rows)


if __name__ == "__main__":
    write_between(HERE / "README.md", "findings", table())
