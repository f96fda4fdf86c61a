"""The checks that a plan goes through: on small models, coordinates, movement, the verifier, and mup's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

import mutransfer as mt
from experiments.mutation_score.settings import Setting
from mutransfer.parameterization.judging.measure_plan import measure_plan
from mutransfer.parameterization.judging.offenders import UPDATE_TOLERANCE, excess
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.factory import build_at
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.examples import observe
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.theory import regimes, rules
from mutransfer.theory.rules import Role
from mutransfer.training.optimizers.make import make_optimizer
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import PROBE_SEED
from mutransfer.training.task_plan import task_example
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.runs.runner import Runner
from mutransfer.transfer.search.sweep import Sweep, at_lr, sweep
from mutransfer.transfer.verification.during_training import over_training
from mutransfer.transfer.verification.feature_movement import feature_change, overall_slope
from mutransfer.transfer.verification.result import judge
from mutransfer.transfer.verification.verdict import Movement, Verdict, judge_movement
from mutransfer.widths import beyond_base

PlanOf = Callable[[int], Plan]
MUP_RATIO, MUP_STEPS = 1.2, 3  # of mup's own test (mup/test/__main__.py, CoordCheckCase)
REACH = 3  # octaves of the grid on each side of the transferred learning rate


@dataclass(frozen=True)
class Blame:
    """What a check said: whom it blames, causes first, and in which words."""

    where: str
    words: str
    measured: bool = True  # False: read from the plan


@dataclass(frozen=True)
class Found:
    """Whether a check raised an alarm, and whom it blamed."""

    alarm: bool
    blames: tuple[Blame, ...] = ()
    says: str = ""


def coordinates(setting: Setting, plan_of: PlanOf, seeds: Sequence[int], widths: Sequence[int] | None = None) -> Found:
    """The coordinate check with the library's own settings: 5 steps, three seeds, four widths over a ratio of 8."""
    found = mt.coordinate_check(
        setting.task,
        widths=widths or setting.widths,
        base_width=setting.base,
        plan=plan_of,
        parameterization=setting.parameterization,
        seeds=seeds,
        device="cpu",
    )
    blames = tuple(Blame(o.where, f"{o.what}: {o.cause}", o.slope is not None) for o in found.offenders)
    return Found(not found.passed, blames, "; ".join(found.failures)[:400])


def unaided(setting: Setting, plan_of: PlanOf, seeds: Sequence[int]) -> Found:
    """The coordinate check with no inferred plan to compare with: what measurement alone tells."""
    with patch("mutransfer.transfer.coordinates.checked_plans.reference", lambda *_: None):
        return coordinates(setting, plan_of, seeds)


def handed_over(setting: Setting, plan_of: PlanOf) -> Found:
    """What the measurement before a plan is handed over finds of the largest width's, which it refuses for it."""
    task, builds = setting.task, Builds(setting.task.build, base=setting.base, target=setting.widths[-1])
    traces = observe(builds, task_example(task))
    found = measure_plan(builds, plan_of(setting.widths[-1]), rules.parameterization(setting.parameterization), traces)
    blames = tuple(Blame(o.where, f"{o.what}: {o.cause}") for o in found.offenders)
    return Found(bool(blames), blames, str(found)[:400])


class OtherPlans(Runner):
    """Does runs with plans of its own."""

    def __init__(self, setting: Setting, plan_of: PlanOf, record: Record) -> None:
        super().__init__(setting.task, record=record, device="cpu")
        self.setting, self.plan_of = setting, plan_of

    def plan(self, spec: RunSpec) -> Plan:
        width = int(str(spec.width))
        if width == self.setting.base:
            return self.setting.plan(width)
        return replace(self.plan_of(width), base_width=self.setting.base)  # the record knows runs by it


def base_sweep(setting: Setting, seeds: Sequence[int]) -> tuple[Sweep, float]:
    """All runs at base width, where the model is the user's own, and the learning rate that is tuned there."""
    runner = OtherPlans(setting, setting.plan, Record())
    grid = [setting.centre + i for i in range(-REACH, REACH + 1)]
    found = sweep(runner, setting.spec(setting.base), grid, seeds, title=setting.name)
    best = found.optimum.log2_lr
    return found, min(found.results, key=lambda x: abs(x - best))


