"""A module's own parameters, and other values in their place."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the module itself, with those that its parametrizations make weights from."""
    parameters = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    if is_parametrized(module):
        made = module.get_submodule("parametrizations").named_parameters(prefix="parametrizations")
        parameters |= dict(made)
    return parameters


@contextmanager
def swap_parameters(module: nn.Module, values: Mapping[str, Tensor]) -> Generator[None]:
    """Give the module's own parameters other values inside the context."""
    parameters = own_parameters(module)
    before = {name: parameters[name].data for name in values}
    put_values(module, values)
    try:
        yield
    finally:
        put_values(module, before)


def put_values(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Replace the memory of the module's own parameters."""
    parameters = own_parameters(module)
    for name, value in values.items():
        parameters[name].data = value
