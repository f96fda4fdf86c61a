"""What one forward pass shows that shapes do not: contractions of bare parameters, and factors in a forward."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.errors import BuildError, ClassificationError
from mutransfer.parameterization.model.layouts import Axes
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.theory.rules import Role

BASE, WIDTH = 16, 64
M = WIDTH / BASE


class Bare(nn.Module):
    """One parameter of a shape, used by a function of the parameter and the input."""

    def __init__(self, shape, use):
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape))
        self.use = use

    def forward(self, x):
        return self.use(self.w, x)


X = torch.randn(2, 5, 16)
USES = [
    ((8, 16), lambda w, x: F.linear(x, w), Axes(fan_in=(1,), fan_out=(0,))),
    ((16, 8), lambda w, x: x @ w, Axes(fan_in=(0,), fan_out=(1,))),
    ((16, 2, 4), lambda w, x: torch.einsum("bti,ihk->bthk", x, w), Axes(fan_in=(0,), fan_out=(1, 2))),
    ((3, 8, 16), lambda w, x: torch.einsum("bti,eoi->bteo", x, w), Axes(fan_in=(2,), fan_out=(0, 1))),
    ((3, 16, 8), lambda w, x: torch.bmm(x[0].expand(3, -1, -1), w), Axes(fan_in=(1,), fan_out=(0, 2))),
    ((8, 16), lambda w, x: F.linear(x, w.double().float()), Axes(fan_in=(1,), fan_out=(0,))),
    ((24, 16), lambda w, x: F.linear(x, w[8:16]), Axes(fan_in=(1,), fan_out=(0,))),
    ((5, 16), lambda w, x: x + w, Axes(fan_in=(), fan_out=(0, 1))),
    ((5, 16), lambda w, x: torch.cat([x, w.expand(2, -1, -1)]), Axes(fan_in=(), fan_out=(0, 1))),
    ((5, 16), lambda w, x: x + F.embedding(torch.arange(5), w), Axes(fan_in=(), fan_out=(0, 1))),
    ((8, 16, 3), lambda w, x: F.conv1d(x.mT, w), Axes(fan_in=(1, 2), fan_out=(0,))),
    ((16, 8, 3), lambda w, x: F.conv_transpose1d(x.mT, w), Axes(fan_in=(0, 2), fan_out=(1,))),
]


@pytest.mark.parametrize(("shape", "use", "axes"), USES)
def test_the_contracted_dimensions_are_seen_through_views_and_casts(shape, use, axes):
    assert trace(Bare(shape, use), X).axes("w", len(shape)) == axes


def test_a_parameter_used_in_two_ways_has_no_axes():
    assert trace(Bare((5, 16), lambda w, x: (x + w) @ w.mT), X).axes("w", 2) is None


@pytest.mark.parametrize(
    ("shape", "use", "role"),
    [
        (lambda w: (4, w), lambda p, x: F.linear(x, p), Role.OUTPUT),
        (lambda w: (w, 4), lambda p, x: x @ p, Role.OUTPUT),
        (lambda w: (5, w), lambda p, x: x + p, Role.VECTOR),
        (lambda w: (w, 2 * w), lambda p, x: x @ p, Role.HIDDEN),
    ],
)
def test_an_ambiguous_bare_parameter_is_classified_with_an_example(shape, use, role):
    def build(width):
        layer = Bare(shape(width), use)
        return nn.Sequential(nn.Linear(6, width), layer)

    plan = Plan.infer(build, width=WIDTH, base_width=BASE, example=torch.randn(2, 5, 6), check=False)
    assert plan["1.w"].role is role
    assert "forward pass" in plan["1.w"].reason


def test_inputs_that_fit_the_first_layer_are_tried_where_no_example_is_given():
    build = lambda w: nn.Sequential(nn.Linear(6, w), Bare((w, 4), lambda p, x: x @ p))  # noqa: E731
    assert Plan.infer(build, width=WIDTH, base_width=BASE, check=False)["1.w"].role is Role.OUTPUT
    plan = Plan.infer(lambda w: Scaled(w, True), width=WIDTH, base_width=BASE, check=False)
    assert plan == Plan.infer(lambda w: Scaled(w, True), width=WIDTH, base_width=BASE, example=TOKENS, check=False)


class TwoInputs(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inward, self.w = nn.Linear(6, width), nn.Parameter(torch.randn(width, 4))

    def forward(self, x, y):
        return self.inward(x) @ self.w + y


def test_a_model_that_takes_other_inputs_needs_an_example_for_what_is_ambiguous():
    with pytest.raises(ClassificationError, match="Or give example="):
        Plan.infer(TwoInputs, width=WIDTH, base_width=BASE, check=False)
    named = {"x": torch.randn(2, 6), "y": torch.randn(2, 4)}
    for example in (named, tuple(named.values()), lambda model: model(**named)):
        assert (
            Plan.infer(TwoInputs, width=WIDTH, base_width=BASE, example=example, check=False)["w"].role is Role.OUTPUT
        )


def test_a_readout_that_starts_at_zero_is_no_reason_to_refuse_its_multiplier():
    def build(width):
        model = nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 3))
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
        return model

    plan = Plan.infer(build, width=WIDTH, base_width=BASE, example=torch.randn(2, 6), check=False)
    assert plan["2.weight"].forward_mult == 1 / M


class Scaled(nn.Module):
    """Embeddings times sqrt(width), logits over sqrt(width), both written in the forward."""

    def __init__(self, width, tied, rows=0.5, logits=-0.5):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(11, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self.factors = width**rows, width**logits

    def forward(self, tokens):
        h = self.embedding(tokens) * self.factors[0]
        return self.head(torch.tanh(self.hidden(h)) * self.factors[1])


TOKENS = torch.arange(8)[None]


@pytest.mark.parametrize(("optimizer", "lr"), [("adamw", M**-0.5), ("sgd", 1.0)])
def test_an_embedding_that_the_model_multiplies_by_sqrt_width_takes_it_as_a_shift(optimizer, lr):
    plan = Plan.infer(
        lambda w: Scaled(w, False), width=WIDTH, base_width=BASE, optimizer=optimizer, example=(TOKENS,), check=False
    )
    found = plan["embedding.weight"]
    assert found.init_mult == pytest.approx(M**-0.5)  # theory: b = 1/2, Adam c = 1/2, SGD c = 0
    assert found.lr_mult == pytest.approx(lr)
    if optimizer == "adamw":
        assert found.eps_mult == pytest.approx(M**-0.5)


@pytest.mark.parametrize("tied", [True, False])
def test_own_factors_and_none_train_the_same_function(tied):
    """The factors are a shift of the same parameterization: with m a power of 16, bit for bit."""
    torch.set_default_dtype(torch.float64)
    try:
        histories = []
        for rows, logits in ((0.0, 0.0), (0.5, -0.5), (1.0, 0.5)):
            torch.manual_seed(0)
            build = lambda w, r=rows, o=logits: _at_base(Scaled(w, tied, r, o))  # noqa: E731
            histories.append(_trained(build))
        assert histories[1] == pytest.approx(histories[0], rel=1e-9)
        assert histories[2] == pytest.approx(histories[0], rel=1e-9)
        assert histories[0][-1] < 0.9 * histories[0][0]
    finally:
        torch.set_default_dtype(torch.float32)


def _at_base(model):
    """The same model with factors that are 1 at base width, so that only their growth differs."""
    model.factors = tuple(f / BASE**x for f, x in zip(model.factors, _exponents(model), strict=True))
    return model


def _exponents(model):
    width = model.embedding.embedding_dim
    return [round(math.log(f) / math.log(width), 6) for f in model.factors]


def _trained(build):
    from mutransfer import param_groups, parameterize

    model, plan = parameterize(build, width=16 * BASE, base_width=BASE, optimizer="adam", example=TOKENS, check=False)
    optimizer = torch.optim.Adam(param_groups(model, plan, lr=2e-2, eps=1e-2))
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(TOKENS)[0], TOKENS[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_model_that_cannot_run_on_the_example_is_refused_with_its_own_error():
    with pytest.raises(BuildError, match=r"cannot run on the example .*: RuntimeError: mat1 and mat2"):
        Plan.infer(
            lambda w: nn.Sequential(nn.Linear(6, w)), width=64, base_width=16, example=torch.randn(2, 5), check=False
        )


def test_a_large_target_is_extrapolated_from_twice_the_base(monkeypatch):
    from mutransfer.parameterization.tracing import examples as module

    small = Plan.infer(lambda w: Scaled(w, True), width=512, base_width=BASE, example=TOKENS, check=False)
    monkeypatch.setattr(module, "LARGE", 1000)
    large = Plan.infer(lambda w: Scaled(w, True), width=512, base_width=BASE, example=TOKENS, check=False)
    assert large.sites["head"].factor == pytest.approx(small.sites["head"].factor)
    assert large["embedding.weight"].init_mult == pytest.approx(small["embedding.weight"].init_mult)


def test_random_state_and_mode_are_left_alone():
    state = torch.get_rng_state()
    Plan.infer(lambda w: Scaled(w, True), width=WIDTH, base_width=BASE, example=TOKENS, check=False)
    assert torch.equal(torch.get_rng_state(), state)


class After(nn.Module):
    """Factors behind the readout, on sums, on other parameters: what a forward may do with sqrt(width)."""

    def __init__(self, width, how):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(11, width), nn.Embedding(8, width)
        self.hidden, self.head = nn.Linear(width, width), nn.Linear(width, 5, bias=False)
        self.how, self.width = how, width

    def forward(self, tokens):
        h, p = self.embedding(tokens), self.positions(torch.arange(tokens.shape[-1]))
        if self.how == "sum":
            return self.head(F.relu(self.hidden((h + p) * self.width**0.5)))
        if self.how == "mean":
            return self.head((F.relu(self.hidden(h + p)) / self.width).mean(1))
        if self.how == "measured":
            h = F.relu(self.hidden(h + p))
            return self.head(h / h.norm())
        return self.head(F.relu(self.hidden(h + p))) / self.width  # the logits that are handed out


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("sum", {"embedding.weight": (M**-0.5, 1.0), "positions.weight": (M**-0.5, 1.0), "head.weight": (1.0, 1 / M)}),
        ("logits", {"embedding.weight": (1.0, 1.0), "head.weight": (1.0, 1.0)}),
        ("mean", {"head.weight": (1.0, 1.0)}),
        ("measured", {"head.weight": (1.0, M**-0.5)}),  # entries of a vector of length 1 shrink like width^-1/2
    ],
)
def test_factors_are_followed_to_where_they_act(how, found):
    def build(width):
        model = After(width, how)
        nn.init.normal_(model.head.weight)  # as the table draws it, so that only factors are seen
        return model

    plan = Plan.infer(build, width=WIDTH, base_width=BASE, example=TOKENS, check=False)
    seen = {name: (plan[name].init_mult, plan[name].forward_mult) for name in found}
    assert seen == {name: pytest.approx(x) for name, x in found.items()}


def test_an_equalized_learning_rate_layer_is_a_shift_of_a_hidden_matrix():
    class Equalized(nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight * self.in_features**-0.5, self.bias)

    def build(width):
        model = nn.Sequential(nn.Linear(6, width), Equalized(width, width), nn.Linear(width, 3))
        nn.init.normal_(model[1].weight)
        return model

    plan = Plan.infer(build, width=WIDTH, base_width=BASE, check=False)
    assert (plan["1.weight"].init_mult, plan["1.weight"].lr_mult) == (1.0, M**-0.5)


def test_a_row_that_is_contracted_is_no_vector():
    plan = Plan.infer(
        lambda w: nn.Sequential(nn.Linear(6, w), Bare((w,), lambda p, x: x @ p)), width=64, base_width=16, check=False
    )
    assert plan["1.w"].role is Role.OUTPUT


@pytest.mark.parametrize(
    "use", [lambda p, x: F.linear(x, p - p.mean(1, keepdim=True)), lambda p, x: F.linear(x, torch.cat([p, p]))]
)
def test_a_matrix_that_is_made_of_a_parameter_is_not_guessed(use):
    with pytest.raises(ClassificationError, match="cannot be classified"):
        Plan.infer(lambda w: nn.Sequential(nn.Linear(6, w), Bare((4, w), use)), width=64, base_width=16, check=False)


def test_an_embedding_that_reads_out_without_a_linear_is_refused():
    class Functional(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.embedding, self.hidden = nn.Embedding(11, width), nn.Linear(width, width)

        def forward(self, tokens):
            return F.linear(torch.tanh(self.hidden(self.embedding(tokens))), self.embedding.weight)

    with pytest.raises(ClassificationError, match=r"embedding.weight is looked up and multiplied as a matrix too"):
        Plan.infer(Functional, width=WIDTH, base_width=BASE, check=False)


@pytest.mark.parametrize("rows", [0.5, -1.0])
def test_a_model_that_is_left_as_it_is_trains_at_its_own_rates_whatever_its_factors(rows):
    plan = Plan.infer(
        lambda w: Scaled(w, False, rows),
        width=WIDTH,
        base_width=BASE,
        parameterization="as_is",
        example=(TOKENS,),
        check=False,
    )
    factors = {(s.init_mult, s.forward_mult, s.lr_mult, s.wd_mult, s.eps_mult) for s in plan.values()}
    assert factors == {(1.0, 1.0, 1.0, 1.0, 1.0)}


class Latents(nn.Module):
    """A learned array that is the input of layers: through a norm, as it is, and added."""

    def __init__(self, width, rows=4):
        super().__init__()
        self.inward, self.latents = nn.Linear(6, width), nn.Parameter(torch.randn(rows, width))
        self.norm, self.q, self.out = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x):
        latents = self.latents.expand(len(x), -1, -1)
        return self.out(torch.tanh(self.q(latents) + self.q(self.norm(latents)) + self.inward(x[:, :1])))


@pytest.mark.parametrize("rows", [1, 4])
def test_latents_that_layers_are_called_on_are_no_matrix(rows):
    plan = Plan.infer(
        lambda w: Latents(w, rows), width=WIDTH, base_width=BASE, example=torch.randn(2, 5, 6), check=False
    )
    assert plan["latents"].role is Role.VECTOR
    assert plan["latents"].init_mult == 1.0


def test_a_matrix_that_is_merged_of_two_is_not_guessed():
    """Of x (A B) it is not seen that x is contracted with A's first dimension."""

    class Merged(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inward = nn.Linear(6, width)
            self.a, self.b = nn.Parameter(torch.randn(width, 2)), nn.Parameter(torch.randn(2, width))

        def forward(self, x):
            return self.inward(x) @ (self.a @ self.b)

    with pytest.raises(ClassificationError, match=r"(?s)2 parameter.*a \(in Merged\)"):
        Plan.infer(Merged, width=WIDTH, base_width=BASE, example=torch.randn(2, 5, 6), check=False)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.orthogonal])
def test_a_weight_that_is_made_of_others_is_refused_with_the_reason(norm):
    build = lambda w: nn.Sequential(nn.Linear(6, w), nn.Tanh(), norm(nn.Linear(w, 3)))  # noqa: E731
    with pytest.raises(ClassificationError, match=r"(?s)2\.parametrizations.*weight is made of it .*coordinate_check"):
        Plan.infer(build, width=WIDTH, base_width=BASE, check=False)