def movement(setting: Setting, plan_of: PlanOf, lr: float, seeds: Sequence[int]) -> Found:
    """Slopes of what moved during training at one learning rate, judged as a verification judges them.

    The alarm is the movement verdict. Blamed are modules whose effective update is off by more than the coordinate
    check's tolerance, which is made for a first step: after training, correct plans have such modules too.
    """
    runner = OtherPlans(setting, plan_of, Record())
    sweeps: dict[str | int, Sweep] = {}
    for width in setting.widths:
        template = setting.spec(width)
        specs = [replace(at_lr(template, lr, seed), watched=True) for seed in seeds]
        sweeps[width] = Sweep(
            template=template, seeds=tuple(seeds), results={lr: runner.perform(specs, f"movement {width}")}
        )
    plan = setting.plan(setting.widths[-1])
    table = rules.parameterization(setting.parameterization)
    regime = regimes.regime_of(plan, table)
    assert regime is not None  # no setting leaves the model's own initialisation as it is
    keys: list[str | int] = list(setting.widths)
    sizes = [float(w) for w in setting.widths]
    change = feature_change(sweeps, lr, plan)
    verdict, reason = judge_movement(
        overall_slope(change, beyond_base(keys, sizes, sizes[0]), sizes, keys, regime.change[1])
    )
    expected = Movement.LAZY if setting.parameterization == "ntk" else Movement.MOVES
    wrong = verdict in set(Movement) - {expected, Movement.UNCLEAR, Movement.UNKNOWN}
    moved = over_training(sweeps, lr, plan, regime, sizes).effective
    excesses = {
        module: by
        for module, s in moved.items()
        if s.predicted is not None and (by := excess(s, s.predicted, s.predicted, UPDATE_TOLERANCE))
    }
    order = sorted(excesses, key=lambda module: -abs(excesses[module]))
    blames = tuple(Blame(module, f"effective update goes like n^{moved[module]}") for module in order)
    return Found(wrong, blames, f"{verdict}: {reason}")


def verifier(setting: Setting, plan_of: PlanOf, base: tuple[Sweep, float], seeds: Sequence[int]) -> Found:
    """The verdict from base and largest width."""
    at_base, lr = base
    width = setting.widths[-1]
    runner = OtherPlans(setting, plan_of, Record())
    grid = [lr + i for i in range(1 - REACH, REACH)]  # it is extended where that does not do
    wide = sweep(runner, setting.spec(width), grid, seeds, title=setting.name, also=[lr])
    table = rules.parameterization(setting.parameterization)
    found = judge(table, {setting.base: at_base, width: wide}, lr, setting.plan(width))
    return Found(found.verdict in (Verdict.DRIFTS, Verdict.UNSTABLE), (), f"{found.verdict}: {found.reason}"[:300])


def of_mup(setting: Setting, plan_of: PlanOf, seeds: Sequence[int]) -> Found:
    """What mup's own check would say: sizes of activations at the last of three steps, within 1.2 at 4 times the width.

    As in its test: the mean absolute value of every module's output, one batch throughout, the readout's weight zero at
    first (as mup advises; not of tied embeddings), two widths of which one is 4 times the other: half and twice the
    largest of the other checks.
    """
    sizes: list[dict[str, float]] = []
    for width in (setting.widths[-1] // 2, 2 * setting.widths[-1]):
        per_seed = [_sizes(setting, plan_of(width), width, seed) for seed in seeds]
        sizes.append({m: sum(found[m] for found in per_seed) / len(seeds) for m in per_seed[0]})
    ratios = {m: sizes[1][m] / sizes[0][m] for m in sizes[0] if sizes[0][m] > 0}
    off_by = {m: r for m, r in ratios.items() if not 1 / MUP_RATIO < r < MUP_RATIO}
    blames = tuple(Blame(m, f"size changes by {r:.2f}") for m, r in off_by.items())
    return Found(bool(off_by), blames, f"{len(off_by)} of {len(ratios)} modules")


def _sizes(setting: Setting, plan: Plan, width: int, seed: int) -> dict[str, float]:
    task = setting.task
    with preserved_random_state():
        seed_everything(seed)
        model = mt.apply(build_at(task.build, width), plan)
        for name, parameter in model.named_parameters():
            if name in plan and setting.plan(width)[name].role is Role.OUTPUT:
                nn.init.zeros_(parameter)
        spec = setting.spec(width)
        lr = 0.1 if setting.optimizer == "sgd" else 2.0**-8
        optimizer = make_optimizer(model, plan, replace(spec, hyperparameters={**spec.hyperparameters, "lr": lr}))
        batch, found = task.batch(PROBE_SEED, 0), {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, args: Any, output: Tensor) -> None:
                found[name] = float(output.detach().abs().mean())

            return hook

        for name, module in model.named_modules():
            if name:
                module.register_forward_hook(keep(name))
        for _ in range(MUP_STEPS):
            loss = task.loss(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return found
