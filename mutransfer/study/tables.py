"""The tables of a study: those that are trained, and those that are one function with another and are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mutransfer.config.schema import StudyConfig
from mutransfer.config.table import load_table
from mutransfer.parameterization.plan import Plan
from mutransfer.theory import regimes
from mutransfer.theory.equivalence import same_training
from mutransfer.theory.regimes import Kind
from mutransfer.theory.rules import Parameterization
from mutransfer.training.spec import DECAY


@dataclass(frozen=True)
class StudyTables:
    """The parameterization under study, then the controls, each function once."""

    trained: Mapping[str, Parameterization]  # by name, the one under study first
    same_as: Mapping[str, str]  # a table that is not trained: the one that is, and trains the same function

    @property
    def main(self) -> Parameterization:
        return next(iter(self.trained.values()))

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for every table that others stand beside without being run."""
        twins: dict[str, list[str]] = {}
        for name, twin in self.same_as.items():
            twins.setdefault(twin, []).append(name)
        return tuple(_note(name, others) for name, others in twins.items())


def study_tables(config: StudyConfig) -> StudyTables:
    """The tables that a config names, a user's own imported."""
    trained: dict[str, Parameterization] = {}
    same_as: dict[str, str] = {}
    decays = any(name in DECAY for name in (*config.fixed, *config.space))
    named = [(config.parameterization, "parameterization"), *((name, "compare") for name in config.compare)]
    for name, key in named:
        table = load_table(name, key)
        twin = next(
            (
                other.name
                for other in trained.values()
                if same_training(
                    other,
                    table,
                    optimizer=config.optimizer,
                    scale_eps=config.training.scale_eps,
                    weight_decay=decays,
                    wd_policy=config.training.wd_policy,
                )
            ),
            None,
        )
        if twin is None:
            trained[table.name] = table
        elif twin != table.name:
            same_as[table.name] = twin
    return StudyTables(trained, same_as)


def regime_text(table: Parameterization, plan: Plan) -> str:
    """What theory says of a planned model under ``table``, in two sentences."""
    regime = regimes.regime_of(plan, table)
    if regime is None:
        return f"{table.name}: {table.title}; its regime depends on the model's own initialisation."
    tolerated = regime.kind is Kind.UNSTABLE and regime.usable_with_cross_entropy
    return (
        f"{table.name}, {table.title}: {'strictly ' if tolerated else ''}{regime.kind} with {plan.optimizer} "
        f"({regime.binding}){', but usable with cross-entropy' if tolerated else ''}. As width n grows, "
        f"{regime.predictions}."
    )


def _note(trained: str, others: list[str]) -> str:
    *most, last = others
    listed = f"{', '.join(most)} and {last}" if most else last
    return (
        f"{listed} and {trained} train the same function: they differ by forward multipliers that init, learning rates "
        f"and eps make up for (Tensor Programs IV Eq. 5, IVb Eq. 2.5), so {listed} {'are' if most else 'is'} not run "
        f"again next to {trained}."
    )
