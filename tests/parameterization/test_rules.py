"""The table of exponents, against theory transcribed a second time, and the algebra of rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.errors import PlanError
from mutransfer.theory import rules
from mutransfer.theory.rules import Family, Parameterization, Power, Role, Row

HALF = 0.5
# Exponents x of m (factor m**-x) where all dimensions grow alike: (a, b, SGD lr, Adam lr, Adam eps).
# Tensor Programs V Table 8, Tensor Programs IV Table 1 and IVb section 2.2, Everett et al. Table 1.
TABLE = {
    "sp": {
        Role.INPUT: (0, 0, 0, 0, 0),
        Role.HIDDEN: (0, HALF, 0, 0, 0),
        Role.OUTPUT: (0, HALF, 0, 0, 0),
        Role.BOTTLENECK: (0, HALF, 0, 0, 0),
        Role.VECTOR: (0, 0, 0, 0, 0),
    },
    "ntk": {
        Role.INPUT: (0, 0, 0, HALF, HALF),
        Role.HIDDEN: (HALF, 0, 0, 1, 1),
        Role.OUTPUT: (HALF, 0, 0, HALF, HALF),
        Role.BOTTLENECK: (HALF, 0, 0, HALF, HALF),
        Role.VECTOR: (0, 0, 0, HALF, HALF),
    },
    "mup": {
        Role.INPUT: (0, 0, -1, 0, 1),
        Role.HIDDEN: (0, HALF, 0, 1, 1),
        Role.OUTPUT: (1, 0, -1, 0, 1),
        Role.BOTTLENECK: (0, 1, 1, 1, 0),  # Table 3's output: Table 8's with the multiplier absorbed
        Role.VECTOR: (0, 0, -1, 0, 1),
    },
    "mf": {
        Role.INPUT: (0, 0, -1, 0, 1),
        Role.HIDDEN: (HALF, 0, -1, HALF, 1.5),
        Role.OUTPUT: (1, 0, -1, 0, 1),
        Role.BOTTLENECK: (1, 0, -1, 0, 1),
        Role.VECTOR: (0, 0, -1, 0, 1),
    },
}
GROWS = {  # (m_in, m_out) of each role at a width multiplier m
    Role.INPUT: lambda m: (1, m),
    Role.HIDDEN: lambda m: (m, m),
    Role.OUTPUT: lambda m: (m, 1),
    Role.BOTTLENECK: lambda m: (m, 1),
    Role.VECTOR: lambda m: (1, m),
    Role.SCALAR: lambda m: (1, 1),
}
sizes = st.floats(1 / 64, 64)
exponents = st.sampled_from([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
powers = st.builds(Power, exponents, exponents)


def fields(row: Row) -> tuple[Power, ...]:
    return row.forward, row.init, row.lr[Family.SGD], row.lr[Family.ADAM], row.eps


def disagreements(table: Parameterization, m: float = 16.0) -> list[tuple[Role, int]]:
    """The entries in which ``table`` is not the transcription of its name."""
    return [
        (role, i)
        for role, row in TABLE[table.name].items()
        for i, (power, x) in enumerate(zip(fields(row=table.rows[role]), row, strict=True))
        if power(*GROWS[role](m)) != pytest.approx(m**-x, rel=1e-12)
    ]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_the_published_one(name):
    assert disagreements(rules.parameterization(name)) == []


def test_a_wrong_exponent_anywhere_in_the_table_is_noticed():
    for name, rows in TABLE.items():
        table = rules.parameterization(name)
        for role in rows:
            row = table.rows[role]
            for off in (Power(fan_in=0.5), Power(fan_out=0.5)):
                if off(*GROWS[role](4)) == 1:
                    continue  # a side that does not grow in this role
                wrong = [
                    replace(row, forward=row.forward * off),
                    replace(row, init=row.init * off),
                    replace(row, lr={**row.lr, Family.SGD: row.lr[Family.SGD] * off}),
                    replace(row, lr={**row.lr, Family.ADAM: row.lr[Family.ADAM] * off}),
                    replace(row, eps=row.eps * off),
                ]
                for i, row_i in enumerate(wrong):
                    assert disagreements(replace(table, rows={**table.rows, role: row_i})) == [(role, i)]


@given(m_in=sizes, m_out=sizes)
def test_hidden_rules_tell_fan_in_from_fan_out(m_in, m_out):
    def hidden(name):
        return [power(m_in, m_out) for power in fields(rules.parameterization(name).rows[Role.HIDDEN])]

    gradient = (m_in * m_out) ** -0.5
    assert hidden("mup") == pytest.approx([1, m_in**-0.5, m_out / m_in, 1 / m_in, 1 / m_out])
    assert hidden("mf") == pytest.approx([m_in**-0.5, 1, m_out, m_in**-0.5, m_in**-0.5 / m_out])
    assert hidden("ntk") == pytest.approx([m_in**-0.5, 1, 1, gradient, gradient])
    assert hidden("sp") == pytest.approx([1, m_in**-0.5, 1, 1, 1])


@given(m_in=sizes, m_out=sizes)
def test_mup_weights_and_updates_have_the_spectral_size_sqrt_of_fan_out_over_fan_in(m_in, m_out):
    # Yang, Simon & Bernstein (arXiv:2310.17813): the spectral norm of a random matrix is about
    # std (sqrt(fan_in) + sqrt(fan_out)), that of one Adam step lr sqrt(fan_in fan_out).
    row = rules.MUP.rows[Role.HIDDEN]
    target = (m_out / m_in) ** 0.5
    std = row.init(m_in, m_out)
    assert std * (m_in**0.5 + m_out**0.5) == pytest.approx(target + 1)
    assert row.lr[Family.ADAM](m_in, m_out) * (m_in * m_out) ** 0.5 == pytest.approx(target)


def test_scalars_have_no_width_rule_anywhere():
    for table in rules.PARAMETERIZATIONS.values():
        assert fields(table.rows[Role.SCALAR]) == (rules.ONE,) * 5


def test_as_is_changes_nothing_and_corrects_nothing():
    assert all(fields(row) == (rules.ONE,) * 5 for row in rules.AS_IS.rows.values())
    assert not rules.AS_IS.corrects_init


@given(power=powers)
def test_every_factor_is_exactly_one_at_base_width(power):
    assert power(1.0, 1.0) == 1.0


@given(p=powers, q=powers, m_in=sizes, m_out=sizes)
def test_powers_multiply_and_divide_as_their_factors_do(p, q, m_in, m_out):
    assert (p * q)(m_in, m_out) == pytest.approx(p(m_in, m_out) * q(m_in, m_out))
    assert (p / q)(m_in, m_out) == pytest.approx(p(m_in, m_out) / q(m_in, m_out))


@given(forward=powers, init=powers, sgd=powers, adam=powers, eps=powers, m_in=sizes, m_out=sizes)
def test_absorbing_a_multiplier_keeps_what_training_depends_on(forward, init, sgd, adam, eps, m_in, m_out):
    row = Row(forward=forward, init=init, lr={Family.SGD: sgd, Family.ADAM: adam}, eps=eps, source="")

    def invariants(row):
        a, b, c_sgd, c_adam, g = (power(m_in, m_out) for power in fields(row))
        # Size of the product at init; of one step in function space, given a gradient that carries a; and eps
        # relative to that gradient (Tensor Programs IV Eq. 5, IVb Eq. 2.5).
        return a * b, a * a * c_sgd, a * c_adam, g / a

    assert invariants(row.absorbed()) == pytest.approx(invariants(row))
    assert row.absorbed().forward == rules.ONE
    assert row.absorbed().absorbed() == row.absorbed()


def test_mf_is_mup_with_the_hidden_multiplier_absorbed_otherwise():
    for role in (Role.INPUT, Role.HIDDEN, Role.OUTPUT, Role.VECTOR, Role.BOTTLENECK):
        assert fields(rules.MF.rows[role].absorbed()) == fields(rules.MUP.rows[role].absorbed())


def test_mup_bottleneck_is_the_absorbed_readout():
    assert fields(rules.MUP.rows[Role.BOTTLENECK]) == fields(rules.MUP.rows[Role.OUTPUT].absorbed())


def test_ntk_and_mup_are_not_the_same_training():
    assert fields(rules.NTK.rows[Role.HIDDEN].absorbed()) != fields(rules.MUP.rows[Role.HIDDEN].absorbed())


@given(lr=st.floats(1e-3, 1e3))
def test_independent_weight_decay_keeps_lr_times_wd(lr):
    for role in Role:
        assert lr * rules.wd_factor("independent", role, lr, m_in=4.0) == pytest.approx(1.0)


@given(lr=st.floats(1e-3, 1e3), m=sizes)
def test_sqrt_weight_decay_shrinks_lr_times_wd_of_hidden_matrices_as_one_over_sqrt_width(lr, m):
    assert lr * rules.wd_factor("sqrt", Role.HIDDEN, lr, m_in=m) == pytest.approx(m**-0.5)
    assert all(rules.wd_factor("sqrt", role, lr, m_in=m) == 0.0 for role in Role if role is not Role.HIDDEN)


def test_standard_weight_decay_is_untouched():
    assert {rules.wd_factor("standard", role, 0.25, m_in=4.0) for role in Role} == {1.0}


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(PlanError, match=r"unknown parameterization 'mupp'.*sp, as_is, ntk, mf, mup"):
        rules.parameterization("mupp")
    with pytest.raises(PlanError, match=r"no rule for optimizer 'lbfgs'.*sgd, adam, adamw"):
        rules.family("lbfgs")
    with pytest.raises(PlanError, match=r"unknown wd_policy 'none'.*independent, sqrt, standard"):
        rules.wd_factor("none", Role.HIDDEN, 1.0, 1.0)


def test_optimizer_names_are_read_in_any_case():
    assert (rules.family("SGD"), rules.family("AdamW")) == (Family.SGD, Family.ADAM)


def test_a_table_of_ones_own_must_cover_every_role():
    rows = {role: row for role, row in rules.MUP.rows.items() if role is not Role.BOTTLENECK}
    with pytest.raises(PlanError, match=r"'mine' has no row for bottleneck"):
        Parameterization(name="mine", title="mine", rows=rows)
    own = Parameterization(name="mine", title="mine", rows=rules.MUP.rows)
    assert rules.parameterization(own) is own


def test_every_row_names_its_source():
    assert all(row.source for table in rules.PARAMETERIZATIONS.values() for row in table.rows.values())
