"""Changes that turn the right plan of one width into a wrong one; at base width factors are 1, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch

from experiments.mutation_score.settings import Setting, plan_of
from mutransfer.parameterization import rules
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.rules import Role
from mutransfer.parameterization.scaling import Scaling
from mutransfer.parameterization.sites import Site

Change = Callable[[Plan, Setting], Plan]


def scaled(which: Role | str, **factors: Callable[[Scaling], float] | float) -> Change:
    """Factors of the parameters of a role, or of those whose name matches; rates change, decay per step does not."""

    def change(plan: Plan, setting: Setting) -> Plan:
        def one(name: str, s: Scaling) -> Scaling:
            if not (s.role is which if isinstance(which, Role) else fnmatch(name, which)):
                return s
            found = {f: value(s) if callable(value) else value for f, value in factors.items()}
            if "lr_mult" in found:
                found.setdefault("wd_mult", s.wd_mult * s.lr_mult / found["lr_mult"])
            return replace(s, **found)

        return replace(plan, scalings={name: one(name, s) for name, s in plan.items()})

    return change


def both(*changes: Change) -> Change:
    def change(plan: Plan, setting: Setting) -> Plan:
        for one in changes:
            plan = one(plan, setting)
        return plan

    return change


def as_row(which: Role | str, role: Role, table: str = "mup") -> Change:
    """Read as another role, all factors and the reason for them."""

    def change(plan: Plan, setting: Setting) -> Plan:
        row = rules.parameterization(table).rows[role]
        row = row.absorbed() if setting.form == "absorbed" else row

        def one(name: str, s: Scaling) -> Scaling:
            if not (s.role is which if isinstance(which, Role) else fnmatch(name, which)):
                return s
            m_in, m_out = (s.m_in, s.m_out) if role is not Role.OUTPUT or s.m_in > 1 else (s.m_out, s.m_in)
            lr = row.rate(rules.family(setting.optimizer))(m_in, m_out)
            right = rules.parameterization(table).rows[s.role]
            right = right.absorbed() if setting.form == "absorbed" else right
            return replace(
                s,
                role=role,
                m_in=m_in,
                m_out=m_out,
                init_mult=s.init_mult * row.init(m_in, m_out) / right.init(s.m_in, s.m_out),
                forward_mult=row.forward(m_in, m_out),
                lr_mult=lr,
                wd_mult=1 / lr,
                eps_mult=row.eps(m_in, m_out),
            )

        return replace(plan, scalings={name: one(name, s) for name, s in plan.items()})

    return change


def rates_of(optimizer: str) -> Change:
    """Learning rates of the same table for another optimizer."""

    def change(plan: Plan, setting: Setting) -> Plan:
        other = plan_of(replace(setting, optimizer=optimizer, others=()), int(str(plan.width)), setting.base, "mup")
        rates = {name: s.lr_mult for name, s in other.items()}
        return replace(plan, scalings={n: replace(s, lr_mult=rates[n], wd_mult=1 / rates[n]) for n, s in plan.items()})

    return change


def sites(kind: str, power: float) -> Change:
    """Factors of multipliers on a use, to another power: 0 leaves them out."""

    def change(plan: Plan, setting: Setting) -> Plan:
        found = {p: replace(s, factor=s.factor**power) if s.kind == kind else s for p, s in plan.sites.items()}
        return replace(plan, sites={p: s for p, s in found.items() if s.factor != 1.0})

    return change


def site(path: str, kind: str, mechanism: str) -> Change:
    """A multiplier 1/m on a use."""

    def change(plan: Plan, setting: Setting) -> Plan:
        factor = setting.base / int(str(plan.width))
        return replace(plan, sites={**plan.sites, path: Site(kind=kind, factor=factor, mechanism=mechanism)})

    return change


def wrong_base(plan: Plan, setting: Setting) -> Plan:
    """Half of the width at which it was tuned: the one change that base width sees too."""
    return plan_of(setting, int(str(plan.width)), setting.base // 2, setting.parameterization)


def table_of(name: str) -> Change:
    """Another parameterization under this one's name."""

    def change(plan: Plan, setting: Setting) -> Plan:
        other = plan_of(setting, int(str(plan.width)), setting.base, name)
        return replace(other, parameterization=setting.parameterization)

    return change


def growth(s: Scaling) -> float:
    """How the width grows, from whichever dimension does."""
    return max(s.m_in, s.m_out)


def root(s: Scaling) -> float:
    return growth(s) ** -0.5
