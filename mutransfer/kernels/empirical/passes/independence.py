"""Refusals of models without a kernel between single examples: examples that interact, outputs that are random."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.empirical.as_function import ExampleBatch, evaluate
from mutransfer.kernels.empirical.model_function import ModelFunction


def check_independence(large: Tensor, small: Tensor, places: list[int]) -> None:
    """Raise KernelError where outputs of examples alone, ``small``, differ from theirs, at ``places``, among more."""
    tolerance = 1e-3 if large.dtype.itemsize <= 4 else 1e-8
    scale = float(large.abs().max())
    difference = float((large[places] - small).abs().max())
    if not difference <= tolerance * scale:
        raise KernelError(
            f"an example's outputs change by {difference:.3g} (outputs are up to {scale:.3g}) when another example "
            "joins the batch: examples interact, and a kernel between single examples is not defined. Call "
            "model.eval() first, or give the model one example at a time"
        )


def check_determinism(
    model: ModelFunction, parameters: Mapping[str, Tensor], batch: ExampleBatch, outputs: Tensor
) -> None:
    """Raise KernelError where a second run of ``batch`` gives other ``outputs``."""
    with torch.no_grad():
        again, outputs = evaluate(model, parameters, batch), outputs.detach()
    if not torch.allclose(again, outputs, rtol=1e-3, atol=1e-3 * float(outputs.abs().max()), equal_nan=True):
        raise KernelError(
            "the model draws random numbers and its output depends on them, so that it has no one tangent kernel: call "
            "model.eval() first, or set the rate of its dropout to 0"
        )


def random_states() -> list[Tensor]:
    """The states of torch's generators, on all devices in use."""
    states = [torch.get_rng_state()]
    return states + (torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])


def refuse_batch_statistics(model: nn.Module) -> None:
    """Raise KernelError naming a normalisation over the examples of the batch."""
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise KernelError(
                f"{path or 'the model'} ({type(module).__name__}) normalises with the statistics of the batch, so that "
                "examples interact and a kernel between single examples is not defined: call model.eval() first"
                + (", and give it track_running_stats=True" if module.running_mean is None else "")
            )
