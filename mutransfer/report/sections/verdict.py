"""The verdict that leads the report, and all parameterizations side by side."""

from __future__ import annotations

from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Banner, Section, Tone

TONES: dict[int, Tone] = {0: "good", 1: "bad"}  # by exit code


def verdict_section(study: FinishedStudy) -> Section:
    """The banner, a row per parameterization, and what was tuned."""
    main = study.main
    rows = [
        {
            "parameterization": f"{name} ({'control' if i else 'under study'})",
            "verdict": str(v.verdict),
            "features": str(v.movement),
            "optimum, octaves per doubling": "-" if v.drift is None else str(v.drift),
            "feature change, power of width": "-" if v.overall_features is None else str(v.overall_features),
        }
        for i, (name, v) in enumerate(study.verifications.items())
    ]
    tuned = f"Tuned at width {next(iter(main.optima))}: {study.tuned}. All intervals are 90 %."
    return Section(
        banner=Banner(
            headline=main.headline,
            sentence=main.sentence,
            reason=f"{main.reason}; {main.movement_reason}.",
            tone=TONES.get(main.exit_code, "open"),
        ),
        notes=study.notes,
        table=rows,
        parts=(Section(notes=(tuned,)),),
    )
