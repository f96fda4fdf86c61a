"""The small task and the specs that the tests of this folder share."""

import pytest

from mutransfer.training.spec import RunSpec
from mutransfer.training.task import label_of
from mutransfer.training.tasks.digits import DigitsMLP


@pytest.fixture(scope="session")
def digits():
    """One hidden layer on 256 images: a run of 20 steps takes some 20 ms."""
    return DigitsMLP(hidden_layers=1, batch_size=32, n_train=256)


@pytest.fixture(scope="session")
def make_spec(digits):
    def make(width=16, log2_lr=-6.0, **fields):
        known = {"base_width": 8, "optimizer": "adam", "steps": 3, "hyperparameters": {"lr": 2.0**log2_lr}}
        return RunSpec(task=label_of(digits), width=width, **{**known, **fields})

    return make
