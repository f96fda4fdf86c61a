"""The questions of the step guard: what an optimizer trains of a wrapped model, and whether as the plan asks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from mutransfer.errors import PlanError
from mutransfer.parameterization.groups.lr_guard import check_ratios
from mutransfer.parameterization.groups.muon_groups import muon_lr_mult
from mutransfer.parameterization.groups.optimizer_family import family_by_name
from mutransfer.parameterization.groups.tensor_access import may_read
from mutransfer.parameterization.groups.written_numbers import WRITTEN, number_of, proportional
from mutransfer.parameterization.model.names import canonical
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.awaited_values import check_rescaled
from mutransfer.parameterization.wrapping.fit import check_in_place
from mutransfer.parameterization.wrapping.wrapped_models import wrapped_models
from mutransfer.theory.rules import Family, family, family_of, wd_factor

_SAME = 1e-6  # relative: two numbers that were computed in two ways
_WORDS = {"lr": "learning rate", "weight_decay": "weight decay", "eps": "eps"}


@dataclass(frozen=True, eq=False)
class TrainedPart:
    """What one optimizer trains of one wrapped model: names and parameters, by the number of their group."""

    optimizer: torch.optim.Optimizer
    model: nn.Module
    plan: Plan
    members: dict[int, list[tuple[str, nn.Parameter]]]

    def rates(self) -> list[tuple[int, float]]:
        """The groups that :func:`~mutransfer.param_groups` made, each with its factor on the learning rate."""
        groups = self.optimizer.param_groups
        return [(i, groups[i]["lr_mult"]) for i in self.members if "lr_mult" in groups[i]]

    def check(self) -> None:
        """Raise PlanError where the optimizer's step would certainly not be the plan's."""
        check_rescaled(self.model)
        check_in_place(self.model, self.plan)
        self._check_family()
        for key in _WORDS:
            self._check_numbers(key)

    def check_rates(self) -> None:
        """Raise PlanError where learning rates keep neither the plan's ratios nor those that groups were made with."""
        rates = dict(self.rates())
        made = [self.optimizer.param_groups[i] for i in rates]
        if all(may_read(group["lr"]) for group in made):
            pairs = [(float(group["lr"]), group.get(WRITTEN.format("lr"), 0.0)) for group in made]
            if not all(written for _, written in pairs) or not proportional(pairs):
                check_ratios(self.optimizer, rates)

    def doubts(self) -> Iterator[str]:
        """What is perhaps not the plan's, in sentences."""
        found, certain = family_by_name(self.optimizer)
        if found is not None and not certain and (odd := self._of_another(found)):
            yield (
                f"{self._name} has no rule here and by its name is of the family of {found}; the plan is for "
                f"{self.plan.optimizer!r}, whose learning rates scale otherwise ({odd[0]})"
            )
        own = {i: group for i, group in self._groups() if "lr_mult" not in group}
        for key, word in _WORDS.items() if own else ():
            pairs = [(v, self._mults(i, key)) for i, g in own.items() if (v := number_of(g, key))]
            bases = [value / mult for value, mults in pairs for mult in mults if mult]
            if bases and max(bases) > min(bases) * (1 + _SAME):
                yield (
                    f"{self._name}: groups that mutransfer.param_groups did not make have values of {word} whose "
                    f"ratios are not the plan's. {self._fix}"
                )

    def _check_family(self) -> None:
        found, certain = family_by_name(self.optimizer)
        if certain and (odd := self._of_another(found)):
            kind = "has no rule here" if found is None else f"is of the family of {found}"
            raise PlanError(
                f"{self._name} does not follow the plan: it {kind}, and the plan (optimizer {self.plan.optimizer!r}) "
                f"has learning rates for another at {', '.join(odd[:3])}. Make the plan with optimizer= the one that "
                "trains, or train with the plan's. (mutransfer.guard says what happens here)"
            )

    def _check_numbers(self, key: str) -> None:
        """Raise where the plan tells parameters apart by what is one number here, or made groups were changed."""
        made: list[tuple[int, float, float]] = []
        own: list[tuple[float | None, float, str]] = []
        for i, group in self._groups():
            value, mults = number_of(group, key), self._mults(i, key)
            if key not in group:  # Lion has no eps
                continue
            if value == 0 and WRITTEN.format(key) not in group:
                continue
            if len(mults) > 1 and value != 0 and (key == "lr" or "lr_mult" in group):
                self._flattened(key, value, *list(mults.items())[:2])
            if "lr_mult" not in group:
                own += [(value, mult, name) for mult, name in mults.items()]
            elif value is not None and (written := group.get(WRITTEN.format(key))) is not None:
                made.append((i, value, written))
        if key == "lr":
            for value, mult, name in own:
                for other, its, beside in own:
                    if value is not None and value == other and not math.isclose(mult, its, rel_tol=_SAME):
                        self._flattened(key, value, (mult, name), (its, beside))
        if key == "lr":
            self.check_rates()
        elif not proportional([(value, written) for _, value, written in made]):
            shown = ", ".join(f"{value:.3g} in group {i} ({w:.3g} as made)" for i, value, w in made[:4])
            raise PlanError(
                f"{self._name} does not follow the plan: {_WORDS[key]} was changed in groups that "
                f"mutransfer.param_groups made, not by one factor: {shown}. Give it to param_groups, or multiply "
                "that of all groups by the same factor"
            )

    def _flattened(self, key: str, value: float | None, one: tuple[float, str], other: tuple[float, str]) -> None:
        (mult, name), (its, beside) = one, other
        shown = "" if value is None else f" {value:.4g}"
        raise PlanError(
            f"{self._name} does not follow the plan: {name} and {beside} have the same {_WORDS[key]}{shown}, and by "
            f"the plan ({self.plan.parameterization}) they have factors {mult:.4g} and {its:.4g}. {self._fix}"
        )

    def _groups(self) -> list[tuple[int, dict[str, Any]]]:
        return [(i, self.optimizer.param_groups[i]) for i in self.members]

    def _mults(self, number: int, key: str) -> dict[float, str]:
        """The plan's factors on a number of one group, each with the first parameter that has it."""
        return self._factors[number, key]

    @cached_property
    def _factors(self) -> dict[tuple[int, str], dict[float, str]]:
        found: dict[tuple[int, str], dict[float, str]] = {(i, key): {} for i in self.members for key in _WORDS}
        muon = self._family is Family.MUON
        for number, members in self.members.items():
            lr, weight_decay, eps = (found[number, key] for key in _WORDS)
            adjust = self.optimizer.param_groups[number].get("adjust_lr_fn") or "original"
            for name, parameter in members:
                s = self.plan.scalings[name]
                rate, decay = s.lr_mult, s.wd_mult
                if muon and self._family_of(name, parameter) is Family.MUON:
                    # Shapes of one role have rates that are equal but for rounding.
                    rate = float(f"{muon_lr_mult(parameter, s, adjust):.9g}")
                    decay = float(f"{wd_factor(self.plan.wd_policy, s.role, rate, s.m_in):.9g}")
                lr.setdefault(rate, name)
                weight_decay.setdefault(decay, name)
                eps.setdefault(s.eps_mult, name)
        return found

    @cached_property
    def _family(self) -> Family:
        return family(self.plan.optimizer)

    def _family_of(self, name: str, parameter: nn.Parameter) -> Family:
        return family_of(self._family, self.plan.scalings[name].role, parameter.ndim)

    def _of_another(self, found: Family | None) -> list[str]:
        if found is self._family is not Family.MUON:
            return []
        pairs = [pair for members in self.members.values() for pair in members]
        return [name for name, parameter in pairs if self._family_of(name, parameter) is not found]

    @property
    def _name(self) -> str:
        return type(self.optimizer).__name__

    @property
    def _fix(self) -> str:
        made = "muon_groups" if self.plan.optimizer == "muon" else "param_groups"
        return f"Make its groups by mutransfer.{made}(model, plan, lr=...). (mutransfer.guard says what happens here)"


def shares(optimizer: torch.optim.Optimizer) -> list[TrainedPart]:
    """What ``optimizer`` trains of every wrapped model whose plan asks for anything."""
    numbers = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"] if p.requires_grad}
    found = []
    for model, plan in wrapped_models():
        members: dict[int, list[tuple[str, nn.Parameter]]] = {}
        for full, parameter in model.named_parameters():
            if (number := numbers.get(id(parameter))) is not None:
                name = full if full in plan.scalings else canonical(full, plan.scalings.keys())
                if name in plan.scalings:
                    members.setdefault(number, []).append((name, parameter))
        if members and not is_trivial(plan):
            found.append(TrainedPart(optimizer, model, plan, members))
    return found


def is_trivial(plan: Plan) -> bool:
    """Whether the plan leaves model and optimizer as they are, as at base width."""
    return not any(site.factor != 1.0 for site in plan.sites.values()) and all(
        s.init_mult == s.forward_mult == s.lr_mult == s.wd_mult == s.eps_mult == 1.0 for s in plan.scalings.values()
    )
