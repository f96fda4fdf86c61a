"""Families of laws, drawn at random: shapes of the curve, seed noise and divergence.

A family draws what a width's expected log loss is ``d`` octaves from the optimum, how much seeds scatter there, and
which of them diverge.
"""

from __future__ import annotations

import numpy as np

from experiments.verdict_calibration.laws import Study


def _exp(a, b):
    return lambda d, j: a * (np.exp(np.minimum(b * d, 12)) - b * d - 1)


def _powers(left, p, right, q):
    return lambda d, j: np.where(d < 0, left * np.abs(d) ** p, right * np.abs(d) ** q)


def _u(rng, low, high):
    return float(rng.uniform(low, high))


def _log(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# Tuned on.


def asymmetric(rng):
    return {"height": _exp(_log(rng, 0.2, 0.8), _u(rng, 0.6, 1.2)), "noise": _log(rng, 0.02, 0.1)}


def cliff(rng):
    k = _log(rng, 0.1, 0.5)
    return {"height": lambda d, j: k * d**2, "noise": _log(rng, 0.02, 0.1), "cliff": _u(rng, 0.4, 2.5)}


def flat(rng):
    k = _log(rng, 0.01, 0.06)
    return {"height": lambda d, j: k * d**2 * (1 + 0.4 * np.tanh(d)), "noise": _log(rng, 0.01, 0.05)}


def noisy(rng):
    return {"height": _exp(_log(rng, 0.2, 0.8), _u(rng, 0.5, 1.0)), "noise": _log(rng, 0.1, 0.3), "luck": 0.3}


def growing_noise(rng):
    return {**asymmetric(rng), "growth": _u(rng, 0.3, 2.0), "spacing": 0.5}


def skewed(rng):
    """Slow on the left, a steep power on the right, and seeds that have their own optimum."""
    law = _powers(_log(rng, 0.1, 0.4), _u(rng, 1.5, 2.2), _log(rng, 0.3, 1.0), _u(rng, 2.0, 3.0))
    return {"height": law, "noise": _log(rng, 0.01, 0.05), "tilt": _u(rng, 0.0, 0.4)}


TUNED_ON = {f.__name__: f for f in (asymmetric, cliff, flat, noisy, growing_noise, skewed)}


# Not tuned on, but looked at while the estimate was made.


def saturating(rng):
    """Learning stops at small rates: the curve bends towards the loss before training."""
    b, k = _u(rng, 0.8, 1.6), _u(rng, 1.0, 2.5)

    def height(d, j):
        raw = k * (np.log1p(np.exp(-b * (d + 1.5))) + 0.25 * np.exp(np.minimum(1.2 * d - 0.5, 12)))
        return raw - raw_floor

    probe = np.arange(-6, 6, 1 / 256)
    raw_floor = 0.0
    values = height(probe, 0)
    shift, raw_floor = float(probe[values.argmin()]), float(values.min())
    return {"height": lambda d, j: height(d + shift, j), "noise": _log(rng, 0.02, 0.1)}


def kinked(rng):
    """Straight flanks that meet at an angle rounded over a quarter octave."""
    a, b = _log(rng, 0.15, 0.4), _log(rng, 0.4, 1.2)
    round_ = 0.25

    def raw(d):
        s = np.sqrt(d**2 + round_**2)
        return (b - a) / 2 * d + (a + b) / 2 * s

    probe = np.arange(-3, 3, 1 / 256)
    values = raw(probe)
    shift, low = float(probe[values.argmin()]), float(values.min())
    return {"height": lambda d, j: raw(d + shift) - low, "noise": _log(rng, 0.02, 0.1)}


def heavy_tails(rng):
    return {**asymmetric(rng), "tails": 3.0, "noise": _log(rng, 0.03, 0.15)}


def sharpening(rng):
    """Curvature that grows or falls with width, by up to a factor of 3 over four doublings."""
    k, g = _log(rng, 0.1, 0.5), _u(rng, -0.27, 0.27)
    return {"height": lambda d, j: k * np.exp(g * j) * d**2 * (1 + 0.5 * np.tanh(d)), "noise": _log(rng, 0.02, 0.1)}


def dying_seeds(rng):
    """Seeds diverge one after another over an octave and more."""
    law = _exp(_log(rng, 0.2, 0.8), _u(rng, 0.5, 0.9))
    return {"height": law, "noise": _log(rng, 0.02, 0.1), "cliff": _u(rng, 1.5, 2.5), "cliff_width": 0.15}


def quartic(rng):
    """A flat bottom between walls."""
    k = _log(rng, 0.01, 0.05)
    return {"height": lambda d, j: k * d**4 / (1 + 0.1 * d**2), "noise": _log(rng, 0.01, 0.05)}


def own_optima(rng):
    """Seeds have their own optimum, by up to half an octave."""
    return {**asymmetric(rng), "tilt": _u(rng, 0.2, 0.5), "noise": _log(rng, 0.01, 0.05), "spacing": 0.5}


LOOKED_AT = {f.__name__: f for f in (saturating, kinked, heavy_tails, sharpening, dying_seeds, quartic, own_optima)}


# Written last. After one look at them curves were taken to be rougher and the log scale to follow the noise.


def small_effects(rng):
    """A language model's: everything happens within a tenth of the loss, up to a cliff."""
    law = _exp(_log(rng, 0.01, 0.05), _u(rng, 0.6, 1.2))
    room = {"luck": 0.01, "gain": _u(rng, 0.02, 0.06), "cliff": _u(rng, 1.0, 3.0)}
    return {"height": law, "noise": _log(rng, 0.002, 0.01), **room}


def outliers(rng):
    """Student's t with 2.5 degrees of freedom, and noise that grows to the right."""
    return {**asymmetric(rng), "tails": 2.5, "growth": _u(rng, 0.2, 0.6), "noise": _log(rng, 0.03, 0.1)}


def ramps(rng):
    """Two soft ramps of slopes and softness of their own."""
    a, b, soft = _log(rng, 0.2, 0.6), _log(rng, 0.5, 1.5), _u(rng, 0.5, 1.5)

    def raw(d):
        return a * soft * np.log1p(np.exp(-d / soft)) + b * soft * np.log1p(np.exp(d / soft))

    probe = np.arange(-8, 8, 1 / 256)
    values = raw(probe)
    shift, low = float(probe[values.argmin()]), float(values.min())
    return {"height": lambda d, j: raw(d + shift) - low, "noise": _log(rng, 0.02, 0.1)}


def flattening(rng):
    """The bottom widens with width, floors fall ever less, and the grid is of half octaves."""
    k, g = _log(rng, 0.1, 0.4), _u(rng, 0.1, 0.4)
    law = _powers(k, 2.0, 2 * k, 2.0)
    return {"height": lambda d, j: law(d, j) * np.exp(-g * j), "noise": _log(rng, 0.02, 0.1), "spacing": 0.5}


def lone_cliff(rng):
    """A slope that falls all the way to where seeds diverge: the optimum is the last rate that holds."""
    a, c = _log(rng, 0.1, 0.4), _u(rng, 0.3, 0.8)
    height = lambda d, j: a * np.sqrt(1 + np.minimum(d - c, 0) ** 2) - a * np.sqrt(1 + c**2) + a * 0.5  # noqa: E731
    return {"height": height, "noise": _log(rng, 0.02, 0.08), "cliff": c, "cliff_width": 0.08}


WRITTEN_LAST = {f.__name__: f for f in (small_effects, outliers, ramps, flattening, lone_cliff)}
GROUPS = {"tuned on": TUNED_ON, "looked at": LOOKED_AT, "written last": WRITTEN_LAST}
FAMILIES = {**TUNED_ON, **LOOKED_AT, **WRITTEN_LAST}


def draw(name: str, rng: np.random.Generator, drift: float) -> Study:
    """A study of a family: drift in octaves per doubling, either way, the base optimum anywhere in its cell."""
    sign = rng.choice([-1.0, 1.0])
    room = {"start": _u(rng, -7.5, -5.5), "gain": _u(rng, 0.05, 0.35), "drift": sign * drift}
    return Study(**{**room, **FAMILIES[name](rng)})
