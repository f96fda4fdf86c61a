"""The mutation score's own machinery: broken plans are seen and named, right ones pass, mup's criterion is mup's."""

import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments" / "mutation-score"
WIDTHS = (64, 128, 512)


@pytest.fixture(scope="module", autouse=True)
def folder():
    """The experiment's modules import each other by plain names, as scripts do."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in ("tasks", "settings", "mutations", "studies", "checks", "scoring"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def check():
    from checks import coordinates

    def do(case):
        return coordinates(case.setting, lambda w: case.change(case.setting.plan(w), case.setting), range(3), WIDTHS)

    return do


def mutation(name):
    from mutations import MUTATIONS

    return next(m for m in MUTATIONS if m.name == name)


@pytest.mark.parametrize(
    "name", ["hidden rate unscaled", "readout multiplier missing", "input rate unscaled under SGD", "decay unscaled"]
)
def test_a_broken_plan_is_detected_and_named(check, name):
    from dataclasses import asdict

    from scoring import named

    found = check(mutation(name))
    assert found.alarm
    assert named(mutation(name), asdict(found))


@pytest.mark.parametrize(("optimizer", "parameterization"), [("adam", "mup"), ("sgd", "ntk")])
def test_a_right_plan_passes(check, optimizer, parameterization):
    from settings import Setting
    from studies import Study

    found = check(Study(Setting("digits", optimizer, parameterization)))
    assert not found.alarm, found.says


def test_every_mutation_changes_plans_beyond_the_base_and_none_at_it():
    from mutations import MUTATIONS

    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS) >= 30
    for case in (m for m in MUTATIONS if "digits" in m.setting.task_name):
        base, wide = (case.setting.plan(w) for w in (case.setting.base, 256))
        assert case.change(wide, case.setting) != wide, case.name
        if case.name != "wrong base width":
            assert factors(case.change(base, case.setting)) == factors(base), case.name


def factors(plan):
    names = ("init_mult", "forward_mult", "lr_mult", "wd_mult", "eps_mult")
    return {n: [getattr(s, f) for f in names] for n, s in plan.items()}, {p: s.factor for p, s in plan.sites.items()}


def test_a_name_counts_only_where_nothing_innocent_is_blamed():
    from scoring import named

    case = mutation("hidden rate unscaled")
    right = {"where": "3.weight", "words": "its learning rate is not scaled"}
    assert named(case, {"blames": [right]})
    assert not named(case, {"blames": [right, {"where": "7.weight", "words": "its learning rate"}]})
    assert not named(case, {"blames": [right | {"words": "its initialisation"}]})
    assert not named(case, {"blames": []})


def test_mups_criterion_measures_what_mups_own_module_does():
    pytest.importorskip("pandas")
    from checks import _sizes
    from mup.coord_check import _get_coord_data
    from settings import Setting

    import mutransfer as mt
    from mutransfer.parameterization.model.factory import build_at
    from mutransfer.random_state import seed_everything
    from mutransfer.training.task import PROBE_SEED

    setting, width = Setting("digits", "sgd"), 128
    plan = setting.plan(width)

    def model():
        seed_everything(0)
        made = mt.apply(build_at(setting.task.build, width), plan)
        torch.nn.init.zeros_(made[-1].weight)
        return made

    table = _get_coord_data(
        {width: model},
        [setting.task.batch(PROBE_SEED, 0)],
        lambda m: torch.optim.SGD(mt.param_groups(m, plan, lr=0.1)),
        cuda=False,
        show_progress=False,
    )
    final = table[(table.t == 3) & (table.module != "")]
    assert _sizes(setting, plan, width, 0) == pytest.approx(dict(zip(final.module, final.l1, strict=True)), rel=1e-5)
