"""Broken plans, as data: what is changed, where, and what a check should then say."""

from __future__ import annotations

from experiments.mutation_score.changes import (
    as_row,
    both,
    growth,
    rates_of,
    root,
    scaled,
    site,
    sites,
    table_of,
    wrong_base,
)
from experiments.mutation_score.mutation import (
    BIASES,
    BOTTLE,
    FIRST,
    HIDDEN,
    HIDDENS,
    INIT,
    INPUT,
    LAST,
    LR,
    MATRICES,
    MULTIPLIER,
    OUTPUT,
    ROLE,
    VECTOR,
    Mutation,
)
from experiments.mutation_score.mutations_of_nets import OF_NETS
from experiments.mutation_score.settings import Setting

DIGITS, SGD, GPT = Setting("digits"), Setting("digits", "sgd"), Setting("gpt", "adamw")
DECAYED = Setting("digits", "adamw", others=(("weight_decay", 2.0),))
GPT_DECAYED = Setting("gpt", "adamw", others=(("weight_decay", 2.0),))
LARGE_EPS = Setting("digits", others=(("eps", 1e-3),))
ABSORBED = Setting("digits", form="absorbed")
TAPERED = Setting("tapered digits")
BOTTLENECK = Setting("bottleneck digits")
TIED, HEADS = Setting("tied gpt", "adamw"), Setting("gpt, growing heads", "adamw")
MUTATIONS: tuple[Mutation, ...] = (
    # Initialisation and forward multipliers.
    Mutation("init rescaled twice", DIGITS, scaled("*", init_mult=lambda s: s.init_mult**2), LAST, INIT),
    Mutation("hidden init rescaled though the model does it", DIGITS, scaled(HIDDEN, init_mult=root), HIDDENS, INIT),
    Mutation("input init scaled like hidden", DIGITS, scaled(INPUT, init_mult=root), FIRST, INIT),
    Mutation(
        "embedding init scaled like hidden",
        GPT,
        scaled(INPUT, init_mult=root),
        ("tokens.weight", "positions.weight"),
        INIT,
    ),
    Mutation("norm gains scaled like hidden", GPT, scaled("*norm.weight", init_mult=root), ("*norm.weight",), INIT),
    Mutation(
        "readout multiplier missing", DIGITS, scaled(OUTPUT, forward_mult=1.0, init_mult=1.0), LAST, MULTIPLIER + INIT
    ),
    Mutation("readout multiplier 1/sqrt(m)", GPT, scaled(OUTPUT, forward_mult=root), ("readout.weight",), MULTIPLIER),
    Mutation(
        "one layer forgotten",
        GPT,
        scaled("blocks.1.up.weight", lr_mult=1.0, eps_mult=1.0, init_mult=1.0, wd_mult=1.0),
        ("blocks.1.up.weight",),
        LR,
    ),
    Mutation(
        "one layer forgotten, absorbed form",
        ABSORBED,
        scaled("5.weight", lr_mult=1.0, eps_mult=1.0, wd_mult=1.0),
        ("5.weight",),
        LR,
    ),
    # Learning rates.
    Mutation("hidden rate unscaled", DIGITS, scaled(HIDDEN, lr_mult=1.0), HIDDENS, LR),
    Mutation("hidden rate scaled the wrong way", DIGITS, scaled(HIDDEN, lr_mult=lambda s: s.m_in), HIDDENS, LR),
    Mutation("hidden rate scaled twice", GPT, scaled(HIDDEN, lr_mult=lambda s: s.lr_mult**2), MATRICES, LR),
    Mutation(
        "embedding rate scaled like hidden",
        GPT,
        scaled(INPUT, lr_mult=lambda s: 1 / s.m_out),
        ("tokens.weight", "positions.weight"),
        LR,
    ),
    Mutation("input rate unscaled under SGD", SGD, scaled(INPUT, lr_mult=1.0), FIRST, LR),
    Mutation("readout rate unscaled under SGD", SGD, scaled(OUTPUT, lr_mult=1.0), LAST, LR),
    Mutation(
        "readout rate scaled like hidden, on top of the multiplier",
        GPT,
        scaled(OUTPUT, lr_mult=lambda s: 1 / s.m_in),
        ("readout.weight",),
        LR,
    ),
    Mutation("readout rate unscaled, absorbed form", ABSORBED, scaled(OUTPUT, lr_mult=1.0), LAST, LR),
    Mutation(
        "vector rate scaled like hidden", GPT, scaled(VECTOR, lr_mult=lambda s: 1 / growth(s)), ("*norm*", "*.bias"), LR
    ),
    Mutation("vector rate unscaled under SGD", SGD, scaled(VECTOR, lr_mult=1.0), BIASES, LR),
    Mutation("SGD's rates under Adam", DIGITS, rates_of("sgd"), ("*",), LR),
    Mutation("Adam's rates under SGD", SGD, rates_of("adam"), ("*",), LR),
    Mutation(
        "scheduler that flattens the ratios", GPT, scaled("*", lr_mult=1.0, wd_mult=lambda s: s.wd_mult), MATRICES, LR
    ),
    Mutation(
        "loop that writes one rate, under SGD", SGD, scaled("*", lr_mult=1.0, wd_mult=lambda s: s.wd_mult), ("*",), LR
    ),
    # Roles and fans.
    Mutation(
        "fan axes swapped",
        TAPERED,
        scaled(
            HIDDEN,
            lr_mult=lambda s: 1 / s.m_out,
            eps_mult=lambda s: 1 / s.m_in,
            init_mult=lambda s: s.init_mult * (s.m_in / s.m_out) ** 0.5,
        ),
        ("3.weight",),
        INIT + LR,
    ),
    Mutation(
        "input read as a readout", DIGITS, as_row(INPUT, OUTPUT), FIRST, (*ROLE, "fan_in and fan_out are swapped")
    ),
    Mutation("bottleneck read as hidden", BOTTLENECK, as_row(BOTTLE, HIDDEN), ("3.weight",), ROLE),
    Mutation(
        "wrong base width",
        DIGITS,
        wrong_base,
        ("the plan",),
        ("base width is 32",),
        unshown="a constant",
    ),
    Mutation("NTK's table under the name of mup", DIGITS, table_of("ntk"), ("*",), LR + MULTIPLIER),
    # Uses of tensors.
    Mutation(
        "attention scale left at 1/sqrt(d)",
        HEADS,
        sites("attention logits", 0),
        ("attention logits of *",),
        ("their multiplier",),
    ),
    Mutation(
        "attention scaled twice", HEADS, sites("attention logits", 3), ("attention logits of *",), ("their multiplier",)
    ),
    Mutation("tied readout not scaled", TIED, sites("tied readout", 0), ("readout",), MULTIPLIER),
    Mutation(
        "tied tensor scaled where it is looked up",
        TIED,
        both(sites("tied readout", 0), site("tokens", "tied readout", "output")),
        ("readout", "tokens*"),
        MULTIPLIER,
    ),
    # eps and decay.
    Mutation(
        "eps unscaled, eps 1e-3",
        LARGE_EPS,
        scaled("*", eps_mult=1.0),
        ("*",),
        ("eps",),
        unshown="no eps in it",
    ),
    Mutation(
        "eps scaled the wrong way, eps 1e-3",
        LARGE_EPS,
        scaled("*", eps_mult=lambda s: 1 / s.eps_mult),
        ("*",),
        ("eps",),
        unshown="no eps in it",
    ),
    Mutation("decay unscaled", DECAYED, scaled("*", wd_mult=1.0), HIDDENS, ("decay",)),
    Mutation(
        "decay scaled twice",
        GPT_DECAYED,
        scaled("*", wd_mult=lambda s: s.wd_mult**2),
        MATRICES,
        ("decay",),
    ),
    # Written when the check was final.
    Mutation(
        "hidden rate 1/sqrt(m) under Lion",
        Setting("digits", "lion"),
        scaled(HIDDEN, lr_mult=root),
        HIDDENS,
        LR,
        unseen=True,
    ),
    Mutation(
        "mup's hidden rate under mf",
        Setting("digits", "adam", "mf"),
        scaled(HIDDEN, lr_mult=lambda s: 1 / s.m_in),
        HIDDENS,
        LR,
        unseen=True,
    ),
    Mutation(
        "hidden multiplier missing under ntk",
        Setting("digits", "adam", "ntk"),
        scaled(HIDDEN, forward_mult=1.0),
        HIDDENS,
        MULTIPLIER,
        unseen=True,
    ),
    Mutation(
        "mup's readout rate under ntk",
        Setting("gpt", "adamw", "ntk"),
        scaled(OUTPUT, lr_mult=1.0),
        ("readout.weight",),
        LR,
        unseen=True,
    ),
    Mutation(
        "keys forgotten, absorbed form",
        Setting("gpt", "adamw", form="absorbed"),
        scaled("*.key.weight", lr_mult=1.0, eps_mult=1.0, wd_mult=1.0),
        ("*.key.weight",),
        LR,
        unseen=True,
    ),
    Mutation("readout init 1/sqrt(m), absorbed form", ABSORBED, scaled(OUTPUT, init_mult=1.0), LAST, INIT, unseen=True),
    Mutation(
        "biases drawn m times too large",
        GPT,
        scaled("*.up.bias", init_mult=lambda s: s.init_mult * growth(s)),
        ("*.up.bias",),
        INIT,
        unseen=True,
    ),
    Mutation(
        "decay scaled the wrong way under SGD",
        Setting("digits", "sgd", others=(("weight_decay", 0.1),)),
        scaled("*", wd_mult=lambda s: s.lr_mult),
        ("*",),
        ("decay",),
        unseen=True,
    ),
    Mutation(
        "tied embedding's rate scaled like hidden",
        TIED,
        scaled("tokens.weight", lr_mult=lambda s: 1 / s.m_out),
        ("tokens.weight",),
        LR,
        unseen=True,
    ),
    Mutation("readout read as hidden under SGD", SGD, as_row(OUTPUT, HIDDEN), LAST, ROLE, unseen=True),
    *OF_NETS,
    # Nothing is wrong but the description.
    Mutation(
        "eps unscaled, eps 1e-8",
        DIGITS,
        scaled("*", eps_mult=1.0),
        ("*",),
        ("eps",),
        harmless="eps is far below every gradient at these widths",
    ),
    Mutation(
        "bottleneck read as a readout",
        BOTTLENECK,
        as_row(BOTTLE, OUTPUT),
        ("3.weight",),
        ROLE,
        harmless="Table 8's readout row is the bottleneck row with its multiplier taken out: the same training",
    ),
)
