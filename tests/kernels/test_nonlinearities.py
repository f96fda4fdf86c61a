"""What an elementwise function does to a Gaussian pair: closed forms, quadrature, and scipy's own integration."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn

from mutransfer.errors import KernelError
from mutransfer.kernels import Abs, Erf, Residual, Scale, Sin, infinite_width
from mutransfer.kernels.infinite.gaussian.elementwise import Chain, is_elementwise, linear_factor
from mutransfer.kernels.infinite.gaussian.integrated import Integrated
from mutransfer.kernels.infinite.gaussian.kinks import find_kinks
from mutransfer.kernels.infinite.gaussian.nonlinearities import closed_form
from mutransfer.kernels.infinite.gaussian.quadrature import _has_parity, _plane_part

CLOSED = [nn.ReLU(), nn.LeakyReLU(0.1), Abs(), nn.GELU(), Erf(), Sin()]
SMOOTH = [nn.GELU("tanh"), nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.Softplus(), nn.Mish(), nn.Tanhshrink()]
KINK_AT_0 = [nn.ELU(), nn.SELU(), nn.CELU(2.0), nn.Softsign()]
KINKS_ELSEWHERE = [nn.Hardtanh(), nn.ReLU6(), nn.Hardswish(), nn.Softshrink(0.3)]


def named(modules):
    return pytest.mark.parametrize("module", modules, ids=lambda m: type(m).__name__)


def pairs(count, most, seed=0):
    """Variances, and angles of which some are tiny."""
    rng = torch.Generator().manual_seed(seed)
    q1, q2, angle = (torch.rand(count, generator=rng, dtype=torch.float64) for _ in range(3))
    angle[: count // 4] *= 1e-2
    angle[: count // 8] *= 1e-3
    q1, q2 = 0.05 + most * q1, 0.05 + most * q2
    size = q1.sqrt() * q2.sqrt()
    return size * torch.cos(math.pi * angle), q1, q2, size


def by_quadrature(module, std=2.0):
    chain = Chain((module,))
    return Integrated(chain=chain, kinks=find_kinks(chain, std), level=2)


@named([nn.ReLU(), nn.Hardtanh(), nn.ReLU6(), nn.Softshrink(0.3), nn.Hardshrink(0.7), nn.Threshold(0.1, 0.5)])
def test_piecewise_linear_functions_agree_with_quadrature(module):
    k, q1, q2, size = pairs(16, 3.0)
    k[0], k[1], q2[2] = size[0], -size[1], q1[2]  # parallel, antiparallel, of one size
    size[2] = k[2] = q1[2]
    exact = Integrated(chain=Chain((module,))).ready(q1, q2, len(k))
    assert exact.lines is not None
    for found, integral in zip(exact.dual(k, q1, q2, size), by_quadrature(module).dual(k, q1, q2, size), strict=True):
        torch.testing.assert_close(found, integral, rtol=0, atol=1e-12)


@named([Erf(), nn.Hardtanh(), nn.ELU()])
def test_variables_of_size_zero_are_constants(module):
    q = torch.cat([torch.zeros(1), torch.linspace(0.3, 1.0, 40)]).double()
    size = q.sqrt() * q.sqrt()[:, None]
    ready = Integrated(chain=Chain((module,))).ready(q, q, 100_000)
    value, slope = ready.dual(0.5 * size, q[:, None], q[None], size)
    assert ready.table is not None or ready.lines is not None
    mean_slope = ready.moments(q)[2]
    torch.testing.assert_close(value[0], torch.zeros(41, dtype=torch.float64), rtol=0, atol=1e-14)
    at_zero = Chain((module,)).value_and_slope(torch.zeros(1, dtype=torch.float64))[1]
    torch.testing.assert_close(slope[0, 1:], at_zero * mean_slope[1:], rtol=1e-11, atol=0)


@named(CLOSED)
def test_quadrature_and_closed_form_agree(module):
    k, q1, q2, size = pairs(60, 3.0)
    known, integrated = closed_form(module), by_quadrature(module)
    for found, exact in zip(integrated.dual(k, q1, q2, size), known.dual(k, q1, q2, size), strict=True):
        # both sides round to 1e-15 of the size; the angle of a closed form to 1e-16 / sin(angle)
        torch.testing.assert_close(found, exact, rtol=0, atol=2e-13)
    mean = known.mean(q1)
    torch.testing.assert_close(integrated.mean(q1), torch.zeros_like(q1) if mean is None else mean, rtol=0, atol=1e-14)


@named(CLOSED)
def test_derivative_of_the_covariance_is_the_covariance_of_derivatives(module):
    """Price 1958: d/dk E f(u) f(v) = E f'(u) f'(v). Central differences: good to 1e-16 / 1e-6."""
    k, q1, q2, size = pairs(200, 3.0, seed=1)
    k = 0.98 * k
    dual, step = closed_form(module).dual, 1e-6 * size
    numeric = (dual(k + step, q1, q2, size)[0] - dual(k - step, q1, q2, size)[0]) / (2 * step)
    torch.testing.assert_close(dual(k, q1, q2, size)[1], numeric, rtol=1e-7, atol=1e-8)


@named([nn.ELU(), nn.Tanh(), nn.Softplus()])
def test_the_table_agrees_with_direct_quadrature(module):
    k, q1, q2, size = pairs(300, 1.0)
    q1, q2 = 0.6 + 0.5 * q1, 0.6 + 0.5 * q2
    k, size = k / size * (q1 * q2).sqrt() * 0.999, (q1 * q2).sqrt()
    direct = Integrated(chain=Chain((module,))).ready(q1, q2, 0)
    tabulated = direct.ready(q1, q2, 100_000)
    assert direct.table is None
    assert tabulated.table is not None
    for found, exact in zip(tabulated.dual(k, q1, q2, size), direct.dual(k, q1, q2, size), strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-11, atol=1e-11)


def by_scipy(function, k, q1, q2, kinks):
    """E f(u) f(v) by nested adaptive quadrature, cut at the kinks."""
    s1, rest = math.sqrt(q1), math.sqrt(q2 - k * k / q1)

    def density(z):
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def average(g, cuts, epsabs):
        ends = sorted([-9.0, *(min(9.0, max(-9.0, c)) for c in cuts), 9.0])
        return sum(
            integrate.quad(
                lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * g(z), a, b, epsabs=epsabs, limit=200
            )[0]
            for a, b in itertools.pairwise(ends)
        )

    def given(z):
        centre = k / s1 * z
        return average(lambda w: function(centre + rest * w), [(c - centre) / rest for c in kinks], 1e-12)

    return average(lambda z: function(s1 * z) * given(z), [c / s1 for c in kinks], 1e-11)


SCALAR = {
    "Tanh": (nn.Tanh(), math.tanh, ()),
    "ELU": (nn.ELU(), lambda x: x if x > 0 else math.expm1(x), (0.0,)),
    "Hardtanh": (nn.Hardtanh(), lambda x: min(1.0, max(-1.0, x)), (-1.0, 1.0)),
    "Hardshrink": (nn.Hardshrink(0.7), lambda x: x if abs(x) > 0.7 else 0.0, (-0.7, 0.7)),
    "GELU": (nn.GELU(), lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2, ()),
}


@pytest.mark.parametrize("name", SCALAR)
def test_scipy_finds_the_same(name):
    module, function, kinks = SCALAR[name]
    k, q1, q2 = (torch.tensor([x], dtype=torch.float64) for x in (0.9, 1.0, 1.3))
    known = closed_form(module) or Integrated(chain=Chain((module,))).ready(q1, q2, 2)
    found = known.dual(k, q1, q2, (q1 * q2).sqrt())[0]
    exact = [by_scipy(function, *numbers, kinks) for numbers in zip(k.tolist(), q1.tolist(), q2.tolist(), strict=True)]
    np.testing.assert_allclose(found, exact, atol=1e-10)


@named(SMOOTH + KINK_AT_0 + KINKS_ELSEWHERE)
def test_price_holds_under_quadrature(module):
    """d/dk of one integral is another: kinks that were missed show."""
    k, q1, q2, size = (x[10:14] for x in pairs(24, 2.0, seed=2))
    k, step = 0.9 * k, 1e-5 * size
    known = Integrated(chain=Chain((module,))).ready(q1, q2, 0)
    numeric = (known.dual(k + step, q1, q2, size)[0] - known.dual(k - step, q1, q2, size)[0]) / (2 * step)
    torch.testing.assert_close(known.dual(k, q1, q2, size)[1], numeric, rtol=1e-6, atol=1e-8)


def test_kinks_are_found():
    expected = {
        nn.Hardtanh(-0.5, 2.0): (-0.5, 2.0),
        nn.ReLU6(): (0.0, 6.0),
        nn.Hardswish(): (-3.0, 3.0),
        nn.Softshrink(0.3): (-0.3, 0.3),
        nn.ELU(): (0.0,),  # only the second derivative jumps
        nn.Tanh(): (),
        Sin(): (),
    }
    for module, kinks in expected.items():
        assert find_kinks(Chain((module,)), 1.7) == pytest.approx(kinks, abs=1e-12)


def test_what_is_elementwise_is_told_by_trying():
    class Shift(nn.Module):
        def forward(self, x):
            return x - x.mean()

    class Square(nn.Module):
        def forward(self, x):
            return x**2

    assert is_elementwise(Square())
    assert not is_elementwise(Shift())
    assert not is_elementwise(nn.Softmax(-1))
    assert not is_elementwise(nn.PReLU())  # a slope that all features share makes the tangent kernel random
    assert linear_factor(nn.Sequential(Scale(2.0), Scale(-0.5))) == -1.0
    assert linear_factor(Square()) is None


def test_a_users_own_function_is_integrated():
    class Own(nn.Module):
        def forward(self, x):
            return torch.where(x > 0.25, x, torch.sin(x) / 3)

    class Relu(nn.Module):
        def forward(self, x):
            return x * (x > 0)

    x = torch.randn(3, 6, dtype=torch.float64)
    found, known = (
        infinite_width(nn.Sequential(nn.Linear(6, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 1)), x, bias_std=0.3)
        for act in (Relu(), nn.ReLU())
    )
    torch.testing.assert_close(found.ntk, known.ntk, rtol=1e-12, atol=0)
    own = infinite_width(nn.Sequential(nn.Linear(6, 8), Own(), nn.Linear(8, 1)), x)
    assert float(torch.linalg.eigvalsh(own.ntk)[0]) > 0


def test_functions_in_a_row_are_one_function():
    x = torch.randn(4, 6, dtype=torch.float64)

    def net(*act):
        return nn.Sequential(nn.Linear(6, 8), *act, nn.Linear(8, 1))

    for chain, same in (
        ((nn.ReLU(), nn.ReLU()), (nn.ReLU(),)),
        ((Scale(-1.0), nn.ReLU(), Scale(-2.0)), (nn.ReLU(), Scale(2.0))),
        ((nn.ReLU(), nn.Identity(), nn.Tanh()), (nn.Tanh(), nn.ReLU())),
        ((Residual(Abs()),), (nn.ReLU(), Scale(2.0))),  # x + |x|
    ):
        torch.testing.assert_close(
            infinite_width(net(*chain), x).ntk, infinite_width(net(*same), x).ntk, rtol=1e-10, atol=1e-12
        )


def test_what_is_too_sharp_is_refused():
    class Comb(nn.Module):
        def forward(self, x):
            return torch.sin(60 * x)

    with pytest.raises(KernelError, match="Comb could not be integrated"):
        infinite_width(nn.Sequential(nn.Linear(2, 8), Comb(), nn.Linear(8, 1)), torch.eye(2))


@pytest.mark.parametrize(("module", "subtract"), [(nn.Tanh(), 0.0), (nn.Tanhshrink(), 0.0), (nn.Sigmoid(), 0.5)])
def test_half_a_turn_is_enough_for_odd_functions(module, subtract):
    chain = Chain((module,))
    assert _has_parity(chain, subtract)
    s1, s2, angle = (torch.tensor(x).double() for x in ([0.3, 2.0, 1.0], [1.0, 2.0, 4.0], [0.01, 1.2, 3.0]))
    arguments = (chain, [], 54, 90, s1, s2, angle, subtract)
    for half, whole in zip(_plane_part(*arguments, True), _plane_part(*arguments, False), strict=True):
        assert torch.allclose(half, whole, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("module", [nn.SiLU(), nn.Softplus(), nn.Sigmoid()])
def test_a_whole_turn_is_taken_for_functions_without_parity(module):
    assert not _has_parity(Chain((module,)), 0.0)
