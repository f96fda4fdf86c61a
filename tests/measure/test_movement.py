"""Looks at a run: the kernel is the one that drives it, the same in all forms of a parameterization."""

import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.kernels import empirical_ntk, kernel_distance, relative_drift, target_alignment
from mutransfer.measure.movement import KernelProbe, Look, MovementLog, sgd_weights
from mutransfer.parameterization.measuring.activations import changes

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
U = torch.tensor([1.0, -2.0, 0.5])


def build(width):
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3))


def probe(weights=None, targets=X[:, 0]):
    return KernelProbe(inputs=X, direction=U, targets=targets, weights=weights)


def test_numbers_are_those_of_the_kernels_distances_and_of_the_activations():
    torch.manual_seed(0)
    model = build(6)
    movement = MovementLog.begin(model, lambda: model(X), probe())
    first, outputs = empirical_ntk(model, X, direction=U), {"4": model(X).detach()}
    with torch.no_grad():
        model[0].weight *= 1.5
    movement.look(7, model, lambda: model(X))
    now = empirical_ntk(model, X, direction=U)
    begin, look = movement.looks()
    assert (begin.step, look.step) == (0, 7)
    assert look.kernel_drift == pytest.approx(relative_drift(first, now), rel=1e-5)
    assert look.kernel_distance == pytest.approx(kernel_distance(first, now), rel=1e-4)
    assert begin.target_alignment == pytest.approx(target_alignment(first, X[:, 0]), rel=1e-4)
    assert look.target_alignment == pytest.approx(target_alignment(now, X[:, 0]), rel=1e-4)
    assert begin.kernel_drift == 0.0
    assert look.change["4"] == pytest.approx(changes(outputs, {"4": model(X)})["4"], rel=1e-5)
    assert look.effective["4"] == 0.0
    assert set(look.size) == set(begin.size) == {"0", "2", "4"}
    assert set(look.alignment) == {"0"}  # nothing else has an update


def test_the_weighted_kernel_is_the_same_in_all_forms():
    """Of mup at four times the base width: by itself the kernel differs between forms, with SGD's rates it does not."""

    def kernels(form, weighted):
        torch.manual_seed(0)
        model, plan = mt.parameterize(
            build, width=32, base_width=8, parameterization=form, optimizer="adam", dtype=torch.float64, check=False
        )
        one = KernelProbe(
            inputs=X.double(), direction=U, targets=X[:, 0], weights=sgd_weights(plan) if weighted else None
        )
        return one.kernel(model)

    for form in ("mup_t3", "mup_t9", "mf"):
        torch.testing.assert_close(kernels(form, True), kernels("mup", True), rtol=1e-6, atol=1e-9)
    assert relative_drift(kernels("mup", False), kernels("mup_t3", False)) > 0.1


def test_a_run_from_the_same_model_shares_its_start():
    torch.manual_seed(0)
    model = build(6)
    first = MovementLog.begin(model, lambda: model(X), probe())
    other = first.again()
    first.look(1, model, lambda: model(X))
    assert [look.step for look in other.looks()] == [0]
    assert first.looks()[1].kernel_drift == 0.0


def test_targets_that_are_all_alike_have_no_alignment():
    model = build(6)
    (begin,) = MovementLog.begin(model, lambda: model(X), probe(targets=torch.ones(8))).looks()
    assert begin.target_alignment is None
    assert begin.kernel_drift == 0.0


def test_a_model_without_a_kernel_is_looked_at_without_one():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = build(6)

        def forward(self, x):
            return self.body(x) * torch.rand(())

    model = Noisy()
    movement = MovementLog.begin(model, lambda: model(X), probe())
    movement.look(1, model, lambda: model(X))
    assert movement.looks()[1].kernel_drift is None
    assert movement.looks()[1].effective["body.0"] == 0.0


def test_what_is_not_finite_is_left_out():
    model = build(6)
    movement = MovementLog.begin(model, lambda: model(X), probe())
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
    movement.look(1, model, lambda: model(X))
    look = movement.looks()[1]
    assert look == Look(step=1, size={}, propagated={"0": 0.0})
