"""Training under a kernel: closed forms against small steps, other losses against networks that are linear."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp
from torch import nn

from mutransfer.errors import KernelError
from mutransfer.kernels import (
    IllConditionedKernel,
    critical_learning_rate,
    gp_posterior,
    gradient_descent,
    gradient_flow,
    gradient_flow_ensemble,
    infinite_width,
    spectrum,
)

RNG = np.random.default_rng(0)
N, M, O, D = 6, 4, 3, 9  # noqa: E741
FEATURES, TEST_FEATURES = RNG.standard_normal((N, D)), RNG.standard_normal((M, D))
K, CROSS = FEATURES @ FEATURES.T, TEST_FEATURES @ FEATURES.T
Y, F0 = RNG.standard_normal((N, O)), RNG.standard_normal((N, O))
WEIGHTS = np.linalg.lstsq(FEATURES, F0, rcond=None)[0]  # a linear model that starts at F0
F0_TEST = TEST_FEATURES @ WEIGHTS
CLASSES = torch.tensor([0, 1, 2, 0, 1, 1])


def linear_model(loss, lr, steps):
    """Gradient descent on the weights of f = X w, whose tangent kernel is K: what the functions must reproduce."""
    w = torch.tensor(WEIGHTS, requires_grad=True)
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(loss(torch.tensor(FEATURES) @ w), w)
        w = (w - lr * gradient).detach().requires_grad_()
    return torch.tensor(FEATURES) @ w.detach(), torch.tensor(TEST_FEATURES) @ w.detach()


LOSSES = {
    "squared": (None, torch.tensor(Y), lambda f: ((f - torch.tensor(Y)) ** 2).sum() / (2 * Y.size)),
    "cross-entropy": (F.cross_entropy, CLASSES, lambda f: F.cross_entropy(f, CLASSES)),
    "huber": (nn.HuberLoss(), torch.tensor(Y), lambda f: F.huber_loss(f, torch.tensor(Y))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_descent_is_that_of_the_linear_model(name):
    loss, y, of_outputs = LOSSES[name]
    start = {"k_test_train": CROSS, "f0": F0, "f0_test": F0_TEST, "lr": 0.1, "loss": loss}
    found = gradient_descent(K, y, [0, 7, 50], **start)
    assert found.train.shape == (3, N, O)
    assert found.test.shape == (3, M, O)
    for i, steps in enumerate((0, 7, 50)):
        train, test = linear_model(of_outputs, 0.1, steps)
        torch.testing.assert_close(found.train[i], train, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(found.test[i], test, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_flow_is_the_limit_of_small_steps(name):
    """Euler's error is proportional to the step: extrapolated from two step sizes, of the order of its square."""
    loss, y, _ = LOSSES[name]
    start = {"k_test_train": CROSS, "f0": F0, "f0_test": F0_TEST, "loss": loss}
    flow = gradient_flow(K, y, [0.0, 2.0], **start)
    coarse, fine = (gradient_descent(K, y, steps, lr=2.0 / steps, **start) for steps in (500, 1000))
    for i in range(2):
        torch.testing.assert_close(flow[i][1], 2 * fine[i] - coarse[i], rtol=0, atol=1e-5)
        assert (flow[i][1] - coarse[i]).abs().max() > 1e-4
    torch.testing.assert_close(flow.train[0], torch.tensor(F0), rtol=0, atol=1e-12)


def test_cross_entropy_flow_agrees_with_another_solver():
    """The softmax equations written out, f itself as the state, by an explicit method of order 8."""
    onehot = np.eye(O)[CLASSES]

    def velocity(_, f):
        f = f.reshape(N, O)
        p = np.exp(f - f.max(1, keepdims=True))
        return -(K @ (p / p.sum(1, keepdims=True) - onehot) / N).ravel()

    exact = solve_ivp(velocity, (0, 30), F0.ravel(), method="DOP853", rtol=1e-12, atol=1e-12, t_eval=[3, 30]).y.T
    found = gradient_flow(K, CLASSES, [3.0, 30.0], f0=F0, loss=F.cross_entropy)
    np.testing.assert_allclose(found, exact.reshape(2, N, O), rtol=1e-7, atol=1e-8)
    as_probabilities = gradient_flow(K, torch.tensor(onehot), 3.0, f0=F0, loss=F.cross_entropy)
    torch.testing.assert_close(as_probabilities, found[0], rtol=1e-8, atol=1e-9)


def test_a_stiff_kernel_is_solved_like_the_closed_form():
    """Eigenvalues over ten decades; squared error given as a loss of one's own."""
    vectors = np.linalg.qr(np.random.default_rng(1).standard_normal((N, N)))[0]
    kernel = vectors @ np.diag(np.logspace(-4, 6, N)) @ vectors.T
    closed = gradient_flow(kernel, Y, 5.0, loss_scale=1.0)
    solved = gradient_flow(kernel, Y, 5.0, loss=lambda f, y: ((f - y) ** 2).sum() / 2)
    torch.testing.assert_close(solved, closed, rtol=0, atol=1e-5)


