"""Every row of the tables and its regime, against numbers and theorems written down a second time.

Exponents x of width n, factors n**-x, for input, hidden, output and, where there is a fourth, vector.
"""

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer.theory import rules
from mutransfer.theory.regimes import Kind, classify, classify_table
from mutransfer.theory.rules import Family, Role

FEATURE, KERNEL, UNSTABLE, TRIVIAL = Kind.FEATURE_LEARNING, Kind.KERNEL, Kind.UNSTABLE, Kind.TRIVIAL
ROLES = (Role.INPUT, Role.HIDDEN, Role.OUTPUT, Role.VECTOR)
FAMILIES = (Family.SGD, Family.ADAM, Family.ADAFACTOR)
COLUMNS = (*FAMILIES, Family.MUON)


def numbers(text):
    return tuple(float(Fraction(word)) for word in text.split())


def parsed(text):
    """{name: fields} of lines of fields between bars."""
    lines = [[field.strip() for field in line.split("|")] for line in text.strip().splitlines()]
    return {name: fields for name, *fields in lines}


# Forward multiplier | init | Adam's eps | regime | r.
ROWS = parsed("""
sp                 | 0 0 0 0         | 0 1/2 1/2 0     | 0 0 0 0       | unstable         |
sp_global_stable   | 0 0 0 0         | 0 1/2 1/2 0     | 1/2 1/2 0 1/2 | kernel           | 1/2
sp_kernel          | 0 0 0 0         | 0 1/2 1/2 0     | 1/2 1/2 0 1/2 | kernel           | 1/2
sp_full_alignment  | 0 0 0 0         | 0 1/2 1/2 0     | 1/2 1/2 0 1/2 | unstable         | 0
ntk                | 0 1/2 1/2 0     | 0 0 0 0         | 1/2 1 1/2 1/2 | kernel           | 1/2
ntk_full_alignment | 0 1/2 1/2 0     | 0 0 0 0         | 1/2 1 1/2 1/2 | unstable         | 0
mup                | 0 0 1 0         | 0 1/2 0 0       | 1 1 1 1       | feature learning | 0
mup_t3             | 0 0 0 0         | 0 1/2 1 0       | 1 1 0 1       | feature learning | 0
mup_t9             | -1/2 0 1/2 -1/2 | 1/2 1/2 1/2 1/2 | 1/2 1 1/2 1/2 | feature learning | 0
mf                 | 0 1/2 1 0       | 0 0 0 0         | 1 3/2 1 1     | feature learning | 0
""")
# Learning rates: SGD | Adam | Adafactor | Muon on input, hidden, output, or - where there is no number.
RATES = parsed("""
sp                 | 0 0 0 0          | 0 0 0 0         | 0 0 0 0       | - 0 -
sp_global_stable   | 1 1 1 1          | 3/2 3/2 3/2 3/2 | 1 1 1 1       | - - -
sp_kernel          | 0 1 1 0          | 1/2 3/2 1 1/2   | 1/2 1 1/2 1/2 | - 1/2 -
sp_full_alignment  | -1/2 1/2 1 -1/2  | 0 1 1 0         | 0 1/2 1/2 0   | - 0 -
ntk                | 0 0 0 0          | 1/2 1 1/2 1/2   | 1/2 1 1/2 1/2 | - 0 -
ntk_full_alignment | -1/2 -1/2 0 -1/2 | 0 1/2 1/2 0     | 0 1/2 1/2 0   | - -1/2 -
mup                | -1 0 -1 -1       | 0 1 0 0         | 0 1/2 0 0     | -1/2 0 -1/2
mup_t3             | -1 0 1 -1        | 0 1 1 0         | 0 1/2 0 0     | -1/2 0 1/2
mup_t9             | 0 0 0 0          | 1/2 1 1/2 1/2   | 0 1/2 0 0     | 0 0 0
mf                 | -1 -1 -1 -1      | 0 1/2 0 0       | 0 1/2 0 0     | -1/2 -1/2 -1/2
""")


def exponent(power, role):
    m = 4.0
    sides = {Role.INPUT: (1, m), Role.HIDDEN: (m, m), Role.OUTPUT: (m, 1), Role.VECTOR: (1, m)}
    return -math.log2(power(*sides[role])) / math.log2(m)


def entries(name, of):
    table = rules.parameterization(name)
    return tuple(exponent(of(table.rows[role]), role) for role in ROLES)


