"""How initialisations scale with width: measured, snapped to an exact law, corrected, or refused by name."""

import math
import re
from functools import partial

import pytest
import torch
from torch import nn

from mutransfer import apply
from mutransfer.errors import BuildError, ClassificationError, PlanError
from mutransfer.parameterization.initialisation.infer_law import measure
from mutransfer.parameterization.initialisation.laws import CONSTANT, InitLaw
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.layouts import Axes
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.roles.classify_model import survey
from mutransfer.theory import rules

from .models import D_IN, D_OUT, VOCAB, Dice, TiedLM, cnn, mlp, normal, two_widths

UNBIASED = partial(mlp, bias=False)
FLAT, FAN_IN, FAN_OUT, GLOROT = InitLaw(), InitLaw(0.5), InitLaw(0, 0.5), InitLaw(glorot=True)


def laws(build, base=8, width=32, overrides=None):
    builds = Builds(build, base=base, target=width)
    return {name: m.law for name, m in measure(builds, survey(builds, overrides)).items()}


def drawn(initialise, build=UNBIASED):
    """The factory with ``initialise`` put on every matrix."""

    def redrawn(width):
        model = build(width)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                initialise(parameter)
        return model

    return redrawn


def glorot_like(shape):
    return ((shape[0] + shape[1]) * math.prod(shape[2:])) ** -0.5


# Of the input (w, 6), hidden (4w, w) and output (3, 4w), with w > 6. Where laws agree (the hidden sides grow alike,
# the input's fan_in does not grow), the law is torch's default, 1/sqrt(fan_in).
INITS = {
    "torch's default": (lambda w: None, [FAN_IN, FAN_IN, FAN_IN]),
    "constant 0.02": (partial(nn.init.normal_, std=0.02), [FAN_IN, FLAT, FLAT]),
    "truncated": (partial(nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04), [FAN_IN, FLAT, FLAT]),
    "kaiming fan_in": (nn.init.kaiming_normal_, [FAN_IN, FAN_IN, FAN_IN]),
    "kaiming fan_out": (partial(nn.init.kaiming_uniform_, mode="fan_out"), [FAN_OUT, FAN_IN, FLAT]),
    "glorot": (nn.init.xavier_normal_, [GLOROT, FAN_IN, GLOROT]),
    "orthogonal": (nn.init.orthogonal_, [FAN_OUT, FAN_IN, FAN_IN]),
    "zeros": (nn.init.zeros_, [CONSTANT] * 3),
    "ones": (nn.init.ones_, [CONSTANT] * 3),
    "identity": (nn.init.eye_, [CONSTANT] * 3),
    "one over fan_in": (lambda w: nn.init.normal_(w, std=1 / w.shape[1]), [FAN_IN, InitLaw(1.0), InitLaw(1.0)]),
}


@pytest.mark.parametrize("init", INITS)
def test_the_law_of_a_known_initialiser_is_found(init):
    initialise, expected = INITS[init]
    # One random layer beside it: a factory in which nothing at all varies is taken to seed itself.
    build = lambda w: nn.Sequential(*drawn(initialise)(w), nn.Linear(D_OUT, 2))  # noqa: E731
    found = laws(build)
    assert [found[f"{i}.weight"] for i in (0, 2, 4)] == expected


@pytest.mark.parametrize("name", ["sp", "ntk", "mup", "mf"])
@pytest.mark.parametrize("init", [i for i in INITS if i not in ("zeros", "ones", "identity")])
def test_whatever_the_model_draws_the_wide_weights_follow_the_target_rule_exactly(init, name):
    build, base, width = drawn(INITS[init][0]), 8, 128
    plan = Plan.infer(build, width=width, base_width=base, parameterization=name, check=False)
    for index, key in enumerate(plan):
        law = INITS[init][1][index]
        shapes = [dict(build(w).named_parameters())[key].shape for w in (base, width)]
        m_in, m_out = (shapes[1][1] / shapes[0][1], shapes[1][0] / shapes[0][0])
        own = m_in**-law.fan_in * m_out**-law.fan_out
        if law.glorot:
            own = glorot_like(shapes[1]) / glorot_like(shapes[0])
        row = rules.parameterization(name).rows[plan[key].role]
        assert plan[key].init_mult == pytest.approx(row.init(m_in, m_out) / own, rel=1e-14)


