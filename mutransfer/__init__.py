"""mutransfer: infinite-width parameterization and hyperparameter transfer for the PyTorch model you already have.

The public API, a table of contents. Names load on first use, so that ``mutransfer --help`` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutransfer import measure as measure
    from mutransfer.parameterization import regimes as regimes
    from mutransfer.parameterization.apply import apply as apply
    from mutransfer.parameterization.apply import parameterize as parameterize
    from mutransfer.parameterization.axes import Axes as Axes
    from mutransfer.parameterization.groups import param_groups as param_groups
    from mutransfer.parameterization.groups import set_lr as set_lr
    from mutransfer.parameterization.plan import Plan as Plan
    from mutransfer.parameterization.plan import Scaling as Scaling
    from mutransfer.parameterization.plan import Site as Site
    from mutransfer.parameterization.rules import Parameterization as Parameterization
    from mutransfer.parameterization.rules import Role as Role

__version__ = "0.1.0"

_HOMES = {
    "regimes": "parameterization.regimes",
    "apply": "parameterization.apply:apply",
    "parameterize": "parameterization.apply:parameterize",
    "Axes": "parameterization.axes:Axes",
    "param_groups": "parameterization.groups:param_groups",
    "set_lr": "parameterization.groups:set_lr",
    "Plan": "parameterization.plan:Plan",
    "Scaling": "parameterization.plan:Scaling",
    "Site": "parameterization.plan:Site",
    "Parameterization": "parameterization.rules:Parameterization",
    "Role": "parameterization.rules:Role",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mutransfer' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = import_module(f"mutransfer.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(_HOMES)
