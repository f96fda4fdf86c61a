"""Fixtures of this folder: a fixed seed before every test."""

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

# The same examples every time: a test that fails once fails always.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the factories under test may draw from it)
    torch.manual_seed(0)