def test_corrected_weights_measure_as_the_rule_says():
    # Root-mean-squares of 1536 and 24576 elements: standard deviation 1.8 % and 0.5 %, four of the sum are 8 %.
    build = normal(UNBIASED)
    plan = Plan.infer(build, width=64, base_width=16, parameterization="sp", check=False)
    rms = [build(w)[2].weight.square().mean().sqrt().item() for w in (16, 64)]
    assert rms[1] * plan["2.weight"].init_mult / rms[0] == pytest.approx(0.5, rel=0.08)


def test_torchs_random_biases_are_drawn_by_the_fan_in_of_their_weight():
    assert laws(mlp) == dict.fromkeys(laws(mlp), FAN_IN)
    plan = Plan.infer(mlp, width=32, base_width=8, check=False)
    assert [plan[f"{i}.bias"].init_mult for i in (0, 2, 4)] == [1, 2, 2]  # the first fan_in does not grow


def test_the_bias_of_a_single_output_is_measured_though_it_is_one_number():
    build = lambda w: nn.Sequential(nn.Linear(D_IN, w), nn.Tanh(), nn.Linear(w, 1))  # noqa: E731
    assert laws(build)["2.bias"] == FAN_IN
    assert laws(normal(build))["2.bias"] == FLAT
    assert Plan.infer(build, width=32, base_width=8, check=False)["2.bias"].init_mult == 2


def test_zero_biases_and_unit_gains_are_constants_and_stay():
    def build(width):
        model = cnn(width)
        nn.init.zeros_(model[0].bias)
        return model

    found = laws(build)
    assert [found[name] for name in ("0.bias", "3.weight", "3.bias")] == [CONSTANT] * 3
    assert Plan.infer(build, width=32, base_width=8, parameterization="ntk", check=False)["3.weight"].init_mult == 1


def test_an_embedding_is_drawn_width_independent_and_glorot_on_it_is_corrected_exactly():
    plain = lambda w: nn.Sequential(nn.Embedding(VOCAB, w), nn.Linear(w, D_OUT, bias=False))  # noqa: E731
    glorot = drawn(nn.init.xavier_uniform_, plain)  # as in "for p in model.parameters(): if p.dim() > 1"
    assert laws(plain)["0.weight"] == FLAT
    assert laws(glorot)["0.weight"] == GLOROT
    assert Plan.infer(glorot, width=32, base_width=8, check=False)["0.weight"].init_mult == pytest.approx(
        (43 / 19) ** 0.5
    )


def test_transposed_convolutions_are_drawn_by_what_torch_takes_for_fan_in():
    build = lambda w: nn.Sequential(nn.ConvTranspose2d(3, w, 3), nn.ConvTranspose2d(w, 3, 3))  # noqa: E731
    plan = Plan.infer(build, width=32, base_width=8, parameterization="sp", check=False)
    # torch draws by dimension 1, the channels that go out: fan_in and fan_out in its words, not in ours.
    assert [plan[name].init_mult for name in plan] == [2, 2, 0.5, 1]


def test_the_bias_of_a_tied_readout_follows_the_fan_in_of_its_own_module():
    for head_first in (False, True):
        plan = Plan.infer(partial(TiedLM, bias=True, head_first=head_first), width=32, base_width=8, check=False)
        assert plan["head.bias"].init_mult == 2


def test_an_overridden_role_does_not_hide_how_torch_draws_a_bias():
    plan = Plan.infer(mlp, width=32, base_width=8, overrides={"4.*": "output", "2.*": "scalar"}, check=False)
    assert (plan["4.weight"].init_mult, plan["4.bias"].init_mult, plan["2.bias"].init_mult) == (2, 2, 2)
    assert (plan["2.weight"].m_in, plan["2.weight"].init_mult) == (1, 2)  # a scalar's target is no width rule


@pytest.mark.parametrize("own_generator", [False, True])
def test_a_factory_that_seeds_itself_is_measured_all_the_same(own_generator):
    def build(width):
        if own_generator:
            generator = torch.Generator().manual_seed(0)
            return drawn(lambda w: nn.init.normal_(w, std=w.shape[1] ** -0.5, generator=generator))(width)
        torch.manual_seed(0)
        return mlp(width)

    plan = Plan.infer(build, width=32, base_width=8, check=False)
    assert (plan["2.weight"].init_mult, plan["4.weight"].init_mult) == (1, 2)


