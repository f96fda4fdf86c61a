"""Training under the stored kernels against the stored predictions of neural-tangents, which agree to 1e-10."""

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer.kernels import gp_posterior, gradient_flow, gradient_flow_ensemble, infinite_width

from .test_infinite_width_stored import STORED, dense

GD = {name.removeprefix("gd/"): STORED[name] for name in STORED if name.startswith("gd/")}
TIMES = {"1.0": 1.0, "None": float("inf")}


def close(found, stored, rtol=1e-10):
    np.testing.assert_allclose(found, stored, rtol=rtol, atol=rtol * np.abs(stored).max())


@pytest.mark.parametrize("t", TIMES)
def test_predictions_of_one_network_are_the_stored_ones(t):
    train, test = gradient_flow(
        GD["k_train_train_ntk"],
        GD["y_train"],
        TIMES[t],
        k_test_train=GD["k_test_train_ntk"],
        f0=GD["fx_train_0"],
        f0_test=GD["fx_test_0"],
    )
    close(train, GD[f"single_reg0.0/t{t}/fx_train"])
    close(test, GD[f"single_reg0.0/t{t}/fx_test"])


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_mean_and_covariance_over_initialisations_are_the_stored_ones(t, kernel):
    found = gradient_flow_ensemble(
        GD[f"k_train_train_{kernel}"],
        GD["k_train_train_nngp"],
        GD["y_train"],
        TIMES[t],
        ntk_test_train=GD[f"k_test_train_{kernel}"],
        nngp_test_train=GD["k_test_train_nngp"],
        nngp_test_test=GD["k_test_test_nngp"],
    )
    for name, gaussian in (("train", found.train), ("test", found.test)):
        close(gaussian.mean, GD[f"ens_reg0.0/t{t}/{kernel}_mean_{name}"])
        stored = GD[f"ens_reg0.0/t{t}/{kernel}_cov_{name}"]
        # On the training inputs the variance tends to zero: rounding of the prior's, 7, is all that is left of it
        np.testing.assert_allclose(gaussian.covariance, stored, rtol=1e-7, atol=1e-13)


def test_the_posterior_of_the_bayesian_network_is_the_stored_one():
    kernels = [GD[f"{name}_nngp"] for name in ("k_train_train", "k_test_train", "k_test_test")]
    found = gp_posterior(kernels[0], GD["y_train"], k_test_train=kernels[1], k_test_test=kernels[2])
    close(found.mean, GD["gp_reg0.0/nngp_mean_test"])
    close(found.covariance, GD["gp_reg0.0/nngp_cov_test"])


def test_kernels_of_the_training_set_and_what_follows_from_them_are_the_stored_ones():
    network, x = dense(2, nn.ReLU), [torch.tensor(GD[f"x_{name}"]) for name in ("train", "test")]
    train, cross = infinite_width(network, x[0], bias_std=0.1), infinite_width(network, x[1], x[0], bias_std=0.1)
    close(train.nngp, GD["k_train_train_nngp"])
    close(cross.ntk, GD["k_test_train_ntk"])
    found = gradient_flow(train.ntk, GD["y_train"], 1.0, f0=GD["fx_train_0"])
    close(found, GD["single_reg0.0/t1.0/fx_train"], rtol=1e-6)