def test_a_kernel_of_all_outputs_is_the_shared_one_where_it_is_diagonal():
    full = K[:, :, None, None] * np.eye(O)
    full_cross = CROSS[:, :, None, None] * np.eye(O)
    options = {"f0": F0, "f0_test": F0_TEST}
    for loss, y, _ in LOSSES.values():
        shared = gradient_flow(K, y, [1.0, 4.0], k_test_train=CROSS, loss=loss, **options)
        whole = gradient_flow(full, y, [1.0, 4.0], k_test_train=full_cross, loss=loss, **options)
        for a, b in zip(shared, whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_targets_of_one_axis_are_a_column_and_the_default_loss_is_half_the_mean_square():
    one, column = gradient_flow(K, Y[:, 0], 1.0), gradient_flow(K, Y[:, :1], 1.0)
    assert one.shape == (N,)
    torch.testing.assert_close(one, column[:, 0])
    torch.testing.assert_close(one, gradient_flow(K, Y[:, 0], 1.0 / N, loss_scale=1.0))
    # three outputs: 1 / y.size is three times slower than 1 / N
    torch.testing.assert_close(gradient_flow(K, Y, 3.0)[:, 0], one)


def test_infinite_time_interpolates_and_predicts_the_minimum_norm_solution():
    train, test = gradient_flow(K, Y, float("inf"), k_test_train=CROSS, f0=F0, f0_test=F0_TEST)
    torch.testing.assert_close(train, torch.tensor(Y))
    w = WEIGHTS + np.linalg.pinv(FEATURES) @ (Y - F0)
    np.testing.assert_allclose(test, TEST_FEATURES @ w, rtol=1e-9, atol=1e-11)


def test_ensemble_is_the_mean_and_covariance_of_linear_models_over_their_initialisations():
    """f = X w with w ~ N(0, 1): nngp = ntk = X X^T, and moments follow from the map f0 -> f_t, which is affine."""
    t, y = 1.5, Y[:, 0]
    joint = np.concatenate([FEATURES, TEST_FEATURES])
    prior = joint @ joint.T
    # columns of the affine map, by running the flow from unit vectors
    columns = []
    for i in range(N + M):
        f0 = np.eye(N + M)[i]
        columns.append(np.concatenate(gradient_flow(K, 0 * y, t, k_test_train=CROSS, f0=f0[:N], f0_test=f0[N:])))
    linear = np.stack(columns, 1)
    mean = np.concatenate(gradient_flow(K, y, t, k_test_train=CROSS))
    own = TEST_FEATURES @ TEST_FEATURES.T
    found = gradient_flow_ensemble(K, K, y, t, ntk_test_train=CROSS, nngp_test_train=CROSS, nngp_test_test=own)
    covariance = linear @ prior @ linear.T
    np.testing.assert_allclose(np.concatenate([found.train.mean, found.test.mean]), mean, atol=1e-12)
    np.testing.assert_allclose(found.train.covariance, covariance[:N, :N], atol=1e-11)
    np.testing.assert_allclose(found.test.covariance, covariance[N:, N:], atol=1e-11)
    # fully trained with ntk = nngp, the ensemble is the Bayesian posterior
    trained = gradient_flow_ensemble(
        K, K, y, float("inf"), ntk_test_train=CROSS, nngp_test_train=CROSS, nngp_test_test=own
    )
    posterior = gp_posterior(K, y, k_test_train=CROSS, k_test_test=own)
    torch.testing.assert_close(trained.test.mean, posterior.mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(trained.test.covariance, posterior.covariance, rtol=1e-9, atol=1e-9)


def test_modes_decay_at_their_eigenvalue_and_early_stopping_has_learned_the_fast_ones():
    modes = spectrum(K)
    residual = F0 - Y
    at = modes.residuals(residual, [0.0, 2.0], loss_scale=1 / Y.size)
    np.testing.assert_allclose(modes.vectors @ at[1], gradient_flow(K, Y, 2.0, f0=F0).numpy() - Y, atol=1e-12)
    t = Y.size / float(modes.values[2]) * 1.0001  # just past the third mode's time constant
    assert modes.learned(t, loss_scale=1 / Y.size).tolist() == [True] * 3 + [False] * 3


def test_above_the_critical_learning_rate_descent_diverges():
    critical = critical_learning_rate(K, loss_scale=1 / Y.size)
    for factor, grows in ((0.99, False), (1.01, True)):
        error = [
            float((f - torch.tensor(Y)).norm()) for f in gradient_descent(K, Y, [1000, 2000], lr=factor * critical)
        ]
        assert (error[1] > error[0]) == grows
    # torch's own mean squared error is 2 / y.size in these terms
    half = critical_learning_rate(K, loss_scale=2 / Y.size)
    assert half == pytest.approx(critical / 2)


def test_singular_kernels_are_said_to_be():
    twice = np.concatenate([FEATURES, FEATURES[:1]])
    kernel = twice @ twice.T
    y = np.concatenate([Y, -Y[:1]])  # a contradiction: the same example with two targets
    with pytest.warns(IllConditionedKernel, match="1 of 7 eigenvalues"):
        train, test = gradient_flow(kernel, y, float("inf"), k_test_train=TEST_FEATURES @ twice.T)
    # what can be fitted is: the mean of the two targets
    np.testing.assert_allclose(train[[0, 6]], np.zeros((2, O)), atol=1e-9)
    w = np.linalg.pinv(twice) @ y
    np.testing.assert_allclose(test, TEST_FEATURES @ w, atol=1e-9)
    nearly = K + 0.0
    vectors = np.linalg.eigh(nearly)[1]
    nearly = vectors @ np.diag([1e-12, 1, 1, 1, 1, 1]) @ vectors.T
    with pytest.warns(IllConditionedKernel, match="digits are meaningful"):
        gradient_flow(nearly, Y, float("inf"), k_test_train=CROSS)
    gradient_flow(nearly, Y, 10.0, k_test_train=CROSS)  # stopped before it matters: nothing to warn of
    gp_posterior(nearly, Y, k_test_train=CROSS, k_test_test=TEST_FEATURES @ TEST_FEATURES.T, noise=1e-3)


def test_float32_kernels_are_said_to_be():
    x = np.random.default_rng(2).standard_normal((40, 3))
    rounded = (x @ x.T).astype(np.float32)  # of rank 3, hence with negative eigenvalues of float32's rounding
    with pytest.warns(IllConditionedKernel, match="less precision than float64"):
        spectrum(rounded)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("not symmetric", lambda: gradient_flow(K + np.triu(K), Y, 1.0)),
        ("has the eigenvalue", lambda: gradient_flow(K - 20 * np.eye(N), Y, 1.0)),
        ("not finite", lambda: gradient_flow(K * np.nan, Y, 1.0)),
        (r"wants \(6, 6\)", lambda: gradient_flow(CROSS, Y, 1.0)),
        ("y_train has shape", lambda: gradient_flow(K, Y, 1.0, f0=F0[:, :1])),
        ("t must be a time", lambda: gradient_flow(K, Y, -1.0)),
        ("lr is 0", lambda: gradient_flow(K, Y, 1.0, lr=0)),
        ("t is infinite", lambda: gradient_flow(K, CLASSES, float("inf"), f0=F0, loss=F.cross_entropy)),
        ("give f0", lambda: gradient_flow(K, CLASSES, 1.0, loss=F.cross_entropy)),
        ("must return a scalar", lambda: gradient_flow(K, Y, 1.0, loss=lambda f, y: f - y)),
        ("without k_test_train", lambda: gradient_flow(K, Y, 1.0, f0_test=F0_TEST)),
        ("give both or neither", lambda: gradient_flow(K, Y, 1.0, f0=F0, k_test_train=CROSS)),
        ("whole numbers", lambda: gradient_descent(K, Y, 1.5)),
        ("zero everywhere", lambda: critical_learning_rate(0 * K, loss_scale=1.0)),
    ],
)
def test_what_does_not_fit_is_refused(message, call):
    with pytest.raises(KernelError, match=message):
        call()


