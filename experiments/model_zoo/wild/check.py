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
from torch.func import functional_call

import mutransfer as mt
from mutransfer.errors import PlanMeasurementError

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


@dataclass
class Seen:
    """What a module got and returned in one forward pass: all outputs flat, and the arguments of its first call."""

    outputs: list[Tensor]
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None


def look(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Seen]:
    """Every module with parameters of its own that returns a tensor, by path."""
    seen: dict[str, Seen] = {}

    def before(its: Seen) -> Callable[..., None]:
        """Notes the arguments as they come, before the plan's own hooks."""

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            its.arguments = its.arguments or (args, kwargs)

        return note

    def after(its: Seen) -> Callable[..., None]:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            its.outputs.extend(t.detach().double().flatten() for t in _first_tensor(output))

        return note

    handles = []
    for path, m in _owners(model).items():
        its = seen[path] = Seen([], None)
        handles.append(m.register_forward_pre_hook(before(its), with_kwargs=True, prepend=True))
        handles.append(m.register_forward_hook(after(its)))
    with torch.no_grad():
        loss(model)
    for handle in handles:
        handle.remove()
    return {path: its for path, its in seen.items() if its.outputs}


def train(row: Row, plan: mt.Plan, width: int, seed: int, steps: int) -> dict[str, dict[str, float]]:
    """By module: its size before training, its change after ``steps``, and what of that its own parameters did."""
    torch.manual_seed(seed)
    model = mt.apply(row.build(width), plan).train()
    batch = row.batch(seed)
    optimizer = OPTIMIZERS[plan.optimizer](mt.param_groups(model, plan, lr=row.lr[plan.optimizer]))
    initial = {
        path: {name: p.detach().clone() for name, p in m.named_parameters(recurse=False)}
        for path, m in _owners(model).items()
    }

    def loss(of: nn.Module) -> Tensor:
        torch.manual_seed(seed)
        return row.loss(of, batch)

    before = look(model, loss)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    after = look(model, loss)
    numbers = {}
    for path, start in before.items():
        y, end = torch.cat(start.outputs), torch.cat(after[path].outputs)
        if y.shape == end.shape:  # a mixture's expert may get other tokens
            own = _own_part(_owners(model)[path], initial[path], after[path])
            numbers[path] = {"size": _rms(y), "change": _rms(end - y), "own": own, "count": float(y.numel())}
    return numbers


def _own_part(module: nn.Module, initial: dict[str, Tensor], seen: Seen) -> float:
    """The difference that training a module's own parameters makes to what it returns at the end."""
    args, kwargs = seen.arguments or ((), {})
    if next(module.children(), None) is not None:
        return math.nan  # what it returns is mostly its parts' doing
    with torch.no_grad():
        try:
            ends = [_first_tensor(functional_call(module, p, args, kwargs)) for p in ({}, initial)]
        except (RuntimeError, TypeError, ValueError, IndexError):  # a module that cannot be run twice alone
            return math.nan
    return _rms((ends[0][0] - ends[1][0]).double())


def _owners(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with parameters of their own; what parametrizes a weight gives no activations."""
    owners = ((path, m) for path, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None)
    return {path or "(model)": m for path, m in owners if ".parametrizations." not in path}


def slopes(row: Row, optimizer: str, factors: Sequence[int], seeds: int, steps: int) -> dict[str, Any]:
    """Powers of width by module, from all widths and from the two largest, and what was said when plans were made."""
    widths = [row.base * f for f in factors]
    found: list[dict[str, list[dict[str, float]]]] = []
    said: list[str] = []
    faint: list[str] = []
    measurement = refused = ""
    for width in widths:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            settings: dict[str, Any] = {"width": width, "base_width": row.base, "optimizer": optimizer}
            settings |= {"example": row.example, "overrides": dict(row.overrides) or None}
            try:
                _, plan = mt.parameterize(row.build, check=width == widths[-1], **settings)
            except PlanMeasurementError as error:  # measured all the same, to see whether it is right to refuse
                refused = str(error)[:1500]
                plan = mt.Plan.infer(row.build, check=False, **settings)
        if width == widths[-1]:
            said = [str(w.message)[:700] for w in caught if w.filename == __file__ or "mutransfer" in w.filename]
            measurement = plan.measurement
            faint = sorted(name.rpartition(".")[0] for name, s in plan.items() if s.role is mt.Role.BOTTLENECK)
        at_width: dict[str, list[dict[str, float]]] = defaultdict(list)
        for seed in range(seeds):
            for path, numbers in train(row, plan, width, seed, steps).items():
                at_width[path].append(numbers)
        found.append(at_width)
    modules = {}
    for path in found[0]:
        if any(len(at.get(path, ())) < seeds for at in found):
            continue
        powers = [_powers(factors, [[n[what] for n in at[path]] for at in found]) for what in ("size", "change", "own")]
        fixed = len({at[path][0]["count"] for at in found}) == 1
        modules[path] = [*(x for power in powers for x in power), int(fixed)]
    found_out = {"refused": refused} if refused else {"measurement": measurement}
    return found_out | {"said": said, "bottlenecks": faint[:8], "modules": modules}


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
