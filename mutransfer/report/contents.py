"""The tables of contents: which sections a report has, in which order. A new section is a line here."""

from __future__ import annotations

from collections.abc import Callable

from mutransfer.report.finished_study import FinishedStudy
from mutransfer.report.section import Section
from mutransfer.report.sections.against_width import against_width_section
from mutransfer.report.sections.coordinates import coordinates_section
from mutransfer.report.sections.falsification.controls import controls_section
from mutransfer.report.sections.falsification.over_time import over_time_section
from mutransfer.report.sections.loss_curves import loss_curves_section
from mutransfer.report.sections.per_parameterization.features import features_section
from mutransfer.report.sections.per_parameterization.judgement import judgement_section
from mutransfer.report.sections.per_parameterization.notes import notes_section
from mutransfer.report.sections.per_parameterization.optimum_by_step import optimum_by_step_section
from mutransfer.report.sections.per_parameterization.sensitivity import sensitivity_section
from mutransfer.report.sections.per_parameterization.spending import spending_section
from mutransfer.report.sections.per_parameterization.tangent_kernel import tangent_kernel_section
from mutransfer.report.sections.per_parameterization.updates import updates_section
from mutransfer.report.sections.per_parameterization.widths import widths_section
from mutransfer.report.sections.plan import plan_section
from mutransfer.report.sections.reproduction import reproduction_section
from mutransfer.report.sections.verdict import verdict_section
from mutransfer.transfer.falsification.falsify import Falsification
from mutransfer.transfer.verification.result import Verification

StudySection = Callable[[FinishedStudy], Section | None]  # None: nothing to show and nothing for machines
VerificationSection = Callable[[Verification], Section | None]
FalsificationSection = Callable[[Falsification], Section | None]


def for_each_parameterization(*makers: VerificationSection) -> StudySection:
    """The makers' sections under a heading per parameterization, their data in its entry."""

    def section(study: FinishedStudy) -> Section:
        chapters, data = [], {}
        for name, verification in study.verifications.items():
            parts = tuple(part for make in makers if (part := make(verification)) is not None)
            chapters.append(Section(title=name, parts=parts))
            data[name] = {key: value for part in parts for key, value in part.data.items()}
        return Section(parts=tuple(chapters), data=data)

    return section


STUDY: tuple[StudySection, ...] = (
    verdict_section,
    loss_curves_section,
    against_width_section,
    for_each_parameterization(
        judgement_section,
        widths_section,
        features_section,
        tangent_kernel_section,
        updates_section,
        sensitivity_section,
        optimum_by_step_section,
        spending_section,
        notes_section,
    ),
    coordinates_section,
    plan_section,
    reproduction_section,
)

FALSIFICATION: tuple[FalsificationSection, ...] = (
    controls_section,
    over_time_section,
)
