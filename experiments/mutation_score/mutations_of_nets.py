"""Broken plans on nets with BatchNorm, under SGD, on mixtures of experts and on recurrent nets."""

from __future__ import annotations

from experiments.mutation_score.changes import as_row, growth, root, scaled, table_of
from experiments.mutation_score.mutation import (
    BOTTLE,
    HIDDEN,
    INIT,
    INPUT,
    LAST,
    LR,
    MULTIPLIER,
    OUTPUT,
    ROLE,
    VECTOR,
    Mutation,
)
from experiments.mutation_score.settings import Setting

NORMED, NORMED_SGD, NORMED_NTK = (
    Setting("normed digits"),
    Setting("normed digits", "sgd"),
    Setting("normed digits", "sgd", "ntk"),
)
CONVOLUTIONAL, CONVOLUTIONAL_SGD = Setting("convolutional digits"), Setting("convolutional digits", "sgd")
SGD, ABSORBED_SGD = Setting("digits", "sgd"), Setting("digits", "sgd", form="absorbed")
MIXTURE, ROUTED, ROUTED_SGD = Setting("mixture digits"), Setting("routed digits"), Setting("routed digits", "sgd")
RECURRENT, RECURRENT_SGD = Setting("recurrent digits"), Setting("recurrent digits", "sgd")
RECURRENT_ABSORBED = Setting("recurrent digits", form="absorbed")
GATED, GATED_SGD = Setting("gated digits"), Setting("gated digits", "sgd")
GAINS, EXPERTS, RECURRENCE = "[25].*", "experts.*.weight", "cell.weight_hh_l0"

OF_NETS: tuple[Mutation, ...] = (
    # BatchNorm.
    Mutation("hidden rate unscaled between BatchNorms", NORMED, scaled(HIDDEN, lr_mult=1.0), ("4.weight",), LR),
    Mutation("BatchNorm's rates m times too large", NORMED, scaled(GAINS, lr_mult=growth), (GAINS,), LR),
    Mutation("BatchNorm's rates unscaled under SGD", NORMED_SGD, scaled(GAINS, lr_mult=1.0), (GAINS,), LR),
    Mutation("BatchNorm's rates m times too large under ntk", NORMED_NTK, scaled(GAINS, lr_mult=growth), (GAINS,), LR),
    Mutation("BatchNorm's gains scaled like hidden", NORMED, scaled("[25].weight", init_mult=root), (GAINS,), INIT),
    Mutation(
        "convolution's rate unscaled", CONVOLUTIONAL, scaled("4.weight", lr_mult=1.0, eps_mult=1.0), ("4.weight",), LR
    ),
    Mutation(
        "convolution's init rescaled though the model does it",
        CONVOLUTIONAL,
        scaled(HIDDEN, init_mult=root),
        ("4.weight",),
        INIT,
    ),
    Mutation(
        "readout multiplier missing behind pooling",
        CONVOLUTIONAL,
        scaled(OUTPUT, forward_mult=1.0, init_mult=1.0),
        ("9.weight",),
        MULTIPLIER + INIT,
    ),
    Mutation(
        "first convolution's rate unscaled under SGD", CONVOLUTIONAL_SGD, scaled(INPUT, lr_mult=1.0), ("1.weight",), LR
    ),
    # SGD.
    Mutation(
        "hidden rate scaled as under Adam, under SGD",
        SGD,
        scaled(HIDDEN, lr_mult=lambda s: 1 / s.m_in),
        ("3.weight", "5.weight"),
        LR,
    ),
    Mutation(
        "readout rate scaled the wrong way under SGD", SGD, scaled(OUTPUT, lr_mult=lambda s: 1 / s.lr_mult), LAST, LR
    ),
    Mutation("readout rate unscaled under SGD, absorbed form", ABSORBED_SGD, scaled(OUTPUT, lr_mult=1.0), LAST, LR),
    Mutation("NTK's table under the name of mup, under SGD", SGD, table_of("ntk"), ("*",), LR + MULTIPLIER),
    Mutation(
        "bottleneck's rate scaled as under Adam, under SGD",
        Setting("bottleneck digits", "sgd"),
        scaled(BOTTLE, lr_mult=lambda s: s.lr_mult / s.m_in),
        ("3.weight",),
        LR,
    ),
    # Mixtures of experts.
    Mutation("router read as hidden", MIXTURE, as_row(BOTTLE, HIDDEN), ("gate.weight",), ROLE),
    Mutation("router's rate unscaled", MIXTURE, scaled("gate.weight", lr_mult=1.0), ("gate.weight",), LR),
    Mutation("experts' rates unscaled", MIXTURE, scaled(EXPERTS, lr_mult=1.0), (EXPERTS,), LR),
    Mutation(
        "one expert forgotten",
        ROUTED,
        scaled("experts.2.*.weight", lr_mult=1.0, eps_mult=1.0),
        ("experts.2.*.weight",),
        LR,
    ),
    Mutation(
        "experts' rates scaled as under Adam, under SGD",
        ROUTED_SGD,
        scaled(EXPERTS, lr_mult=lambda s: 1 / s.m_in),
        (EXPERTS,),
        LR,
    ),
    # Recurrent nets.
    Mutation("recurrent rate unscaled", RECURRENT, scaled("recur.weight", lr_mult=1.0), ("recur.weight",), LR),
    Mutation(
        "recurrent net's input init scaled like hidden",
        RECURRENT,
        scaled("read.weight", init_mult=root),
        ("read.weight",),
        INIT,
    ),
    Mutation(
        "recurrent net's biases unscaled under SGD",
        RECURRENT_SGD,
        scaled(VECTOR, lr_mult=1.0),
        ("rea[d].bias", "recur.bias"),
        LR,
    ),
    Mutation(
        "recurrent net's readout rate unscaled, absorbed form",
        RECURRENT_ABSORBED,
        scaled(OUTPUT, lr_mult=1.0),
        ("readout.weight",),
        LR,
    ),
    Mutation("GRU's recurrence read as input", GATED, as_row(HIDDEN, INPUT), (RECURRENCE,), ROLE),
    Mutation("GRU's recurrence rescaled twice", GATED, scaled(RECURRENCE, init_mult=root), (RECURRENCE,), INIT),
    Mutation(
        "GRU's recurrence scaled as under Adam, under SGD",
        GATED_SGD,
        scaled(RECURRENCE, lr_mult=lambda s: 1 / s.m_in),
        (RECURRENCE,),
        LR,
    ),
)
