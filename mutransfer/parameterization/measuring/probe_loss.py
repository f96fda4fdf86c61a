"""A loss for a model that returns none: a fixed sum of its outputs with random signs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mutransfer.parameterization.tracing.trace import Example, call, tensors


def probe_loss(model: nn.Module, example: Example) -> Tensor:
    """The scalar that the model returns on ``example``, or a mean over rows of its outputs, each with its sign.

    What is differentiated is of the size of one output, whatever their number; nothing is squared, so that outputs that
    start at zero have gradients too.

    >>> layer = nn.Linear(4, 2)
    >>> probe_loss(layer, torch.ones(3, 4)).shape
    torch.Size([])
    """
    out = call(model, example)
    loss = getattr(out, "loss", None)
    if isinstance(loss, Tensor) and not loss.ndim:
        return loss
    outputs = [t for t in tensors(out) if t.is_floating_point() and t.requires_grad]
    if len(outputs) == 1 and not outputs[0].ndim:
        return outputs[0]
    return torch.stack([_signed_mean(t) for t in outputs]).sum() if outputs else torch.zeros(())


def _signed_mean(output: Tensor) -> Tensor:
    """The mean over rows of the sum of each row, with signs."""
    if not output.ndim:
        return output
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
    return (output * signs).sum() / max(1, output.numel() // output.shape[-1])
