"""Factors of the user's own that grow with width: who makes up for them, and when nobody can."""

import pytest
import torch
from torch import nn

from mutransfer import apply, param_groups
from mutransfer.errors import ClassificationError
from mutransfer.parameterization.plan import Plan

BASE, WIDTH = 16, 256
M = WIDTH / BASE
TOKENS = torch.arange(8)[None]
X = torch.randn(3, 6)


def plan_of(build, example, **more):
    return Plan.infer(build, width=WIDTH, base_width=BASE, example=example, **more, check=False)


def trained(build, example, optimizer="adam", factors=None):
    """Losses of six steps at WIDTH; ``build(width, factor)`` gets a factor of its own that is 1 at base."""
    found = []
    for exponent in factors or (0.0, 0.5, -1.0):
        make = lambda w, x=exponent: build(w, (w / BASE) ** x)  # noqa: E731
        plan = plan_of(make, example, optimizer=optimizer)
        torch.manual_seed(0)
        model = apply(make(WIDTH), plan)
        how = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
        step = how(param_groups(model, plan, lr=1e-2))
        losses = []
        for _ in range(6):
            loss = (model(example) - 1).square().mean()
            step.zero_grad()
            loss.backward()
            step.step()
            losses.append(loss.item())
        found.append(losses)
    return found


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    global X
    X = X.double()
    yield
    torch.set_default_dtype(torch.float32)


class Twice(nn.Module):
    """One table, looked up twice; one lookup is multiplied by a factor of the user's own."""

    def __init__(self, width, factor, between):
        super().__init__()
        self.table = nn.Embedding(11, width)
        self.first, self.second, self.head = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.factor, self.between = factor, between

    def forward(self, tokens):
        one, two = self.table(tokens) * self.factor, self.table(tokens.flip(-1))
        if self.between:
            one, two = torch.tanh(one), torch.tanh(two)
        return self.head(torch.tanh(self.first(one) + self.second(two)))


class Residual(nn.Module):
    """A stream without a last norm, which is divided before it is read out."""

    def __init__(self, width, factor, spread=False):
        super().__init__()
        self.inward, self.hidden, self.head = nn.Linear(6, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.factor = factor

    def forward(self, x):
        h = self.inward(x)
        h = h + self.hidden(torch.tanh(h))
        return self.head(h * self.factor)


class Behind(nn.Module):
    """Logits that are multiplied behind a readout with a bias."""

    def __init__(self, width, factor):
        super().__init__()
        self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.factor = factor

    def forward(self, x):
        return self.head(torch.tanh(self.inward(x))) * self.factor


class Added(nn.Module):
    """Bare positions that are added before the sum is multiplied."""

    def __init__(self, width, factor):
        super().__init__()
        self.table, self.positions = nn.Embedding(11, width), nn.Parameter(torch.randn(8, width))
        self.hidden, self.head = nn.Linear(width, width), nn.Linear(width, 3)
        self.factor = factor

    def forward(self, tokens):
        h = (self.table(tokens) + self.positions) * self.factor
        return self.head(torch.tanh(h) + torch.tanh(self.hidden(h)))


class Mixed(nn.Module):
    """A sum of which one part is bounded by a nonlinearity, multiplied before the readout."""

    def __init__(self, width, factor):
        super().__init__()
        self.inward, self.hidden, self.head = nn.Linear(6, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.factor = factor

    def forward(self, x):
        h = torch.tanh(self.inward(x))
        return self.head((h + self.hidden(h)) * self.factor)


CASES = {
    "one table, two matrices": (lambda w, f: Twice(w, f, False), TOKENS),
    "a stream before the readout": (Residual, X),
    "a readout with a bias": (Behind, X),
    "added positions": (Added, TOKENS),
    "a sum with a bounded part": (Mixed, X),
}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("case", CASES)
def test_a_factor_of_the_users_own_changes_nothing_of_what_is_trained(case, optimizer):
    """A factor that is 1 at base and grows or falls from there: all three train the same function.

    In double precision; eps, which Adam adds to the root of squares, is scaled too.
    """
    build, example = CASES[case]
    example = example.double() if example.is_floating_point() else example
    none, grows, falls = trained(build, example, optimizer)
    assert grows == pytest.approx(none, rel=1e-6)
    assert falls == pytest.approx(none, rel=1e-6)
    assert none[-1] < none[0]


def test_the_bias_of_divided_logits_is_divided_with_them():
    plan = plan_of(lambda w: Behind(w, BASE / w), X)
    assert plan["head.bias"].own_mult == pytest.approx(1 / M)
    assert plan["head.bias"].lr_mult == pytest.approx(M)


def test_a_table_under_two_factors_that_nothing_can_make_up_for_is_refused():
    with pytest.raises(ClassificationError, match=r"table.weight is used more than once, .*by 1 and 4 from base"):
        plan_of(lambda w: Twice(w, w**0.5, True), TOKENS)
    plan_of(lambda w: Twice(w, w**0.5, True), TOKENS, parameterization="as_is")  # which touches nothing


def test_a_matrix_under_two_factors_is_refused():
    class Shared(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inward, self.hidden, self.head = nn.Linear(6, width), nn.Linear(width, width), nn.Linear(width, 3)
            self.factor = width**0.5

        def forward(self, x):
            h = torch.tanh(self.inward(x))
            return self.head(torch.tanh(self.hidden(h)) + torch.tanh(self.hidden(h * self.factor)))

    with pytest.raises(ClassificationError, match=r"hidden.weight is used more than once"):
        plan_of(Shared, X)