@pytest.mark.parametrize("name", ROWS)
def test_every_entry_of_a_table_is_as_derived(name):
    a, b, eps, *_ = ROWS[name]
    assert entries(name, lambda row: row.forward) == numbers(a)
    assert entries(name, lambda row: row.init) == numbers(b)
    assert entries(name, lambda row: row.eps) == numbers(eps)
    *rates, muon = RATES[name]
    for family, c in zip(FAMILIES, rates, strict=True):
        assert entries(name, lambda row, f=family: row.lr[f]) == numbers(c), family
    for role, c in zip(ROLES, muon.split(), strict=False):
        lr = rules.parameterization(name).rows[role].lr
        assert c == "-" or exponent(lr[Family.MUON], role) == float(Fraction(c)), role


# Where fan_in and fan_out grow apart: the powers of m_in and m_out of hidden matrices that test_rules does not have.
@pytest.mark.parametrize(
    ("name", "of", "m_in", "m_out"),
    [
        ("mup", "muon", -0.5, 0.5),
        ("mup", "adafactor", -0.5, 0),
        ("mf", "muon", 0, 0.5),
        ("mf", "adafactor", -0.5, 0),
        ("ntk", "adafactor", -0.5, -0.5),
        ("sp_kernel", "sgd", -1, 0),
        ("sp_kernel", "adam", -1, -0.5),
        ("sp_kernel", "adafactor", -0.5, -0.5),
        ("sp_kernel", "eps", 0, -0.5),
    ],
)
def test_hidden_rules_tell_fan_in_from_fan_out(name, of, m_in, m_out):
    row = rules.parameterization(name).rows[Role.HIDDEN]
    power = row.eps if of == "eps" else row.lr[Family(of)]
    assert (power.fan_in, power.fan_out) == (m_in, m_out)


def regimes(name, optimizer):
    """Of our table, and of the numbers above where they are all there."""
    yield classify_table(rules.parameterization(name), optimizer=optimizer, depth=3)
    (a, b, eps), c = map(numbers, ROWS[name][:3]), RATES[name][COLUMNS.index(optimizer)]
    if "-" not in c.split():
        few = len(c.split())
        eps = eps if optimizer is Family.ADAM else None
        yield classify(a[:few], b[:few], numbers(c), optimizer=optimizer, depth=3, eps=eps)


@pytest.mark.parametrize("optimizer", COLUMNS)
@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_in_its_regime_under_every_family(name, optimizer):
    if RATES[name][COLUMNS.index(optimizer)] == "- - -":
        with pytest.raises(rules.PlanError, match="no learning rate for muon"):
            list(regimes(name, optimizer))
        return
    *_, kind, r = ROWS[name]
    for found in regimes(name, optimizer):
        assert found.kind == kind
        assert not r or found.r == float(Fraction(r))
        assert found.faithful == (name != "sp" or optimizer in (Family.SGD, Family.ADAFACTOR))


@pytest.mark.parametrize("optimizer", COLUMNS)
@pytest.mark.parametrize("name", ["sp_full_alignment", "ntk_full_alignment"])
def test_full_alignment_lets_logits_grow_as_sqrt_of_width_and_no_faster(name, optimizer):
    found = classify_table(rules.parameterization(name), optimizer=optimizer, depth=3)
    assert "readout propagated = -0.5" in found.binding
    assert found.change == (0, 0, 0.5)
    assert found.usable_with_cross_entropy


@pytest.mark.parametrize(
    ("a", "b", "c", "depth", "kind", "r"),
    [
        ((0, 0, 0), (0, 0.5, 0.5), 1, 3, KERNEL, 0.5),
        ((0, 0.5, 0.5), (0, 0, 0), 0, 3, KERNEL, 0.5),
        ((0, 1, 1), (0, 0, 0), -1, 1, FEATURE, 0),
        ((-0.5, 0, 0.5), (0.5, 0.5, 0.5), 0, 3, FEATURE, 0),
    ],
    ids=["sp", "ntp", "mfp", "mup"],
)
def test_table_1_of_tensor_programs_iv(a, b, c, depth, kind, r):
    found = classify(a, b, (c, c, c), optimizer="sgd", depth=depth)
    assert (found.kind, found.r) == (kind, r)


def halves(least, greatest):
    return st.sampled_from([x / 2 for x in range(round(2 * least), round(2 * greatest) + 1)])


