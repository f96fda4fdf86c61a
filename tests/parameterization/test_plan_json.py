"""Plan files that anyone may have written: what is no plan is refused by the path of its field, never half applied."""

import copy
import json
import random
import re
from functools import partial

import pytest
import torch
from torch import nn

from mutransfer import Plan, attach, load_plan, save_plan
from mutransfer.errors import PlanError
from mutransfer.parameterization.sites import Site

from .models import mlp
from .survival import BASE, BUILDS, WIDTH

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def tied():
    return Plan.infer(BUILDS["tied"], width=WIDTH, base_width=BASE, parameterization="mf", check=False).to_dict()


def changed(data, path, value):
    data = copy.deepcopy(data)
    *parents, last = path
    inner = data
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return data


def read(data):
    return Plan.from_json(json.dumps(data))


@pytest.mark.parametrize("field", ["m_in", "own_mult", "init_mult", "forward_mult", "lr_mult", "eps_mult", "norm_mult"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (NAN, "NaN"),
        (INF, "Infinity"),
        (-INF, "-Infinity"),
        (-1.0, "-1.0"),
        (0, "0"),
        ("1", '"1"'),
        (True, "true"),
        ([], "a list"),
    ],
)
def test_a_factor_that_is_no_positive_finite_number_is_refused_by_its_path(tied, field, value, found):
    name = next(iter(tied["scalings"]))
    complaint = re.escape(f"scalings.{name}.{field}: expected a positive finite number, found {found}")
    with pytest.raises(PlanError, match=f"^{complaint}$"):
        read(changed(tied, ("scalings", name, field), value))


def test_decay_may_be_spared_and_the_norm_may_have_no_row(tied):
    name = next(iter(tied["scalings"]))
    plan = read(changed(changed(tied, ("scalings", name, "wd_mult"), 0.0), ("scalings", name, "norm_mult"), None))
    assert (plan[name].wd_mult, plan[name].norm_mult) == (0.0, None)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("colour",), "blue", "colour: unknown; expected parameterization, optimizer"),
        (("form",), "sideways", "form: expected one of forward, absorbed, found sideways"),
        (("optimizer",), "abacus", "optimizer: no rule for optimizer 'abacus'"),
        (("wd_policy",), 3, "wd_policy: expected one of independent, sqrt, standard, found 3"),
        (("scale_eps",), 1, "scale_eps: expected true or false, found 1"),
        (("width",), -1, "width: expected a whole number that is not negative, found -1"),
        (("base_width",), {"d": 1.5}, r"base_width\.d: expected a whole number .*, found 1\.5"),
        (("scalings",), [], "scalings: expected an object, found a list"),
        (("shapes",), {}, r"shapes\..*: missing, though scalings names it"),
        (("shapes", "ghost"), [3], r"shapes\.ghost: expected a parameter that scalings names too"),
        (("fresh_rms", "ghost"), 1.0, r"fresh_rms\.ghost: expected a parameter"),
        (("sites", "head", "factor"), NAN, r"sites\.head\.factor: expected a positive finite number, found NaN"),
        (("sites", "head", "factor"), 10**400, r"sites\.head\.factor: expected a positive finite number, found 1000"),
        (("sites", "head", "mechanism"), "attribute __class__", r"sites\.head\.mechanism: .*Python's own attributes"),
        (("sites", "head", "mechanism"), "attribute scale", r"sites\.head: .*an attribute scales attention logits"),
        (("sites", "head", "mechanism"), "output 3/3", r"sites\.head\.mechanism: unknown mechanism"),
        (("sites", "head", "kind"), "third eye", r"sites\.head\.kind: expected one of"),
        (("sites", "head"), {"kind": "tied readout", "mechanism": "input"}, r"sites\.head\.factor: missing"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_its_path(tied, path, value, complaint):
    with pytest.raises(PlanError, match=f"^{complaint}"):
        read(changed(tied, path, value))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"plan": ' + "9" * 5000 + "}", "null", "[]", "\x00"]
)
def test_text_that_is_no_plan_is_refused_in_a_line(tmp_path, text):
    with pytest.raises(PlanError) as error:
        Plan.from_json(text)
    assert len(str(error.value)) < 300
    (tmp_path / "mutransfer_plan.json").write_text(text)
    with pytest.raises(PlanError, match=r"mutransfer_plan\.json"):
        load_plan(tmp_path)


