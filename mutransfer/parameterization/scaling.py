"""The factors on one parameter, from its role, its initialisation and a table."""

from __future__ import annotations

from dataclasses import dataclass

from mutransfer.parameterization.initialisation.laws import Measured, law_factor
from mutransfer.parameterization.roles.parameter import Parameter
from mutransfer.theory import rules
from mutransfer.theory.exponents import SHIFT
from mutransfer.theory.rules import Family, Parameterization, Role, Row


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The factors on one parameter, relative to the user's model and hyperparameters at base width."""

    role: Role
    reason: str
    m_in: float  # fan_in over fan_in at base; 1 if it does not grow
    m_out: float
    own_mult: float = 1.0  # how a factor in the model's own forward grows; made up for in the others
    init_mult: float = 1.0  # on the values that the factory drew
    forward_mult: float = 1.0  # on the product with the input, at every forward pass
    lr_mult: float = 1.0
    wd_mult: float = 1.0
    eps_mult: float = 1.0  # on Adam's eps; on Adafactor's second, the least size of a weight that its steps count
    norm_mult: float | None = 1.0  # on its squared gradient in clip_grad_norm_: SGD's factor; None: no row for SGD


def scaling_of(
    parameter: Parameter,
    law: Measured | None,
    table: Parameterization,
    kind: Family,
    form: str,
    wd_policy: str,
    scale_eps: bool,
    embedding_lr_exponent: float,
    own: float,
) -> Scaling:
    """The factors of one table on one parameter; ``law``: None leaves init alone; ``own``: the growth of its factor."""
    row = table.rows[parameter.role]
    if form == "absorbed" or not parameter.multipliable:
        row = row.absorbed()
    m_in, m_out = parameter.m_in, parameter.m_out
    kind = rules.family_of(kind, parameter.role, len(parameter.shapes[0]))
    # A forward factor of the user's own that grows: taken out of ours where there is one, else made up for by init,
    # learning rate and eps, like any forward multiplier (Tensor Programs IV Eq. 5, IVb Eq. 2.5).
    ours = row.forward != rules.ONE
    forward = row.forward(m_in, m_out) / (own if ours else 1.0)
    shift = 1.0 if ours else own
    lr = row.rate(kind)(m_in, m_out) / shift ** SHIFT[kind]
    if parameter.role is Role.INPUT and parameter.owner in ("Embedding", "EmbeddingBag"):
        lr *= m_out**-embedding_lr_exponent
    init, reason = 1.0, f"{parameter.reason} [{row.source}]"
    if law is not None:
        grown = row.constant if law.law.constant else row.init
        init = grown(m_in, m_out) / shift / law_factor(law.law, parameter, 1)
        reason = f"{parameter.reason}; drawn {law.law} [{row.source}]"
    return Scaling(
        role=parameter.role,
        reason=reason,
        m_in=m_in,
        m_out=m_out,
        own_mult=own,
        init_mult=init,
        forward_mult=forward,
        lr_mult=lr,
        wd_mult=rules.wd_factor(wd_policy, parameter.role, lr, m_in),
        eps_mult=_eps_mult(row, kind, m_in, m_out, shift) if scale_eps else 1.0,
        norm_mult=row.lr[Family.SGD](m_in, m_out) / shift**2 if Family.SGD in row.lr else None,
    )


def _eps_mult(row: Row, kind: Family, m_in: float, m_out: float, shift: float) -> float:
    if kind is Family.ADAM:
        return row.eps(m_in, m_out) * shift
    # Adafactor's floor under the size of a weight: the same multiple of its init at every width.
    return row.init(m_in, m_out) / shift if kind is Family.ADAFACTOR else 1.0