def theorem(a, b, c, optimizer):
    """Tensor Programs IV Theorems 3.3, 3.4, 3.6, 3.8 (one c); IVb Theorems 2.8.12, 2.8.15."""
    readout = a[2] + b[2]
    if optimizer == "sgd":
        r = min(readout, 2 * a[2] + c[2]) + c[2] - 1 + min(2 * a[0] + 1, 2 * a[1])
        update = 2 * a[2] + c[2]
    else:
        r = min(a[0] + c[0], a[1] + c[1] - 1)
        update = a[2] + c[2]
    if r < 0 or update < 1 or readout + r < 1:
        return UNSTABLE
    if readout + r > 1 and update > 1:
        return TRIVIAL
    return FEATURE if r == 0 else KERNEL


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@given(a=st.tuples(*[halves(-1, 1)] * 3), readout=halves(0.5, 1.5), x=st.tuples(*[halves(-0.5, 1)] * 3))
@settings(max_examples=500)
def test_the_classifier_agrees_with_the_theorems(optimizer, a, readout, x):
    b = (-a[0], 0.5 - a[1], readout - a[2])
    # Rates with which updates are of size n**-x; SGD has but one, of which only the readout's is.
    adam, sgd = (x[0] - a[0], 1 + x[1] - a[1], 1 + x[2] - a[2]), (1 + x[2] - 2 * a[2],) * 3
    c = sgd if optimizer == "sgd" else adam
    assert classify(a, b, c, optimizer=optimizer, depth=3).kind is theorem(a, b, c, optimizer)


# Everett et al. (arXiv:2407.05872): alignment exponents (of updates, and of the readout's initial weights).
ALIGNMENT = {"full": (1, 0.5), "no": (0.5, 0.5)}
# The greatest stable rates: SGD, Adam, Adafactor under full alignment | the same under none.
GREATEST = parsed("""
sp     | -1/2 1/2 1   | 0 1 1       | 0 1/2 1/2 | -1/2 0 1/2     | 0 1/2 1/2  | 0 0 0
ntk    | -1/2 -1/2 0  | 0 1/2 1/2   | 0 1/2 1/2 | -1/2 -1 -1/2   | 0 0 0      | 0 0 0
mup_t9 | 0 0 0        | 1/2 1 1/2   | 0 1/2 0   | 1/2 0 -1/2     | 1/2 1/2 0  | 0 0 -1/2
mf     | -1 -1 -1     | 0 1/2 0     | 0 1/2 0   | -1/2 -1 -3/2   | 0 0 -1/2   | 0 0 -1/2
""")
SOLVED = list(product(GREATEST, FAMILIES, ALIGNMENT))
PACKAGED = {("mup_t9", "full"): "mup_t9", ("mf", "full"): "mf"} | {
    (name, alignment): f"{name}_{alignment}_alignment" for name in ("sp", "ntk") for alignment in ALIGNMENT
}


def ab(name):
    return [numbers(text)[:3] for text in ROWS[name][:2]]


def stable(a, b, c, family, alignment):
    """Their system for two hidden layers after the first."""
    update, omega = ALIGNMENT[alignment]
    gradient = [0.0, 0.0, 0.0]
    if family is Family.SGD:
        into_readout = min(a[2] + b[2], 2 * a[2] + c[2])
        gradient = [into_readout + a[0], into_readout + a[1], a[2]]
    step = [x + y + z for x, y, z in zip(a, c, gradient, strict=True)]
    if family is Family.ADAFACTOR:
        step = [x + y for x, y in zip(step, b, strict=True)]
    r = [step[0]]
    for _ in range(2):
        r.append(min(step[1] - update, step[1] + r[-1] - update, 0.5 + r[-1] - omega))
    r.append(min(a[2] + b[2] + r[-1] - omega, step[2] - update, step[2] + r[-1] - update))
    return min(r) >= 0


def greatest(a, b, family, alignment):
    """The least exponents, the readout's first: under SGD its rate sets the size of the other gradients."""
    grid = [x / 2 for x in range(-4, 5)]
    return min(
        (c for c in product(grid, repeat=3) if stable(a, b, c, family, alignment)), key=lambda c: (c[2], c[0], c[1])
    )


@pytest.mark.parametrize(("name", "family", "alignment"), SOLVED)
def test_the_greatest_stable_rates_are_everetts_and_those_of_our_tables(name, family, alignment):
    found = greatest(*ab(name), family, alignment)
    column = FAMILIES.index(family) + 3 * list(ALIGNMENT).index(alignment)
    assert found == numbers(GREATEST[name][column])
    if (name, alignment) in PACKAGED:
        assert entries(PACKAGED[name, alignment], lambda row: row.lr[family])[:3] == found
    # Tensor Programs' readout is aligned with its input, so that only the greatest rates of mup's forms are stable.
    kind = FEATURE if (name, alignment) in (("mup_t9", "full"), ("mf", "full")) else UNSTABLE
    assert classify(*ab(name), found, optimizer=family, depth=3).kind is kind


@pytest.mark.parametrize("family", FAMILIES)
@given(name=st.sampled_from(list(GREATEST)), c=st.tuples(*[halves(-1.5, 1.5)] * 3))
@settings(max_examples=300)
def test_the_classifier_relaxed_to_their_readout_is_their_system_under_full_alignment(family, name, c):
    kind = classify(*ab(name), c, optimizer=family, depth=3, omega_out=0.5).kind
    assert (kind is not UNSTABLE) == stable(*ab(name), c, family, "full")
