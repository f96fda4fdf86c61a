"""The mutation score's own machinery: broken plans are seen and named, right ones pass, mup's criterion is mup's."""

from dataclasses import asdict

import pytest
import torch

from experiments.mutation_score.changes import scaled
from experiments.mutation_score.checks import _sizes, coordinates, handed_over
from experiments.mutation_score.mutations import MUTATIONS
from experiments.mutation_score.scoring import named
from experiments.mutation_score.settings import Setting
from experiments.mutation_score.studies import Study

WIDTHS = (64, 128, 512)


def check(case):
    return coordinates(case.setting, lambda w: case.change(case.setting.plan(w), case.setting), range(3), WIDTHS)


def mutation(name):
    return next(m for m in MUTATIONS if m.name == name)


@pytest.mark.parametrize(
    "name",
    [
        "hidden rate unscaled",
        "readout multiplier missing",
        "input rate unscaled under SGD",
        "decay unscaled",
        "router read as hidden",
        "GRU's recurrence rescaled twice",
    ],
)
def test_a_broken_plan_is_detected_and_named(name):
    found = check(mutation(name))
    assert found.alarm
    assert named(mutation(name), asdict(found))


@pytest.mark.parametrize(("optimizer", "parameterization"), [("adam", "mup"), ("sgd", "ntk")])
def test_a_right_plan_passes(optimizer, parameterization):
    found = check(Study(Setting("digits", optimizer, parameterization)))
    assert not found.alarm, found.says


def test_every_mutation_changes_plans_beyond_the_base_and_none_at_it():
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
    case = mutation("hidden rate unscaled")
    right = {"where": "3.weight", "words": "its learning rate is not scaled"}
    assert named(case, {"blames": [right]})
    assert not named(case, {"blames": [right, {"where": "7.weight", "words": "its learning rate"}]})
    assert not named(case, {"blames": [right | {"words": "its initialisation"}]})
    assert not named(case, {"blames": []})


def test_mups_criterion_measures_what_mups_own_module_does():
    pytest.importorskip("pandas")
    from mup.coord_check import _get_coord_data

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


def test_a_bias_that_grows_is_found_before_a_plan_is_handed_over_and_named():
    setting = Setting("recurrent digits")
    change = scaled("recur.bias", init_mult=lambda s: s.init_mult * s.m_out)
    found = handed_over(setting, lambda w: change(setting.plan(w), setting))
    assert [b.where for b in found.blames] == ["recur.bias"]
