"""Saving for others: what a wrapped model writes beside its checkpoints is the plain function, or says what is not."""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.plan_file import FILE, save_plan
from mutransfer.parameterization.sites import On
from mutransfer.parameterization.wrapping.awaited_values import check_rescaled
from mutransfer.parameterization.wrapping.fit import check_in_place
from mutransfer.parameterization.wrapping.plain_weights import scaled_state
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan
from mutransfer.widths import show_width

NOTE = "mutransfer_note.md"
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_PLAIN = """# The weights are plain

They were trained with mutransfer under a plan ({plan}), whose run-time factors are in them{more}. Any code computes
with them what the trained model did. Do not attach a plan to them; to go on training, take a checkpoint of the run.
"""
_NOT_PLAIN = f"""# The weights alone are another function

The model was trained with mutransfer under a plan ({{plan}}) that multiplies at run time what no weight can hold:

{{sites}}

After loading the weights, put the plan back on, which lies beside them in `{FILE}`:

    import mutransfer
    mutransfer.attach(model, mutransfer.load_plan(folder))
"""
# How a scale of attention may follow from an entry of a config, and the entry from the scale.
_MAPS: tuple[tuple[Callable[[float], float], Callable[[float], float]], ...] = (
    (lambda x: x, lambda y: y),
    (lambda x: x**-0.5, lambda y: y**-2.0),
    (lambda x: 1.0 / x, lambda y: 1.0 / y),
)


class PlainSaving:
    """A wrapped Hugging Face model's ``save_pretrained``: folders that are no checkpoints of a run get plain weights.

    Where a multiplier fits in no weight, it goes into the config if the model reads the scale from there; else the plan
    lies beside the weights, with a note and a warning. A ``state_dict`` that is given, as the Trainer does under FSDP
    and DeepSpeed, is saved as it is. Copies of the model get one of their own.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model

    def __call__(self, save_directory: Any, *args: Any, state_dict: Any = None, **kwargs: Any) -> Any:
        model, plan, folder = self.model, applied_plan(self.model), Path(save_directory)
        save: Any = type(model).save_pretrained
        if plan is None or state_dict is not None or _CHECKPOINT.fullmatch(folder.name) or not any(plan.multipliers()):
            return save(model, save_directory, *args, state_dict=state_dict, **kwargs)
        check_rescaled(model)
        check_in_place(model, plan)
        sites = [(path, site) for path, site in plan.sites.items() if site.factor != 1.0]
        change = config_change(model, plan) if sites else {}
        state = scaled_state(model, plan) if change is not None else None
        result = save(model, save_directory, *args, state_dict=state, **kwargs)
        if not kwargs.get("is_main_process", True):
            return result
        what = f"{plan.parameterization} for {plan.optimizer}, base width {show_width(plan.base_width)}"
        if change is None:
            save_plan(plan, folder)
            shown = "\n".join(f"- {path}: {site.kind}, factor {site.factor:.6g}" for path, site in sites)
            (folder / NOTE).write_text(_NOT_PLAIN.format(plan=what, sites=shown), encoding="utf-8")
            warnings.warn(
                f"{folder} holds weights that alone are another function: {len(sites)} multipliers ({sites[0][1].kind} "
                f"at {sites[0][0]} and the like) fit in no weight. The plan and {NOTE}, which says how to put it back "
                "on, lie beside them",
                stacklevel=2,
            )
            return result
        if change:
            config = copy.deepcopy(model.config)
            vars(config).update(change)
            config.save_pretrained(folder)
            warnings.warn(f"the config in {folder} has the scale of attention that was trained: {change}", stacklevel=2)
        more = "".join(f"; of attention's, in the config's {key} = {value:.6g}" for key, value in change.items())
        (folder / NOTE).write_text(_PLAIN.format(plan=what, more=more), encoding="utf-8")
        return result


def save_plain_from_now(model: nn.Module) -> None:
    """Let ``model.save_pretrained`` write what plain code reads; checkpoints of a run stay as they are."""
    vars(model)["save_pretrained"] = PlainSaving(model)


def config_change(model: Any, plan: Plan) -> dict[str, float] | None:
    """The entry of the model's config, with its value, from which a new model has the scales that attention has here.

    A candidate is an entry from which the unscaled value follows; it is proven by a model that is built from the
    changed config, with the same shapes, and with other floats at the plan's sites alone. None: there is no such entry.
    """
    places = {path: (site.mechanism, site.factor) for path, site in plan.sites.items() if site.factor != 1.0}
    if not places or any(mechanism.on is not On.ATTRIBUTE for mechanism, _ in places.values()):
        return None
    now = {(path, m.name): float(getattr(model.get_submodule(path), m.name)) for path, (m, _) in places.items()}
    path, (mechanism, factor) = next(iter(places.items()))
    scale = now[path, mechanism.name]
    for key, value in model.config.to_dict().items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            continue
        for forward, back in _MAPS:
            if math.isclose(forward(value), scale / factor, rel_tol=1e-6):
                found = back(scale)
                whole = isinstance(value, int) and math.isclose(found, round(found), rel_tol=1e-6)
                change = {key: round(found) if whole else found}
                if _proven(model, change, now):
                    return change
    return None


def _proven(model: Any, change: dict[str, float], expected: dict[tuple[str, str], float]) -> bool:
    config = copy.deepcopy(model.config)
    try:
        for key, value in change.items():
            setattr(config, key, value)
        with torch.device("meta"):
            again = type(model)(config)
    except Exception:  # whatever a config or a model says to a value that it does not take
        return False
    floats = dict(_floats(model))
    return {n: p.shape for n, p in again.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    } and all(
        math.isclose(value, expected.get(place, floats.get(place, math.nan)), rel_tol=1e-6)
        for place, value in _floats(again)
    )


def _floats(model: nn.Module) -> Iterator[tuple[tuple[str, str], float]]:
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, float):
                yield (path, name), value
