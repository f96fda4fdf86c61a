"""Fixtures of this folder: a fixed seed before every test, and double precision where rounding is the question."""

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


@pytest.fixture
def float64():
    """In float64 two orders of the same sums differ by about 1e-15 per operation, and 1e-10 is far from both."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
