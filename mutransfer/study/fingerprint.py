"""The fingerprint of a task: what its model is and does at base width, and the code of the user's own behind it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.model.factory import fresh
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.study.own_code import code_digests
from mutransfer.training.task import Task
from mutransfer.training.task_adapters import PartsTask, TaskAround
from mutransfer.widths import Width

SAME = 1e-3  # relative: what other processors' arithmetic makes of the same sums is far below, an edit hardly ever


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What is compared of two tasks of one name. Values hold for one version of torch, code for one of Python."""

    parameters: dict[str, tuple[list[int], float]]  # name -> shape, and root mean square of its values at one seed
    modules: dict[str, str]  # path -> type
    loss: float | None  # of the first batch at these values; None: it does not run here
    code: dict[str, str]  # name -> digest
    torch: str
    python: str

    def changes(self, earlier: Fingerprint) -> Iterator[str]:
        """What is otherwise than ``earlier``, in words."""
        yield from _changed("module", earlier.modules, self.modules)
        yield from _changed(
            "parameter", {n: x[0] for n, x in earlier.parameters.items()}, {n: x[0] for n, x in self.parameters.items()}
        )
        if self.torch == earlier.torch:
            for name in self.parameters.keys() & earlier.parameters.keys():
                (shape, size), (shape_then, then) = self.parameters[name], earlier.parameters[name]
                if shape == shape_then and not _same(size, then):
                    yield f"parameter {name} starts with values of size {size:.3g}, not {then:.3g}"
            if self.loss is not None and earlier.loss is not None and not _same(self.loss, earlier.loss):
                yield f"the loss of the first batch is {self.loss:.4g}, not {earlier.loss:.4g}"
        if self.python == earlier.python:
            yield from _changed("code of", earlier.code, self.code, "has been edited")

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:8]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Fingerprint:
        values = dict(data)
        values["parameters"] = {name: (list(shape), size) for name, (shape, size) in data["parameters"].items()}
        return cls(**values)


def fingerprint(task: Task, base_width: Width) -> Fingerprint:
    """The fingerprint of a task, taken on the CPU. The global random state is left untouched."""
    model = fresh(task.build, base_width)
    return Fingerprint(
        parameters={name: (list(p.shape), _rms(p)) for name, p in model.named_parameters()},
        modules={path: type(module).__qualname__ for path, module in model.named_modules()},
        loss=_first_loss(task, model),
        code=code_digests([*_parts(task), *map(type, model.modules())]),
        torch=torch.__version__.partition("+")[0],
        python=".".join(platform.python_version_tuple()[:2]),
    )


def _first_loss(task: Task, model: nn.Module) -> float | None:
    with preserved_random_state():
        seed_everything(0)
        try:
            loss = float(task.loss(model, task.batch(0, 0)).detach())
        except Exception as error:  # a model for another device, say: runs have words for it
            logging.getLogger("mutransfer").info("no loss for the fingerprint: %s: %s", type(error).__name__, error)
            return None
    return loss if math.isfinite(loss) else None


def _parts(task: Any) -> Iterator[Any]:
    """What runs in the name of a task."""
    if isinstance(task, TaskAround):
        yield from _parts(task.task)
    elif isinstance(task, PartsTask):
        yield from (task.model, task.data, task.loss_fn)
    else:
        yield type(task)


def _rms(p: torch.Tensor) -> float:
    value = float(p.detach().abs().double().square().mean().sqrt()) if p.numel() else 0.0
    return value if math.isfinite(value) else -1.0


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=SAME, abs_tol=1e-12)


def _changed(kind: str, before: dict[str, Any], now: dict[str, Any], how: str = "") -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        shown = f"{kind} {name or 'itself'}"
        if name not in before:
            yield f"{shown} is new"
        elif name not in now:
            yield f"{shown} is gone"
        elif before[name] != now[name]:
            yield f"{shown} {how or f'is {now[name]}, not {before[name]}'}"
