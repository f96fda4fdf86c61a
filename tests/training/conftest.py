"""Fixtures of this folder: double precision where rounding is the question."""

import pytest
import torch


@pytest.fixture
def float64():
    """In float64 two orders of the same sums differ by about 1e-15 per operation, and 1e-10 is far from both."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
