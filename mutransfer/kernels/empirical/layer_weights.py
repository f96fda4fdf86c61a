"""Weights on the kernels of parameters, by parameter name or module path, or from a Plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from mutransfer.errors import ConfigError
from mutransfer.parameterization.model.names import canonical
from mutransfer.parameterization.scaling import Scaling


def layer_factors(
    names: Iterable[str], model: nn.Module, weights: Mapping[str, float | Scaling] | None
) -> dict[str, float]:
    """The factor of every one of the parameters ``names``: under its own name, else under the longest module path.

    Raises ConfigError for a parameter without a factor and for a key that is no parameter or module of the model.

    >>> layer_factors(["0.weight", "0.bias"], nn.Sequential(nn.Linear(2, 2)), {"0": 2.0, "0.bias": 0.5})
    {'0.weight': 2.0, '0.bias': 0.5}
    """
    if weights is None:
        return dict.fromkeys(names, 1.0)
    numbers = {key: value.lr_mult if isinstance(value, Scaling) else float(value) for key, value in weights.items()}
    keys_of_model = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    keys_of_model |= {path for path, _ in model.named_modules(remove_duplicate=False)}
    numbers = {key if key in keys_of_model else canonical(key, keys_of_model): value for key, value in numbers.items()}
    if unknown := sorted(numbers.keys() - keys_of_model):
        raise ConfigError(f"weights: {', '.join(unknown)}: no such parameter or module in the model")
    factors = {}
    for name in names:
        parts = name.split(".")
        keys = [".".join(parts[:i]) for i in range(len(parts), -1, -1)]
        key = next((key for key in keys if key in numbers), None)
        if key is None:
            raise ConfigError(
                f"weights: nothing for parameter {name}; give it, a module it is in, or '' for all others"
            )
        factors[name] = numbers[key]
    return factors
