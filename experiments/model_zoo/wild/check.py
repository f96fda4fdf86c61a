"""A coordinate check that shares nothing with the toolkit's own: plain hooks, plain optimizers, plain slopes.

Of the toolkit it takes what a user would: the wrapped model and the parameter groups.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import mutransfer as mt

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
LR = {"adamw": 2.0**-9, "sgd": 2.0**-4}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of the table: a factory by width, inputs by generator, and a loss of its output."""

    build: Callable[[int], nn.Module]
    inputs: Callable[[torch.Generator], Any]
    loss: Callable[[nn.Module, Any], Tensor]
    source: str
    base: int = 32
    lr: Mapping[str, float] = field(default_factory=lambda: LR)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def batch(self, seed: int) -> Any:
        return self.inputs(torch.Generator().manual_seed(seed))

    def example(self, model: nn.Module) -> Tensor:
        """What the plan is inferred from: the loss on one batch."""
        return self.loss(model, self.batch(0))


def outputs(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """Everything that each module with parameters of its own returns in one forward pass, flat."""
    seen: dict[str, list[Tensor]] = defaultdict(list)

    def hook(path: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: Any, output: Any) -> None:
            seen[path].extend(t.detach().double().flatten() for t in _first_tensor(output))

        return note

    owners = [(path, m) for path, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None]
    handles = [m.register_forward_hook(hook(path)) for path, m in owners]
    with torch.no_grad():
        loss(model)
    for handle in handles:
        handle.remove()
    return {path or "(model)": torch.cat(tensors) for path, tensors in seen.items() if tensors}


def train(row: Row, plan: mt.Plan, width: int, seed: int, steps: int) -> dict[str, tuple[float, float, int]]:
    """By module: size before training, size of the change after ``steps``, and how many numbers it returns."""
    torch.manual_seed(seed)
    model = mt.apply(row.build(width), plan).train()
    batch = row.batch(seed)
    lr = row.lr[plan.optimizer]
    optimizer = OPTIMIZERS[plan.optimizer](mt.param_groups(model, plan, lr=lr))

    def loss(of: nn.Module) -> Tensor:
        torch.manual_seed(seed)
        return row.loss(of, batch)

    before = outputs(model, loss)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    after = outputs(model, loss)
    return {path: (_rms(y), _rms(after[path] - y), y.numel()) for path, y in before.items() if after[path].shape == y.shape}


def slopes(row: Row, optimizer: str, factors: Sequence[int], seeds: int, steps: int) -> dict[str, Any]:
    """Powers of width by module, from all widths and from the two largest, and what was said when plans were made."""
    widths = [row.base * f for f in factors]
    found: list[dict[str, list[tuple[float, float, int]]]] = []
    said: list[str] = []
    measurement = ""
    for width in widths:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _, plan = mt.parameterize(
                row.build,
                width=width,
                base_width=row.base,
                optimizer=optimizer,
                example=row.example,
                overrides=dict(row.overrides) or None,
                check=width == widths[-1],
            )
        if width == widths[-1]:
            said = [str(w.message) for w in caught if "mutransfer" in w.filename or "measured" in str(w.message)]
            measurement = plan.measurement
        at_width: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for seed in range(seeds):
            for path, numbers in train(row, plan, width, seed, steps).items():
                at_width[path].append(numbers)
        found.append(at_width)
    modules = {}
    for path in found[0]:
        if any(len(at.get(path, ())) < seeds for at in found):
            continue
        sizes, changes = ([[n[i] for n in at[path]] for at in found] for i in (0, 1))
        fixed = len({at[path][0][2] for at in found}) == 1
        modules[path] = [*_powers(factors, sizes), *_powers(factors, changes), int(fixed)]
    return {"modules": modules, "said": said, "measurement": measurement}


def _powers(factors: Sequence[int], numbers: Sequence[Sequence[float]]) -> list[float | None]:
    """The power by least squares over all widths, and between the two largest; None where something is 0."""
    if not all(math.isfinite(x) and x > 1e-12 for row in numbers for x in row):
        return [None, None]
    x = [math.log(f) for f in factors]
    y = [sum(map(math.log, row)) / len(row) for row in numbers]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    fitted = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return [round(fitted, 3), round((y[-1] - y[-2]) / (x[-1] - x[-2]), 3)]


def _rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def _first_tensor(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    for value in values:
        if found := _first_tensor(value):
            return found
    return []