def test_a_model_of_constants_is_constant_though_nothing_in_it_varies():
    build = drawn(nn.init.zeros_)
    assert laws(build) == dict.fromkeys(laws(build), CONSTANT)


def test_draws_of_numpy_and_python_vary_between_the_measuring_builds():
    assert {laws(Dice)[name] for name in ("gain", "offset")} == {FLAT}


def convolutions(width):
    """Glorot's law on a view of the weights, which counts the kernel to fan_in alone."""
    model = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))
    for layer in (model[0], model[2]):
        nn.init.xavier_uniform_(layer.weight.view(layer.weight.shape[0], -1))
    return model


def inward(n_in, initialise):
    """One layer that ``initialise`` draws, on ``n_in`` inputs, and a readout that is torch's."""

    def build(width):
        model = nn.Sequential(nn.Linear(n_in, width), nn.Linear(width, 3))
        initialise(model[0].weight)
        return model

    return build


# Of the first weight: what the factory's own std is at the target, over that at base.
NO_LAW = {
    "orthogonal, whose law changes on the way": (inward(348, nn.init.orthogonal_), 64, 1024, (348 / 1024) ** 0.5),
    "orthogonal, odd inputs": (inward(111, nn.init.orthogonal_), 64, 512, (111 / 512) ** 0.5),
    "orthogonal, narrower than the base": (inward(48, nn.init.orthogonal_), 96, 32, 2**0.5),
    "orthogonal, target out of reach": (inward(100, nn.init.orthogonal_), 64, 2**17, (100 / 2**17) ** 0.5),
    "glorot on a view": (convolutions, 16, 64, (43 / 91) ** 0.5),
    "an odd power": (inward(6, lambda w: nn.init.trunc_normal_(w, std=w.shape[0] ** -0.37)), 16, 128, 8**-0.37),
    "an offset": (inward(6, lambda w: nn.init.normal_(w, std=1 / (w.shape[0] + 50))), 16, 128, 66 / 178),
    "a threshold": (inward(6, lambda w: nn.init.normal_(w, std=0.02 if len(w) < 500 else 0.01)), 32, 512, 0.5),
}


@pytest.mark.parametrize("case", NO_LAW)
def test_where_no_law_holds_all_the_way_the_size_at_the_target_is_measured(case):
    build, base, width, grown = NO_LAW[case]
    for name in ("mup", "ntk", "mf") if width < 2000 else ("mup",):
        plan = Plan.infer(build, width=width, base_width=base, parameterization=name, check=False)
        key, scaling = next(iter(plan.items()))
        row = rules.parameterization(name).rows[scaling.role]
        assert scaling.init_mult == pytest.approx(row.init(scaling.m_in, scaling.m_out) / grown, rel=0.02)
        assert plan.fresh_rms[key] == pytest.approx(
            grown * build(base).get_parameter(key).square().mean().sqrt().item(), rel=0.15
        )


def test_a_plan_for_an_init_without_a_law_leaves_the_base_as_it_is_and_fits_the_target():
    build, base, width, _ = NO_LAW["orthogonal, odd inputs"]
    assert {s.init_mult for s in Plan.infer(build, width=base, base_width=base, check=False).values()} == {1.0}
    plan = Plan.infer(build, width=width, base_width=base, check=False)
    x = torch.randn(64, 111)
    sizes = [model[0](x).square().mean().sqrt().item() for model in (build(base), apply(build(width), plan))]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_weights_that_the_plan_did_not_expect_are_noticed_though_it_rescales_others_alone():
    plan = Plan.infer(inward(6, lambda w: None), width=128, base_width=32, check=False)
    assert plan["0.weight"].init_mult == 1 != plan["1.weight"].init_mult
    model = inward(6, lambda w: nn.init.normal_(w, std=0.02))(128)
    with pytest.raises(PlanError, match=r"0\.weight is not as the factory draws it: .* 0\.02.*expected 0\.23"):
        apply(model, plan)


def test_what_is_measured_does_not_depend_on_the_clock():
    plans = [Plan.infer(NO_LAW["an odd power"][0], width=64, base_width=16, check=False).to_json() for _ in range(2)]
    assert plans[0] == plans[1]


