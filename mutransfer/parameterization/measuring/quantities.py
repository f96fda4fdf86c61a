"""The quantities that a few steps of training are measured by, each a number per module, parameter or attention."""

from __future__ import annotations

from enum import StrEnum


class Quantity(StrEnum):
    """What is measured. Sizes are root-mean-squares on a fixed batch."""

    # of modules, before the first step alone
    SPREAD = "spread"  # the output less its bias, or its mean over examples
    INPUT = "input"
    # of parameters, before the first step
    ROUNDING = "rounding"  # the part of the gradient in train mode that is nothing else
    # of modules, at every look
    SIZE = "size"
    CHANGE = "change"
    EFFECTIVE = "effective"  # the part of a change that the module's own parameters make
    PROPAGATED = "propagated"  # the part that comes with its input
    # of parameters, after the first step
    UPDATE = "update"  # what each alone does to its module's initial output
    GRADIENT = "gradient"
    EPS_OVER_GRADIENT = "eps over gradient"  # of a plan's eps factor; made of the gradient by the coordinate check
    # of attention, by path
    LOGITS = "logits"


OF_MODULES = (Quantity.SIZE, Quantity.CHANGE, Quantity.EFFECTIVE, Quantity.PROPAGATED)  # at every look
