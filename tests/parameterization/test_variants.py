"""Named variants against theory transcribed a second time: forms of mup, Everett's per-layer rates, stable limits."""

import pytest

from mutransfer.theory import regimes, rules
from mutransfer.theory.exponents import Family, Role
from mutransfer.theory.regimes import Kind

HALF = 0.5
ROLES = (Role.INPUT, Role.HIDDEN, Role.OUTPUT)
# (a, b, SGD lr, Adam lr, Adafactor lr, Adam eps) for input, hidden, output: exponents x of m, factor m**-x.
FORMS = {
    "mup": ((0, 0, 1), (0, HALF, 0), (-1, 0, -1), (0, 1, 0), (0, HALF, 0), (1, 1, 1)),
    "mup_t3": ((0, 0, 0), (0, HALF, 1), (-1, 0, 1), (0, 1, 1), (0, HALF, 0), (1, 1, 0)),
    "mup_t9": ((-HALF, 0, HALF), (HALF, HALF, HALF), (0, 0, 0), (HALF, 1, HALF), (0, HALF, 0), (HALF, 1, HALF)),
    "mf": ((0, HALF, 1), (0, 0, 0), (-1, -1, -1), (0, HALF, 0), (0, HALF, 0), (1, 1.5, 1)),
    "ntk": ((0, HALF, HALF), (0, 0, 0), (0, 0, 0), (HALF, 1, HALF), (HALF, 1, HALF), (HALF, 1, HALF)),
    "sp_kernel": ((0, 0, 0), (0, HALF, HALF), (0, 1, 1), (HALF, 1.5, 1), (HALF, 1, HALF), (HALF, HALF, 0)),
    "sp_global_stable": ((0, 0, 0), (0, HALF, HALF), (1, 1, 1), (1.5,) * 3, (1, 1, 1), None),
}
# Everett et al.: learning-rate exponents (SGD, Adam, Adafactor) for input, hidden, output.
RATES = {
    ("sp", "full_alignment"): ((-HALF, HALF, 1), (0, 1, 1), (0, HALF, HALF)),
    ("sp", "no_alignment"): ((-HALF, 0, HALF), (0, HALF, HALF), (0, 0, 0)),
    ("ntk", "full_alignment"): ((-HALF, -HALF, 0), (0, HALF, HALF), (0, HALF, HALF)),
    ("ntk", "no_alignment"): ((-HALF, -1, -HALF), (0, 0, 0), (0, 0, 0)),
}
FAMILIES = (Family.SGD, Family.ADAM, Family.ADAFACTOR)


def exponents(powers):
    first, hidden, last = powers
    return -first.fan_out, -hidden.fan_in - hidden.fan_out, -last.fan_in


@pytest.mark.parametrize("name", FORMS)
def test_a_named_table_has_the_exponents_of_its_paper(name):
    rows = [rules.parameterization(name).rows[role] for role in ROLES]
    a, b, *rates, eps = FORMS[name]
    assert exponents([r.forward for r in rows]) == a
    assert exponents([r.init for r in rows]) == b
    for family, expected in zip(FAMILIES, rates, strict=True):
        assert exponents([r.lr[family] for r in rows]) == expected, family
    assert eps is None or exponents([r.eps for r in rows]) == eps


@pytest.mark.parametrize(("name", "rule"), RATES)
def test_per_layer_rates_are_everetts(name, rule):
    rows = [rules.parameterization(name, rule).rows[role] for role in ROLES]
    for family, expected in zip(FAMILIES, RATES[name, rule], strict=True):
        assert exponents([r.lr[family] for r in rows]) == expected, family
    plain = rules.parameterization(name)
    assert all(plain.rows[role].init == r.init for role, r in zip(ROLES, rows, strict=True))


@pytest.mark.parametrize(
    ("name", "rule", "optimizer", "kind"),
    [
        ("mup_t3", None, "sgd", Kind.FEATURE_LEARNING),
        ("mup_t9", None, "adam", Kind.FEATURE_LEARNING),
        ("mup", None, "adafactor", Kind.FEATURE_LEARNING),
        ("mup_t3", None, "adafactor", Kind.FEATURE_LEARNING),
        ("mup", None, "muon", Kind.FEATURE_LEARNING),
        ("mup_t9", None, "muon", Kind.FEATURE_LEARNING),
        ("mf", None, "muon", Kind.FEATURE_LEARNING),
        ("ntk", None, "adafactor", Kind.KERNEL),
        ("ntk", None, "muon", Kind.KERNEL),
        ("sp_kernel", None, "sgd", Kind.KERNEL),
        ("sp_kernel", None, "adam", Kind.KERNEL),
        ("sp_global_stable", None, "sgd", Kind.KERNEL),
        ("sp_global_stable", None, "adam", Kind.KERNEL),
        ("sp", "full_alignment", "adam", Kind.UNSTABLE),
        ("sp", "full_alignment", "sgd", Kind.UNSTABLE),
        ("ntk", "full_alignment", "adam", Kind.UNSTABLE),
        ("sp", "no_alignment", "adam", Kind.UNSTABLE),
        ("ntk", "no_alignment", "adam", Kind.UNSTABLE),
    ],
)
def test_each_variant_is_in_the_regime_it_is_named_for(name, rule, optimizer, kind):
    found = regimes.classify_table(rules.parameterization(name, rule), optimizer=optimizer, depth=3)
    assert found.kind is kind, found.binding


@pytest.mark.parametrize("name", ["sp", "ntk"])
def test_full_alignment_is_unstable_strictly_yet_usable_with_cross_entropy(name):
    full = regimes.classify_table(rules.parameterization(name, "full_alignment"), optimizer="adam", depth=3)
    none = regimes.classify_table(rules.parameterization(name, "no_alignment"), optimizer="adam", depth=3)
    assert "readout propagated = -0.5" in full.binding
    assert full.usable_with_cross_entropy
    assert not none.usable_with_cross_entropy


def test_the_integrable_mean_field_fades_at_initialisation():
    found = regimes.classify_table(rules.parameterization("mf_integrable"), optimizer="sgd", depth=3)
    assert found.kind is Kind.DEGENERATE


def test_an_lr_rule_is_refused_where_there_is_none():
    with pytest.raises(rules.PlanError, match="unknown lr_rule 'full_alignment' for parameterization 'mup'"):
        rules.parameterization("mup", "full_alignment")


def test_radam_is_refused_with_the_reason():
    with pytest.raises(rules.PlanError, match="first steps are not normalised"):
        rules.family("radam")
