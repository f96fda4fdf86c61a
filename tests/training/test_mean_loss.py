"""The mean loss over batches: weights, modes, and batches too large for the memory."""

import pytest
import torch
from torch import nn

from mutransfer.training.batches import mean_loss

from .tiny import BATCH, Tiny


def test_mean_loss_weights_batches_by_their_size():
    batches = [torch.full((n,), value) for n, value in ((4, 1.0), (3, 2.0), (1, 10.0))]
    assert mean_loss(lambda model, batch: batch.mean(), nn.ReLU(), batches) == (4 * 1 + 3 * 2 + 1 * 10) / 8


def _modes(model: nn.Module) -> list[bool]:
    return [m.training for m in model.modules()]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("frozen", [[], ["0"], ["0", "1"], ["", "0", "1"]])
def test_mean_loss_leaves_every_submodule_in_the_mode_that_it_was_in(frozen, fails):
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout())
    for name in frozen:
        model.get_submodule(name).training = False
    before, seen = _modes(model), []

    def loss(model, batch):
        seen.append(_modes(model))
        assert not torch.is_grad_enabled()
        if fails:
            raise KeyError("x")
        return model(batch[0]).mean()

    if fails:
        with pytest.raises(KeyError):
            mean_loss(loss, model, [Tiny().batch(0, 0)])
    else:
        mean_loss(loss, model, [Tiny().batch(0, 0)])
    assert seen == [[False] * 3]
    assert _modes(model) == before


@pytest.mark.parametrize("at_most", [BATCH, 7, 1])
def test_mean_loss_takes_a_batch_that_exhausts_the_memory_in_halves(at_most, float64):
    def loss(model, batch):
        if len(batch[0]) > at_most:
            torch.empty(2**52, dtype=torch.uint8)
        return Tiny().loss(model, batch)

    model, batches = Tiny().build(8), [Tiny().batch(0, step) for step in range(2)]
    assert mean_loss(loss, model, batches) == pytest.approx(mean_loss(Tiny().loss, model, batches), rel=1e-14)


def test_mean_loss_gives_up_on_one_example_that_does_not_fit():
    def loss(model, batch):
        torch.empty(2**52, dtype=torch.uint8)

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        mean_loss(loss, Tiny().build(8), [Tiny().batch(0, 0)])
