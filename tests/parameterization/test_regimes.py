"""The classifier of abc-parameterizations, against the list of theory and the published conflicts."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.theory import rules
from mutransfer.theory.regimes import Kind, classify, classify_table, drift, regime_of
from mutransfer.theory.rules import Power

HALF = 0.5
SP, NTK, MF = ((0, 0, 0), (0, HALF, HALF)), ((0, HALF, HALF), (0, 0, 0)), ((0, HALF, 1), (0, 0, 0))
T8, T3, T9 = ((0, 0, 1), (0, HALF, 0)), ((0, 0, 0), (0, HALF, 1)), ((-HALF, 0, HALF), (HALF, HALF, HALF))
FEATURE, KERNEL, UNSTABLE, TRIVIAL = Kind.FEATURE_LEARNING, Kind.KERNEL, Kind.UNSTABLE, Kind.TRIVIAL

ROLES = [rules.Role.INPUT, rules.Role.HIDDEN, rules.Role.OUTPUT]


@dataclass
class Planned:
    """What theory asks of a plan."""

    roles: list[rules.Role]
    optimizer: str = "adam"
    scale_eps: bool = True

    def values(self):
        return [SimpleNamespace(role=role) for role in self.roles]


KINDS = [  # (a, b), optimizer, c, kind
    (T8, "sgd", (-1, 0, -1), FEATURE),
    (T3, "sgd", (-1, 0, 1), FEATURE),
    (T9, "sgd", (0, 0, 0), FEATURE),
    (MF, "sgd", (-1, -1, -1), FEATURE),
    (T8, "adam", (0, 1, 0), FEATURE),
    (T3, "adam", (0, 1, 1), FEATURE),
    (T9, "adam", (HALF, 1, HALF), FEATURE),
    (MF, "adam", (0, HALF, 0), FEATURE),
    (NTK, "sgd", (0, 0, 0), KERNEL),
    (NTK, "adam", (HALF, 1, HALF), KERNEL),
    (SP, "sgd", (1, 1, 1), KERNEL),
    (SP, "sgd", (0, 1, 1), KERNEL),
    (SP, "adam", (HALF, 1.5, 1), KERNEL),
    (SP, "adam", (1.5, 1.5, 1.5), KERNEL),
    (NTK, "sgd", (1, 1, 1), TRIVIAL),
    (SP, "sgd", (2, 2, 2), TRIVIAL),
    # One learning rate at every width: what a plain model does.
    (SP, "sgd", (0, 0, 0), UNSTABLE),
    (SP, "adam", (0, 0, 0), UNSTABLE),
    # Everett et al., full alignment: maximal learning rates, but the propagated logits grow like n^1/2.
    (SP, "sgd", (-HALF, HALF, 1), UNSTABLE),
    (SP, "adam", (0, 1, 1), UNSTABLE),
    (NTK, "sgd", (-HALF, -HALF, 0), UNSTABLE),
    (NTK, "adam", (0, HALF, HALF), UNSTABLE),
    # Everett et al., no alignment.
    (SP, "sgd", (-HALF, 0, HALF), UNSTABLE),
    (SP, "adam", (0, HALF, HALF), UNSTABLE),
    (NTK, "adam", (0, 0, 0), UNSTABLE),
    (MF, "adam", (0, 0, -HALF), UNSTABLE),
    (T9, "adam", (HALF, HALF, 0), UNSTABLE),
]


@pytest.mark.parametrize(("ab", "optimizer", "c", "kind"), KINDS)
def test_the_published_parameterizations_are_classified_as_published(ab, optimizer, c, kind):
    assert classify(*ab, c, optimizer=optimizer, depth=3).kind is kind


@pytest.mark.parametrize(("ab", "optimizer", "c", "kind"), KINDS)
def test_the_symmetry_of_tensor_programs_changes_no_regime(ab, optimizer, c, kind):
    (a, b), theta = ab, (0.5, -1.0, 0.25)
    step = 2 if optimizer == "sgd" else 1
    moved = classify(
        [x + t for x, t in zip(a, theta, strict=True)],
        [x - t for x, t in zip(b, theta, strict=True)],
        [x - step * t for x, t in zip(c, theta, strict=True)],
        optimizer=optimizer,
        depth=3,
    )
    still = classify(a, b, c, optimizer=optimizer, depth=3)
    assert (moved.kind, moved.r, moved.change) == (still.kind, still.r, still.change)
    assert moved.logits_at_init == still.logits_at_init


def test_kernel_features_move_as_one_over_sqrt_width_and_the_logits_do_not_shrink():
    regime = classify(*NTK, (0, 0, 0), optimizer="sgd", depth=3)
    assert (regime.r, regime.change, regime.logits_at_init) == (0.5, (-0.5, -0.5, 0.0), 0.0)


def test_sp_with_global_lr_over_n_moves_its_first_layer_as_width_to_the_minus_three_halves():
    # Measured slopes -1.47 and -0.55 (theory 1.2).
    assert classify(*SP, (1, 1, 1), optimizer="sgd", depth=3).change == (-1.5, -0.5, 0.0)


@pytest.mark.parametrize(
    ("a", "b", "c", "change"),
    [
        ((0, 0, 0), (0, HALF, HALF), (0, 0, 0), (-0.5, 0.5, 1.0)),  # sp
        ((0, 0.5, 0.5), (0, 0, 0), (0, -1, -1), (-0.5, 0.5, 1.0)),  # the same with multipliers
        ((0, 0, 0), (0, HALF, HALF), (0, 1, 0), (-0.5, -0.5, 1.0)),  # its hidden rates scaled
        ((0, 0, 0), (0, HALF, 1), (0, 0, 0), (-1.0, 0.0, 1.0)),  # its readout drawn like 1/n
        ((0, 0, 0), (0, HALF, HALF), (-1, -1, 0), (0.5, 1.5, 2.0)),
        ((0, 0, 0), (0, HALF, HALF), (0, 0, 0.5), (-0.5, 0.5, 1.0)),
    ],
)
def test_an_unstable_readout_under_sgd_is_predicted_by_its_gradient_at_initialisation(a, b, c, change):
    regime = classify(a, b, c, optimizer="sgd", depth=3)
    assert regime.kind is UNSTABLE
    assert regime.change == change
    assert "the first step changes the first layer like n^" in regime.predictions


def test_a_readout_drawn_smaller_than_its_stable_updates_still_counts_as_updated():
    assert classify((0, 0, 0), (0, HALF, 2), (0, 1, 1), optimizer="sgd", depth=3).change == (-1.0, -1.0, 0.0)


def test_mup_moves_everything_and_starts_with_vanishing_logits():
    regime = classify(*T8, (0, 1, 0), optimizer="adam", depth=3)
    assert (regime.r, regime.change, regime.logits_at_init) == (0.0, (0.0, 0.0, 0.0), -0.5)


@pytest.mark.parametrize("c", [(0, 1, 1), (1, 1, 1)])
def test_sp_full_alignment_is_unstable_by_its_readout_but_usable_with_cross_entropy(c):
    regime = classify(*SP, c, optimizer="adam", depth=3)
    assert regime.kind is UNSTABLE
    assert regime.binding == "readout propagated = -0.5 < 0"
    assert regime.usable_with_cross_entropy
    assert classify(*SP, c, optimizer="adam", depth=3, omega_out=0.5).kind is FEATURE


def test_one_learning_rate_at_every_width_is_not_usable_with_cross_entropy_either():
    for optimizer in ("sgd", "adam"):
        assert not classify(*SP, (0, 0, 0), optimizer=optimizer, depth=3).usable_with_cross_entropy


def test_what_blows_up_or_vanishes_at_init_is_degenerate():
    grows = classify((0, 0, 0), (0, 0, 0.5), (0, 1, 1), optimizer="adam", depth=3)
    shrinks = classify((0, 1, 1), (0, 0, 0), (-1, -2, -1), optimizer="sgd", depth=3)  # naive deep mean field
    assert {grows.kind, shrinks.kind} == {Kind.DEGENERATE}
    assert not grows.usable_with_cross_entropy


def test_with_one_hidden_layer_the_hidden_exponents_do_not_count():
    for hidden in (0, 7, -3):  # of which -3 would be unstable
        regime = classify((0, hidden, 1), (0, hidden, 0), (-1, hidden, -1), optimizer="sgd", depth=1)
        assert regime.kind is FEATURE  # the two-layer mean field


def test_eps_that_does_not_follow_the_gradient_is_reported():
    faithful = classify(*T8, (0, 1, 0), optimizer="adam", depth=3, eps=(1, 1, 1))
    unscaled = classify(*T8, (0, 1, 0), optimizer="adam", depth=3, eps=(0, 0, 0))
    assert "unfaithful" not in faithful.binding
    assert "eps unfaithful: (0, 0, 0), the gradient scales as (1, 1, 1)" in unscaled.binding


def test_a_readout_that_is_drawn_smaller_than_it_is_updated_has_no_faithful_eps():
    """Tensor Programs IVb, Theorem 2.8.12: faithful only if b <= c of the readout. T3 with a faint readout."""
    faint = ((0, 0, 0), (0, HALF, 2))
    found = {g: classify(*faint, (0, 1, 1), optimizer="adam", depth=3, eps=(g, g, 0)) for g in (1, 2)}
    # Once the readout has been updated by n^-1 the gradients of what is before it are of that size, and stay so.
    assert "scales as" not in found[1].binding
    assert "eps unfaithful: (2, 2, 0), the gradient scales as (1, 1, 0)" in found[2].binding
    for regime in found.values():
        assert not regime.faithful
        assert "gradients grow by n^1 in the first step" in regime.binding
        assert regime.kind is FEATURE
    equal = classify(*T3, (0, 1, 1), optimizer="adam", depth=3, eps=(1, 1, 0))
    assert (equal.faithful, "b > c" in equal.binding) == (True, False)


def test_the_gradient_behind_a_faint_readout_is_measured_to_grow_in_the_first_step():
    """T3 with a readout of size n^-2: the gradient of the hidden matrix before and after two steps of Adam."""
    sizes = {}
    for n in (128, 2048):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, n, bias=False), nn.Tanh(), nn.Linear(n, n, bias=False), nn.Tanh(), nn.Linear(n, 1, bias=False)
        )
        nn.init.normal_(model[4].weight, std=n**-2.0)
        rates = zip(model.parameters(), (0.1, 0.1 * 128 / n, 0.1 * 128 / n), strict=True)
        optimizer = torch.optim.Adam([{"params": [p], "lr": lr} for p, lr in rates], eps=0.0)
        x = torch.randn(32, 6)
        for step in range(3):
            optimizer.zero_grad()
            (model(x) - x[:, :1]).square().mean().backward()
            if step != 1:
                sizes.setdefault(n, []).append(model[2].weight.grad.square().mean().sqrt().item())
            optimizer.step()
    before, after = (math.log(sizes[2048][i] / sizes[128][i]) / math.log(16) for i in (0, 1))
    assert before == pytest.approx(-2, abs=0.1)
    assert after == pytest.approx(-1, abs=0.15)


def test_the_vectors_and_bottlenecks_of_a_table_take_part():
    # mup, T8: biases like input weights; a bottleneck's init fades like n^-1/2, its update stays.
    t8 = ((0, 0, 1, 0, 0), (0, HALF, 0, 0, 1))
    right = classify(*t8, (0, 1, 0, 0, 1), optimizer="adam", depth=3, eps=(1, 1, 1, 1, 0))
    assert (right.kind, right.faithful) == (FEATURE, True)
    assert (right.change_by_vectors, right.bottleneck_change, right.bottleneck_at_init) == (0, 0, -HALF)
    bias = classify(*t8, (0, 1, 0, -HALF, 1), optimizer="adam", depth=3)
    assert (bias.kind, bias.binding) == (UNSTABLE, "vector update = -0.5 < 0")
    router = classify(*t8, (0, 1, 0, 0, 0), optimizer="adam", depth=3)
    assert (router.kind, router.binding) == (UNSTABLE, "bottleneck update = -1 < 0")
    wide = classify((0, 0, 1, 0, 0), (0, HALF, 0, 0, 0), (0, 1, 0, 0, 1), optimizer="adam", depth=3)
    assert (wide.kind, wide.binding) == (Kind.DEGENERATE, "a+b = 0 for bottlenecks, expected at least 0.5")


def test_a_model_without_bottlenecks_is_not_judged_by_them():
    router_off = replace(
        rules.MUP, rows={**rules.MUP.rows, rules.Role.BOTTLENECK: rules.SP.rows[rules.Role.BOTTLENECK]}
    )
    roles = [rules.Role.INPUT, rules.Role.HIDDEN, rules.Role.OUTPUT]
    assert regime_of(Planned(roles), router_off).kind is FEATURE
    assert regime_of(Planned([*roles, rules.Role.BOTTLENECK]), router_off).kind is UNSTABLE


def test_the_regime_of_a_plan_says_whether_its_eps_follows_the_gradient():
    scaled, left = (regime_of(Planned(ROLES, scale_eps=scale), rules.MUP) for scale in (True, False))
    assert (scaled.faithful, left.faithful) == (True, False)
    assert "eps unfaithful" in left.binding
    assert regime_of(Planned(ROLES, optimizer="sgd", scale_eps=False), rules.MUP).faithful


def test_the_regime_of_a_plan_knows_whether_anything_is_hidden():
    shallow = regime_of(Planned([rules.Role.INPUT, rules.Role.OUTPUT]), rules.SP)
    assert shallow == classify_table(rules.SP, optimizer="adam", depth=1)
    assert shallow != classify_table(rules.SP, optimizer="adam", depth=2)
    assert regime_of(Planned(ROLES), rules.NTK) == classify_table(rules.NTK, optimizer="adam", depth=2)


def test_a_model_that_is_left_as_it_is_has_no_regime_of_its_table():
    assert regime_of(Planned(ROLES), rules.AS_IS) is None


def test_only_hidden_matrices_are_muons():
    # Input and readout follow AdamW's rows, so a table whose Muon rates for them are absurd is as stable.
    absurd = {
        role: replace(row, lr={**row.lr, rules.Family.MUON: Power(fan_in=3, fan_out=3)})
        for role, row in rules.MUP.rows.items()
        if role is not rules.Role.HIDDEN
    }
    table = replace(rules.MUP, rows={**rules.MUP.rows, **absurd})
    assert classify_table(table, optimizer="muon", depth=3).kind is FEATURE


def test_unscaled_eps_of_a_table_is_unfaithful():
    assert not classify_table(rules.MUP, optimizer="adam", depth=3, scale_eps=False).faithful
    assert classify_table(rules.MUP, optimizer="sgd", depth=3, scale_eps=False).faithful


def test_exponents_of_unequal_number_are_refused():
    with pytest.raises(PlanError, match=r"one exponent each for .*; found 3, 2, 3"):
        classify((0, 0, 1), (0, HALF), (0, 1, 0), optimizer="adam", depth=3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("name", "kind"), [("mup", FEATURE), ("mf", FEATURE), ("ntk", KERNEL), ("sp", UNSTABLE)])
def test_our_own_tables_have_the_regime_they_are_named_for(name, kind, optimizer):
    regime = classify_table(rules.parameterization(name), optimizer=optimizer, depth=3)
    assert regime.kind is kind
    assert ("unfaithful" in regime.binding) == (name == "sp" and optimizer != "sgd")


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize(
    ("name", "optimizer", "octaves"),
    [("mup", "adam", 0), ("mup", "sgd", 0), ("mf", "adam", 0), ("mf", "sgd", 0), ("ntk", "sgd", 0), ("ntk", "adam", 0)],
)
def test_the_largest_stable_learning_rate_of_a_scaled_table_does_not_drift(name, optimizer, octaves, depth):
    assert drift(rules.parameterization(name), optimizer=optimizer, depth=depth) == octaves


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_largest_stable_learning_rate_of_sp_halves_with_every_doubling(optimizer):
    # Tensor Programs IV Theorem 4.1 for SGD; public sweeps with Adam have slope -1.00 (theory 2.2).
    assert drift(rules.SP, optimizer=optimizer, depth=3) == -1.0


def test_no_drift_is_claimed_for_a_model_whose_init_is_unknown():
    assert math.isnan(drift(rules.AS_IS, optimizer="adam", depth=3))


def test_an_optimizer_without_a_row_is_refused():
    with pytest.raises(PlanError, match="no rule for optimizer 'lbfgs'"):
        classify(*T8, (0, 1, 0), optimizer="lbfgs", depth=3)
