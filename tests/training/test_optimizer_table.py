"""Every row of the optimizer table: what holds for one optimizer of a study holds for all."""

import math
from dataclasses import replace

import pytest
import torch

from mutransfer.config.schema import StudyConfig
from mutransfer.errors import ConfigError
from mutransfer.parameterization.wrapping.apply import parameterize
from mutransfer.study.folder import Folder
from mutransfer.study.workflow import Workflow
from mutransfer.theory import rules
from mutransfer.training.optimizers.make import make_optimizer
from mutransfer.training.optimizers.table import OPTIMIZER_RULES, optimizer_rule
from mutransfer.training.run import run
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.transfer.coordinates.check import coordinate_check
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.search.tune import tune

from .tiny import BASE, Tiny, tiny_spec
from .together import assert_same, both

every_row = pytest.mark.parametrize("rule", OPTIMIZER_RULES.values(), ids=OPTIMIZER_RULES)


def tuned(rule):
    """Each of its own hyperparameters nearer to 0, or away from it, and some decay where it has any."""
    own = {name: 0.8 * value if value else 0.5 for name, value in rule.defaults.items()}
    own |= {"eps": 1e-3} if "eps" in own else {}
    return own | ({"weight_decay": 0.03} if rule.decays else {})


@every_row
@pytest.mark.parametrize("name", ["mup", "ntk"])
def test_trained_alone_is_trained_stacked(rule, name, float64):
    own = tuned(rule)
    middle = 2.0 ** (sum(rule.log2_lrs) / 2)
    specs = [
        tiny_spec(
            optimizer=rule.name,
            hyperparameters={"lr": middle * factor, **h},
            parameterization=name,
            width=4 * BASE,
            seed=seed,
            schedule="cosine",
        )
        for seed, factor, h in [(0, 1, {}), (5, 1, own), (5, 2, own), (0, 1, {**own, "lr_mult_hidden": 2.0})]
    ]
    together, alone = both(specs, Tiny())
    assert_same(together, alone)
    assert len({result.final_loss for result in together}) == len(specs)


@every_row
def test_forms_agree(rule, float64):
    spec = tiny_spec(
        optimizer=rule.name, hyperparameters={"lr": 2.0 ** rule.log2_lrs[0], **tuned(rule)}, width=4 * BASE
    )
    forward, absorbed = (run(replace(spec, form=form), Tiny()) for form in list(rules.Form))
    assert forward.train_curve == pytest.approx(absorbed.train_curve, rel=1e-9)
    assert forward.final_loss < forward.initial_loss


@every_row
def test_the_coordinate_check_is_flat_on_a_small_mlp(rule):
    check = coordinate_check(
        DigitsMLP(hidden_layers=1), widths=[64, 128, 256, 512], optimizer=rule.name, steps=3, seeds=2, device="cpu"
    )
    assert check.passed, check.failures
    changed = [slopes["change"] for slopes in check.slopes.values() if "change" in slopes]
    assert changed
    assert all(slope.predicted == 0.0 for slope in changed)


@every_row
def test_a_run_is_repeated_to_the_same_result(rule):
    spec = tiny_spec(optimizer=rule.name, hyperparameters={"lr": rule.check_lr, **tuned(rule)})
    first, second = (replace(run(spec, Tiny()), seconds=0.0) for _ in range(2))
    assert repr(first) == repr(second)


@every_row
def test_a_search_goes_on_from_its_record(rule):
    low, _ = rule.log2_lrs
    record = Record()
    search = {"base_width": BASE, "space": {"lr": (2.0**low, 2.0 ** (low + 2))}, "seeds": 2, "steps": 3}
    search |= {"optimizer": rule.name, "record": record, "device": "cpu"}
    first = tune(Tiny(), **search)
    runs = len(record)
    assert runs
    assert tune(Tiny(), **search).best == first.best
    assert len(record) == runs


@every_row
def test_a_study_names_it_in_its_config(rule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = StudyConfig.model_validate(
        {
            "task": "digits-mlp",
            "args": {"hidden_layers": 1, "batch_size": 32, "n_train": 256},
            "optimizer": rule.name,
            "base_width": 8,
            "widths": [16],
            "seeds": 2,
            "space": {"lr": {"log2": list(rule.log2_lrs), "spacing": 4}},
            "training": {"steps": 2},
            "coordinates": {"steps": 1, "seeds": 1},
            "device": "cpu",
        }
    )
    study = Workflow(config, Folder(tmp_path / "run"))
    found = study.verify(study.tune())
    assert set(found["mup"].optima) == {8, 16}
    assert f"with {rule.name} " in study.regime


@every_row
def test_an_unknown_hyperparameter_is_refused_and_the_allowed_ones_are_named(rule):
    with pytest.raises(ConfigError) as error:
        tiny_spec(optimizer=rule.name, hyperparameters={"lr": 0.1, "nu": 0.5})
    assert f"{rule.name} has no hyperparameter 'nu' here" in str(error.value)
    assert all(name in str(error.value) for name in rule.hyperparameters)


@every_row
def test_decay_that_cannot_transfer_is_refused(rule):
    given = {"lr": 0.01, "weight_decay": 0.1}
    assert rule.decays == (rule.name not in rules.COUPLED_DECAY)
    if rule.decays:
        assert tiny_spec(optimizer=rule.name, hyperparameters=given).hyperparameters == given
    else:
        with pytest.raises(ConfigError, match="use adamw"):
            tiny_spec(optimizer=rule.name, hyperparameters=given)


@every_row
def test_its_range_holds_the_rate_that_a_check_starts_from(rule):
    low, high = rule.log2_lrs
    assert low <= math.log2(rule.check_lr) <= high


@every_row
def test_it_is_the_theorys_optimizer_of_that_name(rule):
    assert optimizer_rule(rule.name) is rule
    assert rule.family is rules.OPTIMIZERS[rule.name]
    assert rule.defaults.get("eps") == rules.DEFAULT_EPS.get(rule.name)


@every_row
def test_what_is_not_given_is_the_default_of_the_optimizers_class(rule):
    spec = tiny_spec(optimizer=rule.name, hyperparameters={"lr": 0.01})
    model, plan = parameterize(Tiny().build, width=BASE, base_width=BASE, optimizer=rule.name, check=False)
    ours = make_optimizer(model, plan, spec)
    plain = type(ours)([torch.zeros(1)], lr=0.01)
    assert {k: v for k, v in ours.defaults.items() if k in ("betas", "momentum", "momentum_decay", "eps")} == {
        k: v for k, v in plain.defaults.items() if k in ("betas", "momentum", "momentum_decay", "eps")
    }


def test_an_optimizer_without_a_row_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer must be one of sgd, .*, found 'rmsprop'"):
        optimizer_rule("rmsprop")


def test_nadam_is_torchs_over_many_steps(float64):
    """The momenta are computed in blocks that double; the products of all before them are torch's running one."""
    lrs = (0.001, 0.004)
    specs = [
        tiny_spec(optimizer="nadam", hyperparameters={"lr": lr, "momentum_decay": 0.02 * i}, steps=70)
        for i, lr in enumerate(lrs, start=1)
    ]
    assert_same(*both(specs, Tiny()), rounding=1e-9)
