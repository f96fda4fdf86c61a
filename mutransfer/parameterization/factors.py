"""The factors on one parameter, from its role, the law of its initialisation and a recipe."""

from __future__ import annotations

from mutransfer.parameterization.initialisation.laws import Measured, law_factor
from mutransfer.parameterization.roles.parameter import Parameter
from mutransfer.parameterization.scaling import Scaling
from mutransfer.theory import rules
from mutransfer.theory.exponents import SHIFT
from mutransfer.theory.recipe import Recipe
from mutransfer.theory.rules import Family, Form, Role, Row


def scaling_of(
    parameter: Parameter, law: Measured | None, own: float, recipe: Recipe, normed_size: float | None = None
) -> Scaling:
    """The scaling of one parameter.

    Args:
        law: how the model's own initialisation scales; None leaves it alone.
        own: the growth of a factor that the model's own forward puts on the parameter.
        normed_size: of a parameter of which a norm is taken, the growth of what is computed with in its place. The
            multiplier that brings that to the table's size is on the layer's input, in every form.
    """
    row = recipe.table.rows[parameter.role]
    if normed_size is None and (recipe.form is Form.ABSORBED or not parameter.multipliable):
        row = row.absorbed()
    m_in, m_out = parameter.m_in, parameter.m_out
    family = rules.family_of(recipe.family, parameter.role, len(parameter.shapes[0]))
    # A forward factor of the user's own that grows: taken out of ours where there is one, else made up for by init,
    # learning rate and eps, like any forward multiplier (Tensor Programs IV Eq. 5, IVb Eq. 2.5).
    ours = row.forward != rules.ONE or normed_size is not None
    forward = row.forward(m_in, m_out) / (own if ours else 1.0)
    if normed_size is not None:
        forward *= row.init(m_in, m_out) / normed_size
    shift = 1.0 if ours else own
    lr = row.rate(family)(m_in, m_out) / shift ** SHIFT[family]
    if parameter.role is Role.INPUT and parameter.owner in ("Embedding", "EmbeddingBag"):
        lr *= m_out**-recipe.embedding_lr_exponent
    init, reason = 1.0, f"{parameter.reason} [{row.source}]"
    if law is not None:
        power = row.constant if law.law.constant else row.init
        init = power(m_in, m_out) / shift / law_factor(law.law, parameter, 1)
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
        wd_mult=rules.wd_factor(recipe.wd_policy, parameter.role, lr, m_in),
        eps_mult=_eps_mult(row, family, m_in, m_out, shift) if recipe.scale_eps else 1.0,
        norm_mult=row.lr[Family.SGD](m_in, m_out) / shift**2 if Family.SGD in row.lr else None,
    )


def _eps_mult(row: Row, family: Family, m_in: float, m_out: float, shift: float) -> float:
    if family is Family.ADAM:
        return row.eps(m_in, m_out) * shift
    # Adafactor's floor under the size of a weight: the same multiple of its init at every width.
    return row.init(m_in, m_out) / shift if family is Family.ADAFACTOR else 1.0
