"""A model that remembers the parameters that it began with, as buffers of its own."""

from __future__ import annotations

import copy
from typing import Any, Self

from torch import Tensor, nn
from torch.func import functional_call

from mutransfer.parameterization.model.stand_in import StandIn


class Anchored(StandIn):
    """A model of parameters th that remembers where they began, th0; a subclass says what it computes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # Activations that a forward pass has left as attributes, which torch does not copy
        held = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
        memo: dict[int, Any] = {id(value): value.detach() for value in held if not value.is_leaf}
        # In a tuple it is no submodule: its parameters are not trained, and its buffers are registered below.
        self._frames = (copy.deepcopy(model, memo),)
        self._paths: dict[str, str] = {}  # every name of a parameter: the first of its names
        first: dict[int, str] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self._paths[name] = first.setdefault(id(parameter), name)
        copies = {n: nn.Parameter(p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}
        for name, kept in self._paths.items():
            _place(self, name).register_parameter(name.rpartition(".")[2], copies[kept])
        for path, module in self._frame.named_modules():
            for name, buffer in module._buffers.items():
                persistent = name not in module._non_persistent_buffers_set
                full = f"{path}.{name}" if path else name
                _place(self, full).register_buffer(name, buffer, persistent)
        self._origin = "origin"
        while hasattr(self, self._origin):
            self._origin += "_"
        self.add_module(self._origin, nn.Module())
        for name, parameter in copies.items():
            owner = _place(self.get_submodule(self._origin), name)
            owner.register_buffer(name.rpartition(".")[2], parameter.detach().clone())
        self.training = model.training

    @property
    def _frame(self) -> nn.Module:
        return self._frames[0]

    @property
    def original(self) -> nn.Module:
        return self._frame

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._frame.train(mode)
        return self

    def origin_values(self) -> dict[str, Tensor]:
        """The parameters that it began with, by name."""
        return dict(self.get_submodule(self._origin).named_buffers())

    def own_buffers(self) -> dict[str, Tensor]:
        """The model's buffers, by name."""
        return {n: b for n, b in self.named_buffers() if not n.startswith(f"{self._origin}.")}

    def outputs_at(
        self, parameters: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any], *, keep: bool
    ) -> Any:
        """The model's output with these parameters; ``keep``: what it does to buffers is undone."""
        buffers = self.own_buffers()
        if keep:
            buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        every = {name: parameters[kept] for name, kept in self._paths.items()}
        return functional_call(self._frame, {**every, **buffers}, args, kwargs, tie_weights=False)


def _place(root: nn.Module, name: str) -> nn.Module:
    """The submodule that owns ``name``, made where it is missing."""
    owner = root
    for part in name.split(".")[:-1]:
        if part not in owner._modules:
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    return owner