class Scored(nn.Module):
    """A module with floats of several meanings."""

    def __init__(self):
        super().__init__()
        self.scaling, self.attention_dropout, self.layer_eps, self.heads = 0.5, 0.1, 1e-5, 4
        self.norm, self.dropout = nn.LayerNorm(4), nn.Dropout(0.1)

    def forward(self, x):
        return self.dropout(self.norm(x)) * self.scaling


def with_site(path, mechanism):
    site = Site(kind="attention logits", factor=0.25, mechanism=mechanism)
    return Plan(
        parameterization="mup", optimizer="adamw", form="forward", base_width=1, width=4, wd_policy="independent",
        scale_eps=True, scalings={}, sites={path: site}, shapes={}, fresh_rms={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "mechanism"),
    [
        ("", "attribute attention_dropout"),
        ("", "attribute layer_eps"),
        ("", "attribute heads"),
        ("", "attribute training"),
        ("", "attribute forward"),
        ("", "attribute gone"),
        ("norm", "attribute eps"),
        ("dropout", "attribute p"),
        ("norm", "key"),
    ],
)
def test_what_is_no_scale_of_attention_is_never_multiplied(path, mechanism):
    from mutransfer.parameterization.multipliers.install import install

    model = Scored()
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(PlanError, match="the plan multiplies"):
        install(model, with_site(path, mechanism))
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before
    install(model, with_site("", "attribute scaling"))
    assert model.scaling == 0.125


VALUES = [
    NAN,
    INF,
    -1,
    0,
    1e400,
    10**30,
    "",
    "x",
    "__class__",
    None,
    True,
    [],
    {},
    [[]],
    {"a": {}},
    "attribute __dict__",
]


def places(data, path=()):
    yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def test_no_plan_file_whatever_crashes(tmp_path, tied):
    rng, model = random.Random(0), BUILDS["tied"](WIDTH)
    data = json.loads(json.dumps(tied))
    everywhere, taken, complaints = list(places(data))[1:], 0, []
    for _ in range(300):
        mutant = data
        for _ in range(rng.randint(1, 2)):
            path = rng.choice(everywhere)
            try:
                mutant = changed(mutant, path, rng.choice(VALUES))
            except (KeyError, TypeError, IndexError):  # what an earlier change took away
                continue
        text = json.dumps({"format": 1, "plan": mutant})
        if rng.random() < 0.2:
            cut = rng.randrange(len(text))
            text = text[:cut] + text[cut + rng.randint(1, 9) :]
        (tmp_path / "mutransfer_plan.json").write_text(text)
        try:
            plan = load_plan(tmp_path)
        except PlanError as error:
            complaints.append(str(error))
            continue
        taken += 1
        assert all(0 < s.lr_mult < INF and 0 < s.init_mult < INF and 0 < s.forward_mult < INF for s in plan.values())
        try:
            attach(copy.deepcopy(model), plan)
        except PlanError:
            continue
    assert 5 < taken < 150
    assert all(text.isprintable() and len(text) < 700 for text in complaints)


def test_what_is_written_is_read(tmp_path):
    for name, build in {**BUILDS, "mlp": mlp}.items():
        plan = partial(Plan.infer, width=WIDTH, base_width=BASE)(build)
        save_plan(plan, tmp_path)
        assert load_plan(tmp_path) == plan, name
        assert torch.is_tensor(next(attach(build(WIDTH), plan).parameters()))
