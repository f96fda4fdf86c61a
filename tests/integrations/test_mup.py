"""Interchange with mup: its files, its marked models, its groups; and where it is wrong, ours are right."""

import mup
import pytest
import torch
from torch import nn

from mutransfer import Plan, param_groups
from mutransfer.errors import PlanError
from mutransfer.integrations.mup import plan_from_base_shapes, plan_from_marked, write_base_shapes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mup")


def plain(width):
    return nn.Sequential(
        nn.Linear(6, width), nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(3 * width, 4)
    )  # fmt: skip


def marked(width):
    model = plain(width)
    model[3] = mup.MuReadout(3 * width, 4)
    return model


@pytest.fixture
def wide():
    torch.manual_seed(0)
    model = marked(32)
    mup.set_base_shapes(model, marked(8), delta=marked(16))
    return model


def rates(optimizer, model):
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }


@pytest.mark.parametrize(
    ("optimizer", "theirs", "plain_kind"),
    [
        ("sgd", mup.MuSGD, torch.optim.SGD),
        ("adam", mup.MuAdam, torch.optim.Adam),
        ("adamw", mup.MuAdamW, torch.optim.AdamW),
    ],
)
def test_a_marked_model_gets_the_groups_of_mups_own_optimizer(wide, optimizer, theirs, plain_kind):
    decay = 0.0 if optimizer == "adam" else 0.1
    plan = plan_from_marked(wide, optimizer=optimizer, scale_eps=False)
    ours = plain_kind(param_groups(wide, plan, lr=0.01, weight_decay=decay))
    expected = rates(theirs(wide.parameters(), lr=0.01, weight_decay=decay), wide)
    found = rates(ours, wide)
    assert found.keys() == expected.keys()
    for name, (lr, wd) in expected.items():
        assert found[name] == (pytest.approx(lr), pytest.approx(wd)), name
    assert len({lr for lr, _ in expected.values()}) > 1


def test_a_written_file_is_read_by_mup_as_its_own(tmp_path, wide):
    write_base_shapes(marked, 8, tmp_path / "ours.bsh")
    mup.make_base_shapes(marked(8), marked(16), savefile=str(tmp_path / "theirs.bsh"))
    assert (tmp_path / "ours.bsh").read_text() == (tmp_path / "theirs.bsh").read_text()
    model = marked(32)
    mup.set_base_shapes(model, str(tmp_path / "ours.bsh"))
    assert [p.infshape.width_mult() for p in model.parameters()] == [p.infshape.width_mult() for p in wide.parameters()]


def test_a_plain_model_gets_the_same_plan_from_a_file_as_from_its_factory(tmp_path):
    write_base_shapes(plain, 8, tmp_path / "base.bsh")
    plan = plan_from_base_shapes(plain(32), tmp_path / "base.bsh", optimizer="adam")
    inferred = Plan.infer(plain, width=32, base_width=8, optimizer="adam", check=False)
    for name, scaling in inferred.items():
        for field in ("role", "m_in", "m_out", "init_mult", "forward_mult", "lr_mult", "wd_mult", "eps_mult"):
            assert getattr(plan[name], field) == getattr(scaling, field), (name, field)


def test_a_file_for_another_model_is_refused(tmp_path):
    write_base_shapes(plain, 8, tmp_path / "base.bsh")
    with pytest.raises(PlanError, match="is for another model"):
        plan_from_base_shapes(nn.Sequential(nn.Linear(6, 32)), tmp_path / "base.bsh")


def test_an_unmarked_model_is_refused():
    with pytest.raises(PlanError, match="carries no infshape"):
        plan_from_marked(plain(32))


def test_main_idx_is_honoured_under_sgd_where_mups_own_ignores_it():
    def build(width, ff):
        model = nn.Module()
        model.weight = nn.Parameter(torch.zeros(width, ff))
        return model

    model = build(32, 16)  # fan_in grows by 4, fan_out by 1 1/3
    mup.set_base_shapes(model, build(8, 12), delta=build(16, 24), rescale_params=False)
    model.weight.infshape.main_idx, model.weight.infshape.main = 0, model.weight.infshape[0]
    ours = param_groups(model, plan_from_marked(model, optimizer="sgd"), lr=1.0)[0]["lr"]
    theirs = next(g["lr"] for g in mup.MuSGD(model.parameters(), lr=1.0).param_groups if g["params"])
    assert ours == pytest.approx((16 / 12) / (32 / 8))  # fan_out over fan_in
    assert theirs == pytest.approx((32 / 8) / (16 / 12))  # the defect that is not reproduced


def test_a_tensor_learning_rate_is_not_changed_where_mups_own_is(wide):
    lr = torch.tensor(0.01)
    param_groups(wide, plan_from_marked(wide, optimizer="adam"), lr=lr)
    assert lr.item() == pytest.approx(0.01)
    mup.MuAdam(wide.parameters(), lr=lr)
    assert lr.item() != pytest.approx(0.01)


def test_eps_is_scaled_unless_asked_not_to(wide):
    scaled = {g["eps"] for g in param_groups(wide, plan_from_marked(wide), lr=1.0)}
    unscaled = {g["eps"] for g in param_groups(wide, plan_from_marked(wide, scale_eps=False), lr=1.0)}
    assert unscaled == {1e-8}
    assert min(scaled) == pytest.approx(1e-8 / 4)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * 20_000, "is no base-shape file"),
        ("0.weight: [1, 2", "not valid YAML"),
        ("- 1", "expected a shape for every parameter"),
        ("", "expected a shape for every parameter"),
        ("0.weight: 3", r"0\.weight: expected a list of sizes and nulls, found int"),
        ("0.weight: [-3, null]", r"0\.weight\.0: expected a positive whole number or null, found -3"),
        ("0.weight: [null, .nan]", r"0\.weight\.1: expected a positive whole number or null, found nan"),
        ("0.weight: [yes]", r"0\.weight\.0: expected a positive whole number or null, found True"),
        ("0.weight: [[8]]", r"0\.weight\.0: expected a positive whole number or null, found list"),
        ("0.weight: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_a_file_that_holds_no_base_shapes_is_refused_by_name(tmp_path, text, complaint):
    (tmp_path / "model.bsh").write_text(text)
    with pytest.raises(PlanError, match=rf"model\.bsh.*{complaint}"):
        plan_from_base_shapes(plain(8), tmp_path / "model.bsh")
    with pytest.raises(PlanError, match="cannot be read"):
        plan_from_base_shapes(plain(8), tmp_path / "gone.bsh")
