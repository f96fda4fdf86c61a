"""Scaling: the factors of a plan on one parameter."""

from __future__ import annotations

from dataclasses import dataclass

from mutransfer.theory.rules import Role


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
