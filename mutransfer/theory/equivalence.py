"""The question whether two tables train one function: equal rows, once forward multipliers are absorbed.

Multiplying a layer's forward multiplier by f and dividing its weight by f changes nothing in training where learning
rate and eps make up for it (Tensor Programs IV, arXiv:2011.14522, Eq. 5; IVb, arXiv:2308.01814, Eq. 2.5; Everett et
al., arXiv:2407.05872, section 3). ``mup``, ``mup_t3``, ``mup_t9`` and ``mf`` are one function in this sense.
"""

from __future__ import annotations

from mutransfer.theory.exponents import Family, Parameterization, Power, Role, Row
from mutransfer.theory.inequalities import TIGHT
from mutransfer.theory.rules import COUPLED_DECAY, DEFAULT_EPS, family


def same_training(
    a: Parameterization,
    b: Parameterization,
    *,
    optimizer: str,
    scale_eps: bool = True,
    weight_decay: bool = False,
    wd_policy: str = "independent",
) -> bool:
    """Whether ``a`` and ``b`` train one function, to rounding, at every width.

    Three things break the symmetry, and then the multipliers themselves must agree: an eps that does not follow the
    gradient (``scale_eps=False``), decay that torch adds to the gradient before Adam and its kin normalise it, and
    decay left as it is (``wd_policy="standard"``) while learning rates differ. SGD's decay does not: it is lr * wd * w.

    Args:
        optimizer: lower-case name; decides which learning rates count, and whether there is an eps.
        scale_eps: whether eps follows the tables.
        weight_decay: whether there is any.
        wd_policy: how it is scaled, if there is.

    >>> from mutransfer.theory.rules import MF, MUP, NTK
    >>> same_training(MUP, MF, optimizer="adamw"), same_training(MUP, NTK, optimizer="adamw")
    (True, False)
    >>> same_training(MUP, MF, optimizer="adamw", scale_eps=False)
    False
    """
    if a.corrects_init != b.corrects_init or abs(a.attention - b.attention) > TIGHT:
        return False
    kind = family(optimizer)
    has_eps = optimizer.lower() in DEFAULT_EPS or kind is Family.MUON
    broken = (has_eps and not scale_eps) or (
        weight_decay and (wd_policy == "standard" or optimizer.lower() in COUPLED_DECAY)
    )
    # SGD's rates weigh the gradients of clip_grad_norm_ whatever the optimizer; beside Muon, AdamW trains the rest.
    families = {kind, Family.SGD, *([Family.ADAM] if kind is Family.MUON else [])}
    eps_counts = has_eps and scale_eps and kind is not Family.ADAFACTOR  # whose eps follows the init

    def powers(row: Row) -> list[Power | None]:
        row = row if broken else row.absorbed()
        rates = [row.lr.get(k) for k in sorted(families)]
        return [row.forward, row.init, row.constant, *rates, *([row.eps] if eps_counts else [])]

    return all(_equal(x, y) for role in Role for x, y in zip(powers(a.rows[role]), powers(b.rows[role]), strict=True))


def _equal(x: Power | None, y: Power | None) -> bool:
    if x is None or y is None:
        return x is y
    return abs(x.fan_in - y.fan_in) < TIGHT and abs(x.fan_out - y.fan_out) < TIGHT
