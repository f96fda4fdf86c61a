"""mutransfer: infinite-width parameterization and hyperparameter transfer for the PyTorch model you already have.

The public API, a table of contents. Names load on first use, so that ``mutransfer --help`` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutransfer import kernels as kernels
    from mutransfer.parameterization.groups.clipping import clip_grad_norm_ as clip_grad_norm_
    from mutransfer.parameterization.groups.lr_guard import check_lr as check_lr
    from mutransfer.parameterization.groups.muon_groups import muon_groups as muon_groups
    from mutransfer.parameterization.groups.param_groups import param_groups as param_groups
    from mutransfer.parameterization.groups.param_groups import set_lr as set_lr
    from mutransfer.parameterization.groups.step_guard import guard as guard
    from mutransfer.parameterization.model.layouts import Axes as Axes
    from mutransfer.parameterization.plan import Plan as Plan
    from mutransfer.parameterization.plan_file import check_plan as check_plan
    from mutransfer.parameterization.plan_file import load_plan as load_plan
    from mutransfer.parameterization.plan_file import save_plan as save_plan
    from mutransfer.parameterization.scaling import Scaling as Scaling
    from mutransfer.parameterization.sites import Site as Site
    from mutransfer.parameterization.wrapping.apply import apply as apply
    from mutransfer.parameterization.wrapping.apply import attach as attach
    from mutransfer.parameterization.wrapping.apply import parameterize as parameterize
    from mutransfer.parameterization.wrapping.fold import fold as fold
    from mutransfer.parameterization.wrapping.plain_weights import plain_state_dict as plain_state_dict
    from mutransfer.theory import regimes as regimes
    from mutransfer.theory import rules as rules
    from mutransfer.theory.rules import Parameterization as Parameterization
    from mutransfer.theory.rules import Role as Role
    from mutransfer.training.run import run as run
    from mutransfer.training.spec import RunResult as RunResult
    from mutransfer.training.spec import RunSpec as RunSpec
    from mutransfer.training.task import Task as Task
    from mutransfer.transfer.coordinates.check import coordinate_check as coordinate_check
    from mutransfer.transfer.falsification.falsify import falsify as falsify
    from mutransfer.transfer.falsification.finding import Finding as Finding
    from mutransfer.transfer.falsification.result import Falsification as Falsification
    from mutransfer.transfer.runs.record import Record as Record
    from mutransfer.transfer.search.space import Choice as Choice
    from mutransfer.transfer.search.space import Range as Range
    from mutransfer.transfer.search.tune import tune as tune
    from mutransfer.transfer.verification.budget import Budget as Budget
    from mutransfer.transfer.verification.verdict import Movement as Movement
    from mutransfer.transfer.verification.verdict import Verdict as Verdict
    from mutransfer.transfer.verification.verify import verify as verify

__version__ = "0.1.0"

_HOMES = {
    "kernels": "kernels",
    "regimes": "theory.regimes",
    "rules": "theory.rules",
    "apply": "parameterization.wrapping.apply:apply",
    "attach": "parameterization.wrapping.apply:attach",
    "parameterize": "parameterization.wrapping.apply:parameterize",
    "Axes": "parameterization.model.layouts:Axes",
    "check_plan": "parameterization.plan_file:check_plan",
    "load_plan": "parameterization.plan_file:load_plan",
    "save_plan": "parameterization.plan_file:save_plan",
    "clip_grad_norm_": "parameterization.groups.clipping:clip_grad_norm_",
    "fold": "parameterization.wrapping.fold:fold",
    "plain_state_dict": "parameterization.wrapping.plain_weights:plain_state_dict",
    "param_groups": "parameterization.groups.param_groups:param_groups",
    "set_lr": "parameterization.groups.param_groups:set_lr",
    "check_lr": "parameterization.groups.lr_guard:check_lr",
    "guard": "parameterization.groups.step_guard:guard",
    "muon_groups": "parameterization.groups.muon_groups:muon_groups",
    "Plan": "parameterization.plan:Plan",
    "Scaling": "parameterization.scaling:Scaling",
    "Site": "parameterization.sites:Site",
    "Parameterization": "theory.rules:Parameterization",
    "Role": "theory.rules:Role",
    "run": "training.run:run",
    "RunResult": "training.spec:RunResult",
    "RunSpec": "training.spec:RunSpec",
    "Task": "training.task:Task",
    "coordinate_check": "transfer.coordinates.check:coordinate_check",
    "Budget": "transfer.verification.budget:Budget",
    "Choice": "transfer.search.space:Choice",
    "Range": "transfer.search.space:Range",
    "Falsification": "transfer.falsification.result:Falsification",
    "Finding": "transfer.falsification.finding:Finding",
    "falsify": "transfer.falsification.falsify:falsify",
    "Record": "transfer.runs.record:Record",
    "tune": "transfer.search.tune:tune",
    "Movement": "transfer.verification.verdict:Movement",
    "Verdict": "transfer.verification.verdict:Verdict",
    "verify": "transfer.verification.verify:verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mutransfer' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = import_module(f"mutransfer.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(_HOMES)
