"""Which tables train one function: by their exponents, and by training."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.wrapping.apply import parameterize
from mutransfer.theory import rules
from mutransfer.theory.equivalence import same_training
from mutransfer.theory.rules import OPTIMIZERS, TABLES, Family, Power, Role

from .models import losses, mlp, regression

MUPS = ("mup", "mup_t3", "mup_t9", "mf")
TORCH = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_of_the_built_in_tables_only_the_forms_of_mup_are_one_function(optimizer):
    same = {
        frozenset(pair)
        for pair in combinations(TABLES, 2)
        if same_training(*map(TABLES.get, pair), optimizer=optimizer)
    }
    assert same == {frozenset(pair) for pair in combinations(MUPS, 2)}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_the_same_function_as_itself_whatever_breaks_the_symmetry(name):
    table = TABLES[name]
    assert same_training(table, table, optimizer="adam", scale_eps=False, weight_decay=True, wd_policy="standard")


HALF = Power(fan_in=0.5)
EDITS = {
    "init": lambda row: replace(row, init=row.init * HALF),
    "forward": lambda row: replace(row, forward=row.forward * HALF),
    "constant": lambda row: replace(row, constant=row.constant * HALF),
    "eps": lambda row: replace(row, eps=row.eps * HALF),
    "lr": lambda row: replace(row, lr={**row.lr, Family.ADAM: row.lr[Family.ADAM] * HALF}),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("edit", EDITS)
def test_one_other_exponent_makes_another_function(role, edit):
    other = replace(rules.MUP, rows={**rules.MUP.rows, role: EDITS[edit](rules.MUP.rows[role])})
    assert not same_training(rules.MUP, other, optimizer="adamw")
    # What SGD does not read does not tell tables apart under it.
    assert same_training(rules.MUP, other, optimizer="sgd") == (edit in ("eps", "lr"))


def test_attention_and_an_init_that_is_left_alone_count():
    assert not same_training(rules.MUP, replace(rules.MUP, attention=0.5), optimizer="sgd")
    assert not same_training(rules.MUP, replace(rules.MUP, corrects_init=False), optimizer="sgd")


def test_beside_muon_the_rates_of_adam_count():
    rows = {**rules.MUP.rows, Role.INPUT: EDITS["lr"](rules.MUP.rows[Role.INPUT])}
    assert not same_training(rules.MUP, replace(rules.MUP, rows=rows), optimizer="muon")


# optimizer, its torch settings, whether eps is scaled, policy of decay: whether the forms are one function
SETTINGS = [
    ("sgd", {"weight_decay": 0.1}, True, "independent", True),
    ("sgd", {"weight_decay": 0.1}, False, "sqrt", True),
    ("sgd", {"weight_decay": 0.1}, True, "standard", False),
    ("adam", {"eps": 1e-2}, True, "independent", True),
    ("adam", {"eps": 1e-2}, False, "independent", False),
    ("adam", {"eps": 1e-2, "weight_decay": 0.3}, True, "independent", False),  # added to the gradient
    ("adamw", {"eps": 1e-2, "weight_decay": 0.3}, True, "independent", True),
    ("adamw", {"eps": 1e-2, "weight_decay": 0.3}, True, "sqrt", True),
    ("adamw", {"eps": 1e-2, "weight_decay": 0.3}, True, "standard", False),
    ("adamw", {"eps": 1e-2}, True, "standard", True),
]


@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("ignore:weight_decay=0.3 with optimizer 'adam' is added")
@pytest.mark.parametrize(("optimizer", "settings", "scale_eps", "wd_policy", "same"), SETTINGS)
def test_what_is_called_one_function_trains_to_the_same_losses_and_nothing_else_does(
    optimizer, settings, scale_eps, wd_policy, same
):
    def trained(table):
        torch.manual_seed(1)
        x, y = regression()
        model, plan = parameterize(
            mlp,
            width=64,
            base_width=4,
            parameterization=table,
            optimizer=optimizer,
            scale_eps=scale_eps,
            wd_policy=wd_policy,
            check=False,
        )
        groups = param_groups(model, plan, lr=0.01, **settings)
        return losses(model, TORCH[optimizer](groups), x, y, 6)

    def claimed(other):
        return same_training(
            rules.MUP,
            other,
            optimizer=optimizer,
            scale_eps=scale_eps,
            weight_decay="weight_decay" in settings,
            wd_policy=wd_policy,
        )

    reference = trained(rules.MUP)
    assert reference[-1] != reference[0]
    for name in MUPS[1:]:
        assert claimed(TABLES[name]) is same
    # mf moves every layer's multiplier, so it shows what breaks the symmetry
    assert (trained(rules.MF) == pytest.approx(reference, rel=1e-10)) is same
    if same:
        for name in ("mup_t3", "mup_t9"):
            assert trained(TABLES[name]) == pytest.approx(reference, rel=1e-10)
    assert not claimed(rules.NTK)
    assert trained(rules.NTK) != pytest.approx(reference, rel=1e-6)
