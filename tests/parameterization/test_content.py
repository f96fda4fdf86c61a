"""The content of tables, and names that tell tables of one name apart."""

import json
from dataclasses import replace

import pytest

from mutransfer.theory import rules
from mutransfer.theory.content import content_of, digest_of, named_by_content
from mutransfer.theory.rules import TABLES, Family, Power, Role

HIDDEN = rules.MUP.rows[Role.HIDDEN]
HALF = Power(fan_in=0.5)


def edited(**fields):
    return replace(rules.MUP, name="mine", rows={**rules.MUP.rows, Role.HIDDEN: replace(HIDDEN, **fields)})


@pytest.mark.parametrize("name", TABLES)
def test_built_in_tables_keep_their_name(name):
    assert named_by_content(name) is TABLES[name]
    assert named_by_content(TABLES[name]) is TABLES[name]


def test_any_other_exponent_gives_another_name_and_nothing_else_does():
    others = [
        edited(),
        edited(forward=HALF),
        edited(init=HALF),
        edited(eps=HALF),
        edited(constant=HALF),
        edited(lr={**HIDDEN.lr, Family.SGD: HALF}),
        edited(lr={Family.ADAM: HIDDEN.lr[Family.ADAM]}),
        edited(init=Power(fan_in=-0.5 - 1e-12)),
        replace(rules.MUP, name="mine", attention=0.5),
        replace(rules.MUP, name="mine", corrects_init=False),
    ]
    names = [named_by_content(table).name for table in others]
    assert len(set(names)) == len(others)
    assert all(name.startswith("mine@") for name in names)
    assert (
        digest_of(edited(source="elsewhere")) == digest_of(replace(rules.MUP, title="another")) == digest_of(edited())
    )


def test_a_table_with_a_built_in_name_and_other_content_is_not_taken_for_it():
    assert named_by_content(replace(rules.MUP, attention=0.5)).name.startswith("mup@")


def test_naming_twice_is_naming_once():
    once = named_by_content(edited())
    assert named_by_content(once) == once


def test_whole_numbers_and_floats_are_the_same_exponents():
    assert digest_of(edited(init=Power(fan_in=-1))) == digest_of(edited(init=Power(fan_in=-1.0, fan_out=-0.0)))


def test_the_content_is_plain_and_tells_every_exponent():
    content = json.loads(json.dumps(content_of(edited(eps=Power(fan_in=1 / 3)))))
    assert content["rows"].keys() == {str(role) for role in Role}
    assert content["rows"]["hidden"]["init"] == "m_in^-0.5"
    assert content["rows"]["hidden"]["lr"]["sgd"] == "m_in^-1 m_out^1"
    assert content["rows"]["hidden"]["eps"] == f"m_in^{1 / 3!r}"
    assert content["rows"]["scalar"]["forward"] == "1"
