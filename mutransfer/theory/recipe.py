"""What is asked of a model at every width alike: a table, and how it is put into effect."""

from __future__ import annotations

from dataclasses import dataclass

from mutransfer.theory import rules
from mutransfer.theory.exponents import Family, Parameterization


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A parameterization, the optimizer that it is for, and the choices that the two leave open.

    >>> Recipe.of("mup", optimizer="adamw").family
    <Family.ADAM: 'adam'>
    """

    table: Parameterization
    optimizer: str  # lower-case name of the torch optimizer
    form: rules.Form = rules.Form.FORWARD
    wd_policy: rules.WdPolicy = rules.WdPolicy.INDEPENDENT
    scale_eps: bool = True  # Adam's eps follows the size of the gradient
    embedding_lr_exponent: float = 0.0  # embeddings train at m**-x times what the table says

    @classmethod
    def of(
        cls,
        parameterization: str | Parameterization,
        *,
        optimizer: str,
        form: str = rules.Form.FORWARD,
        lr_rule: str | None = None,
        wd_policy: str = rules.WdPolicy.INDEPENDENT,
        scale_eps: bool = True,
        embedding_lr_exponent: float = 0.0,
    ) -> Recipe:
        """The recipe in a user's words; PlanError names what is not known, and what is."""
        table = rules.parameterization(parameterization, lr_rule)
        rules.family(optimizer)
        return cls(
            table=table,
            optimizer=optimizer.lower(),
            form=rules.choice(rules.Form, form, "form"),
            wd_policy=rules.choice(rules.WdPolicy, wd_policy, "wd_policy"),
            scale_eps=scale_eps,
            embedding_lr_exponent=embedding_lr_exponent,
        )

    @property
    def family(self) -> Family:
        """The family of the optimizer, by whose rates the table is read."""
        return rules.family(self.optimizer)
