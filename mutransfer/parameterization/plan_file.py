"""The Plan in a file beside a checkpoint: written, read, and compared with the one at hand."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutransfer.errors import PlanError
from mutransfer.parameterization.plan import Plan

FILE = "mutransfer_plan.json"
FORMAT = 1

# Sentences, and sizes that were measured: other versions of torch or of this package give others for the same plan.
_INCIDENTAL = frozenset({"reason", "fresh_rms"})


def save_plan(plan: Plan, folder: str | os.PathLike[str]) -> Path:
    """Write ``mutransfer_plan.json`` into ``folder``, beside a checkpoint; the path of the file.

    The weights alone do not say what they are multiplied with. A checkpoint that is one file can carry
    ``plan.to_json()`` in its own metadata instead.

    >>> import tempfile, mutransfer as mt
    >>> from torch import nn
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = mt.save_plan(plan, folder)
    ...     mt.load_plan(folder) == plan
    True
    """
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": FORMAT, "plan": json.loads(plan.to_json())}), encoding="utf-8")
    return path


def load_plan(folder: str | os.PathLike[str]) -> Plan:
    """The plan that :func:`save_plan` wrote into ``folder``, for :func:`~mutransfer.attach`.

    Raises:
        PlanError: there is no such file; it is not JSON or not a plan; or a newer version of mutransfer wrote it.
    """
    path = Path(folder) / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise PlanError(
            f"no {FILE} in {folder}: write it beside the checkpoint by mutransfer.save_plan(plan, folder) when saving"
        ) from None
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise PlanError(f"{path} holds no plan: none is nested as deep") from None
    except ValueError as error:
        raise PlanError(f"{path} is not valid JSON ({error}); write it again by mutransfer.save_plan") from error
    if not isinstance(data, dict) or type(data.get("format")) is not int or "plan" not in data:
        raise PlanError(f"{path} is not a plan of mutransfer: expected the keys 'format' and 'plan'")
    if data["format"] > FORMAT:
        raise PlanError(
            f"{path} has format {data['format']}, and this version of mutransfer reads up to {FORMAT}: upgrade it"
        )
    try:
        return Plan.from_json(json.dumps(data["plan"]))
    except PlanError as error:
        raise PlanError(f"{path} holds no plan that this version of mutransfer can read: {error}") from None


def check_plan(folder: str | os.PathLike[str], plan: Plan) -> None:
    """Refuse a checkpoint that was saved under another plan than ``plan``, before its weights are loaded.

    Raises:
        PlanError: the plans differ, saying in what; or as :func:`load_plan`.

    >>> import tempfile, mutransfer as mt
    >>> from torch import nn
    >>> build = lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    >>> model, plan = mt.parameterize(build, width=256, base_width=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = mt.save_plan(plan, folder)
    ...     mt.check_plan(folder, plan)  # silent: model.load_state_dict may follow
    """
    saved, here = ({k: v for k, v in p.to_dict().items() if k != "measurement"} for p in (load_plan(folder), plan))
    # What follows from the choices differs with them: only where all choices agree is it news.
    choices = [key for key in here if not isinstance(here[key], dict) or key.endswith("width")]
    found = list(plan_differences({k: saved[k] for k in choices}, {k: here[k] for k in choices}))
    found = found or list(plan_differences(saved, here))
    if found:
        more = f", and {len(found) - 6} more" if len(found) > 6 else ""
        raise PlanError(f"the checkpoint in {folder} was saved under another plan: {'; '.join(found[:6])}{more}")


def plan_differences(saved: Any, here: Any, where: str = "") -> Iterator[str]:
    if isinstance(saved, dict) and isinstance(here, dict):
        for key in (key for key in saved | here if key not in _INCIDENTAL):
            path = f"{where} {key}".strip()
            if key in saved and key in here:
                yield from plan_differences(saved[key], here[key], path)
            else:
                yield f"{path} only {'there' if key in saved else 'here'}"
    elif isinstance(saved, float | int) and isinstance(here, float | int):
        if not math.isclose(saved, here, rel_tol=1e-9):
            yield f"{where} {saved!r}, here {here!r}"
    elif saved != here:
        yield f"{where} {saved!r}, here {here!r}"
