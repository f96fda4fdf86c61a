"""The plan beside a checkpoint: what is written is read back, what cannot be used is refused by name."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from mutransfer import Plan, Role, apply, attach, check_plan, load_plan, rules, save_plan
from mutransfer.errors import PlanError

from .models import mlp, regression, two_widths
from .survival import BASE, BUILDS, WIDTH, data, train, wrap

infer = partial(Plan.infer, width=WIDTH, base_width=BASE)


@pytest.mark.parametrize("which", BUILDS)
def test_weights_and_plan_in_one_folder_are_the_model(tmp_path, which):
    model, plan = wrap(BUILDS[which])
    x, y = data(which)
    train(model, plan, x, y)
    folder = tmp_path / "run" / "step-4"
    assert save_plan(plan, folder) == folder / "mutransfer_plan.json"
    torch.save(model.state_dict(), folder / "weights.pt")
    again = BUILDS[which](WIDTH)
    again.load_state_dict(torch.load(folder / "weights.pt"))
    attach(again, load_plan(folder))
    assert torch.equal(again(x), model(x))
    assert train(again, load_plan(folder), x, y) == train(model, plan, x, y)


def test_a_plan_over_several_widths_reads_back_equal(tmp_path):
    plan = Plan.infer(two_widths, width={"d_model": 8, "d_ff": 64}, base_width={"d_model": 8, "d_ff": 16}, check=False)
    save_plan(plan, tmp_path)
    assert load_plan(tmp_path) == plan
    check_plan(tmp_path, plan)


def test_a_trained_checkpoint_is_rescaled_neither_by_wrapping_first_nor_by_attaching(tmp_path):
    model, plan = wrap(mlp)
    x, y = regression()
    train(model, plan, x, y)
    before = [p.clone() for p in model.parameters()]
    save_plan(plan, tmp_path)
    plain = mlp(WIDTH)
    plain.load_state_dict(model.state_dict())
    with pytest.raises(PlanError, match=r"not as the factory draws it.*mutransfer\.attach\(model, plan\)"):
        apply(plain, load_plan(tmp_path))
    attach(plain, load_plan(tmp_path))
    wrapped, _ = wrap(mlp)
    wrapped.load_state_dict(model.state_dict())
    for again in (plain, wrapped):
        assert all(map(torch.equal, again.parameters(), before))
        assert torch.equal(again(x), model(x))


BROKEN = {
    "": "is not valid JSON",
    '{"format": 1, "plan"': "is not valid JSON",
    "[1]": "is not a plan of mutransfer: expected the keys 'format' and 'plan'",
    '{"scalings": {}}': "is not a plan of mutransfer",
    '{"format": 2, "plan": {}}': r"has format 2, and this version of mutransfer reads up to 1: upgrade it",
    '{"format": 1, "plan": {}}': r"mutransfer_plan\.json holds no plan that this version",
    '{"format": 1, "plan": []}': "holds no plan that this version",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text):
    (tmp_path / "mutransfer_plan.json").write_text(text)
    with pytest.raises(PlanError, match=BROKEN[text]):
        load_plan(tmp_path)


def test_a_plan_with_what_a_later_version_added_is_refused(tmp_path):
    path = save_plan(infer(mlp), tmp_path)
    data = json.loads(path.read_text())
    data["plan"]["scalings"]["0.weight"]["colour"] = "blue"
    path.write_text(json.dumps(data))
    with pytest.raises(PlanError, match=r"holds no plan that this version of mutransfer can read: .*colour"):
        load_plan(tmp_path)


def test_a_multiplier_that_a_later_version_added_is_refused(tmp_path):
    path = save_plan(infer(BUILDS["tied"], parameterization="mf"), tmp_path)
    data = json.loads(path.read_text())
    complaints = {"mechanism": "unknown mechanism 'telepathy'", "kind": 'expected one of .*, found "third eye"'}
    for field, text in {"mechanism": "telepathy", "kind": "third eye"}.items():
        site = data["plan"]["sites"]["head"]
        path.write_text(json.dumps(data | {"plan": data["plan"] | {"sites": {"head": site | {field: text}}}}))
        with pytest.raises(PlanError, match=rf"sites\.head\.{field}: .*{complaints[field]}"):
            load_plan(tmp_path)


def test_a_missing_file_says_how_it_is_written(tmp_path):
    (tmp_path / "weights.pt").touch()
    for where in (tmp_path, tmp_path / "nowhere", tmp_path / "weights.pt"):
        with pytest.raises(PlanError, match=r"no mutransfer_plan\.json in .*: write it beside the checkpoint"):
            load_plan(where)


OTHERS = {
    "parameterization": ({"parameterization": "ntk"}, "parameterization 'mup', here 'ntk'$"),
    "base width": ({"base_width": 16}, "base_width 8, here 16$"),
    "width": ({"width": 64}, "width 32, here 64$"),
    "form": ({"form": "absorbed"}, "form 'forward', here 'absorbed'$"),
    "optimizer": ({"optimizer": "sgd"}, "optimizer 'adamw', here 'sgd'$"),
    "two of them": ({"form": "absorbed", "base_width": 16}, "form .*; base_width 8, here 16$"),
    "eps": ({"scale_eps": False}, "scale_eps True, here False$"),
    "a role": ({"overrides": {"2.weight": Role.BOTTLENECK}}, r"scalings 2\.weight role .*HIDDEN.*, here .*BOTTLENECK"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_plan_is_refused_by_what_differs(tmp_path, what):
    choices, message = OTHERS[what]
    save_plan(infer(mlp), tmp_path)
    check_plan(tmp_path, infer(mlp))
    with pytest.raises(PlanError, match=f"was saved under another plan: {message}"):
        check_plan(tmp_path, infer(mlp, **choices))


def test_a_checkpoint_of_another_model_is_refused_by_its_parameters(tmp_path):
    save_plan(infer(mlp), tmp_path)
    with pytest.raises(PlanError, match=r"another plan: scalings 0\.bias only there; .*; shapes 4\.bias only there$"):
        check_plan(tmp_path, infer(partial(mlp, bias=False)))


def test_a_table_of_ones_own_of_the_same_name_is_told_by_its_factors(tmp_path):
    table = rules.parameterization("mup")
    rows = dict(table.rows)
    rows[Role.HIDDEN] = replace(rows[Role.HIDDEN], lr=rows[Role.INPUT].lr)
    save_plan(infer(mlp), tmp_path)
    with pytest.raises(PlanError, match=r"another plan: scalings 2\.weight lr_mult 0\.25, here 1\.0"):
        check_plan(tmp_path, infer(mlp, parameterization=replace(table, rows=rows)))


def test_wording_and_measured_sizes_make_no_other_plan(tmp_path):
    plan = infer(mlp)
    save_plan(plan, tmp_path)
    reworded = {name: replace(s, reason="because", lr_mult=s.lr_mult * (1 + 1e-15)) for name, s in plan.items()}
    remeasured = {name: rms * 1.001 for name, rms in plan.fresh_rms.items()}
    check_plan(tmp_path, replace(plan, scalings=reworded, fresh_rms=remeasured))