def test_an_initialiser_between_the_laws_is_refused_by_name_where_the_target_cannot_be_drawn():
    build = drawn(lambda w: nn.init.normal_(w, std=w.shape[1] ** -0.25))
    large = {"width": 2**14, "base_width": 8}
    with pytest.raises(ClassificationError) as error:
        Plan.infer(build, **large, check=False)
    message = str(error.value)
    assert re.search(r"2\.weight \(32, 8\): root-mean-square 0\.\d+ at 8, 0\.\d+ at 32", message)
    assert "0.weight" not in message  # its fan_in does not grow
    assert "overrides={'2.weight': Role.HIDDEN}" in message
    assert "parameterization='as_is'" in message
    assert Plan.infer(build, **large, parameterization="as_is", check=False)["2.weight"].init_mult == 1
    told = Plan.infer(build, **large, overrides={"2.weight": "hidden", "4.weight": "output"}, check=False)
    assert told["2.weight"].init_mult == pytest.approx((2**11) ** -0.25, rel=0.1)
    assert told["4.weight"].init_mult == pytest.approx((2**11) ** 0.25, rel=0.1)


def test_many_gaussian_layers_are_not_refused_by_chance():
    # 200 matrices at 4 measuring widths, each a chi-square with 3 degrees of freedom: a cut at four standard
    # deviations (16) would refuse such a model with probability 0.2.
    def build(width):
        layers = [nn.Linear(width["d"], width["ff"], bias=False) for _ in range(200)]
        return normal(lambda w: nn.ModuleList(layers))(width)

    found = laws(build, {"d": 8, "ff": 16}, {"d": 16, "ff": 64})
    assert set(found.values()) == {FLAT}


def test_a_law_in_two_widths_is_told_apart_by_growing_one_at_a_time():
    base, width = {"d_model": 8, "d_ff": 16}, {"d_model": 16, "d_ff": 128}
    by_fan_out = drawn(partial(nn.init.kaiming_normal_, mode="fan_out"), two_widths)
    assert laws(two_widths, base, width)["2.weight"] == FAN_IN
    assert laws(by_fan_out, base, width)["2.weight"] == FAN_OUT
    assert Plan.infer(by_fan_out, width=width, base_width=base, check=False)["2.weight"].init_mult == pytest.approx(
        2**-0.5 * 8**0.5
    )


def test_a_bare_matrix_with_axes_of_its_own_is_measured_along_them():
    class InOut(nn.Module):  # (in, out), as in GPT-2
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(width["d"], width["ff"]) * width["d"] ** -0.5)

    base, width, axes = {"d": 8, "ff": 16}, {"d": 32, "ff": 32}, {"weight": Axes(fan_in=(0,), fan_out=(1,))}
    assert laws(InOut, base, width, axes)["weight"] == FAN_IN


def test_a_large_base_is_measured_narrower_and_an_awkward_one_at_the_target():
    built = []

    def build(width, allowed=None):
        if allowed and width not in allowed:
            raise ValueError("not this one")
        model = mlp(width)
        if not model[0].weight.is_meta:
            built.append(width)
        return model

    laws(build, 768, 1536)
    assert set(built) == {768, 192}  # 2.4 million parameters at base
    built.clear()
    assert laws(partial(build, allowed=(8, 40)), 8, 40)["2.weight"] == FAN_IN
    assert set(built) == {8, 40}
    with pytest.raises(BuildError, match="at width 48: ValueError: not this one"):
        laws(partial(build, allowed=(8, 40)), 8, 48)


def test_a_finite_parameter_may_be_drawn_by_the_width_of_others():
    """T5's position biases (buckets x heads) are drawn at 1/sqrt(d_model), and the number of heads may be fixed."""

    def build(width):
        model = nn.Sequential(nn.Linear(6, width), nn.Linear(width, 4), nn.Linear(4, 5))
        nn.init.normal_(model[2].weight, std=width**-0.5)
        return model

    plan = Plan.infer(build, width=256, base_width=16, check=False)
    assert "drawn width^-1/2" in plan["2.weight"].reason
    assert plan["2.weight"].init_mult == pytest.approx(4.0)
    assert plan["2.bias"].init_mult == 1.0
