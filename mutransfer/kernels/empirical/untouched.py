"""Running a model and leaving it as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from mutransfer.errors import KernelError
from mutransfer.kernels.checkpointing import without_checkpoints
from mutransfer.kernels.empirical.model_function import attribute_values, restore_attributes
from mutransfer.random_state import preserved_random_state


def aliases(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that require gradients, as tensors of their own on the same memory, without hooks.

    A complex parameter is two real ones, its real and its imaginary part, in a last dimension.
    """
    leaves = {
        name: (torch.view_as_real(p.detach()) if p.is_complex() else p.detach()).requires_grad_()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    if not leaves:
        raise KernelError("no parameter of the model requires a gradient, so that its tangent kernel is empty")
    return leaves


@contextmanager
def untouched(model: nn.Module) -> Generator[None]:
    """Gradients on, compiled parts run as written, no TensorFloat; buffers and random state put back afterwards."""
    before = [
        (module, name, buffer, buffer.detach().clone(), buffer._version)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and module.training
    ]
    attributes = attribute_values(model)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(without_checkpoints())
        stack.enter_context(preserved_random_state())
        if torch.cuda.is_initialized():
            stack.enter_context(_without_tensor_float())
        try:
            yield
        finally:
            restore_attributes(attributes)
            for module, name, buffer, values, version in before:
                if buffer._version != version:
                    with torch.no_grad():
                        buffer.copy_(values)
                module._buffers[name] = buffer


@contextmanager
def _without_tensor_float() -> Generator[None]:
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    torch.set_float32_matmul_precision("highest")
    try:
        with cudnn.flags(
            enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