def test_a_wide_network_follows_its_kernel():
    """Gradient descent on a two-layer network of width 4096 under its infinite-width kernel, from its own outputs.

    The kernel at initialisation is off by 1 / sqrt(width), 1.6 %, and so is the path; at width 256 by four times that.
    """
    torch.manual_seed(0)
    x = torch.randn(8, 5, dtype=torch.float64)
    y = torch.sin(x[:, :1])
    gaps = []
    for width in (256, 4096):
        w, v = torch.randn(width, 5, dtype=torch.float64), torch.randn(1, width, dtype=torch.float64)
        w.requires_grad_()
        v.requires_grad_()

        def f(w=w, v=v, width=width):
            return torch.tanh(x @ w.T * (1.5 / 5**0.5)) @ v.T * (1.5 / width**0.5)

        network = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 1))
        kernel = infinite_width(network, x, weight_std=1.5, bias_std=None).ntk
        start = f().detach()
        for _ in range(60):
            gradients = torch.autograd.grad(((f() - y) ** 2).sum() / 16, (w, v))
            with torch.no_grad():
                w -= 0.5 * gradients[0]
                v -= 0.5 * gradients[1]
        predicted = gradient_descent(kernel, y, 60, f0=start, lr=0.5)
        gaps.append(float((f().detach() - predicted).norm() / (start - y).norm()))
    assert gaps[1] < 0.03
    assert gaps[0] > 1.5 * gaps[1]
