"""Autocast in bfloat16 and float16, and float16's loss scaling, on the CPU."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from mutransfer.training.run import run
from mutransfer.training.spec import Outcome

from .tiny import Tiny, tiny_spec

UNIT = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # largest relative error of one rounding
# Three layers, each rounding its input, its weight and its output.
ROUNDINGS = 9
HYPERPARAMETERS = {
    "sgd": {"lr": 0.1, "momentum": 0.9},
    "adam": {"lr": 0.01},
    "adamw": {"lr": 0.01, "weight_decay": 0.1},
}


def _logit_error(model: nn.Module, x: torch.Tensor, unit: float) -> float:
    """First-order bound on the error of the logits: every rounding at its worst, carried through |W| and tanh."""
    error = torch.zeros_like(x)
    for layer in model:
        if isinstance(layer, nn.Linear):
            size = x.abs() @ layer.weight.abs().T + layer.bias.abs()
            error = error @ layer.weight.abs().T + 3 * unit * size
        x = layer(x)
    return float(error.max())


@pytest.mark.parametrize("precision", UNIT)
def test_the_first_loss_is_off_by_rounding_and_by_no_more(precision):
    spec = tiny_spec(steps=1)
    torch.manual_seed(spec.seed)
    with torch.no_grad():
        bound = 2 * _logit_error(Tiny().build(spec.width), Tiny().batch(spec.seed, 0)[0], UNIT[precision])
    exact, rounded = (run(tiny_spec(steps=1, precision=p), Tiny()).train_curve[0] for p in ("float32", precision))
    assert 0 < abs(rounded - exact) < bound  # cross-entropy moves by at most 2 max |change of logits|


@pytest.mark.parametrize("optimizer", HYPERPARAMETERS)
@pytest.mark.parametrize("precision", UNIT)
def test_reduced_precision_trains_like_float32(precision, optimizer):
    changes = {"optimizer": optimizer, "hyperparameters": HYPERPARAMETERS[optimizer], "width": 32}
    exact, rounded = (run(tiny_spec(precision=p, **changes), Tiny()) for p in ("float32", precision))
    descent = exact.initial_loss - exact.final_loss
    assert descent > 0.3
    assert rounded.outcome is Outcome.OK
    # Updates that are off by a relative error leave the descent off by as much.
    assert rounded.final_loss == pytest.approx(exact.final_loss, abs=ROUNDINGS * UNIT[precision] * descent)
    assert rounded.train_curve != exact.train_curve


@pytest.mark.parametrize("precision", UNIT)
def test_micro_batches_in_reduced_precision_differ_by_rounding_only(precision):
    whole, cut = (run(tiny_spec(precision=precision, accumulate=n), Tiny()) for n in (1, 5))
    descent = whole.initial_loss - whole.final_loss
    assert cut.final_loss == pytest.approx(whole.final_loss, abs=ROUNDINGS * UNIT[precision] * descent)


@dataclass(frozen=True)
class Loud(Tiny):
    """One batch for everything, with a loss so large that its scaled gradients overflow float16 at first."""

    loudness: float = 2.0**12

    def batch(self, seed, step, /):
        return super().batch(0, 0)

    def loss(self, model, batch, /):
        return self.loudness * super().loss(model, batch)


@pytest.fixture
def uninitialised_memory_is_nan():
    """Under deterministic algorithms torch fills memory that was never written with NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("uninitialised_memory_is_nan")
@pytest.mark.parametrize(
    ("optimizer", "hyperparameters"),
    [
        ("sgd", {"lr": 0.1 * 2.0**-12}),
        ("sgd", {"lr": 0.1 * 2.0**-12, "momentum": 0.9}),
        ("adam", {"lr": 0.01}),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
    ],
)
def test_a_step_that_overflows_float16_is_skipped_and_leaves_no_trace(optimizer, hyperparameters):
    spec = {"optimizer": optimizer, "hyperparameters": hyperparameters, "eval_every": 1}
    rounded = run(tiny_spec(precision="float16", steps=40, **spec), Loud())
    evaluations = [loss for _, loss in rounded.eval_curve]
    skipped = sum(loss == rounded.initial_loss for loss in evaluations) - 1
    assert 0 < skipped < 20
    assert rounded.outcome is Outcome.OK
    exact = run(tiny_spec(steps=40 - skipped, **spec), Loud())
    tolerance = ROUNDINGS * UNIT["float16"] * (exact.initial_loss - exact.final_loss)
    assert evaluations[skipped:] == pytest.approx([loss for _, loss in exact.eval_curve], abs=tolerance)
