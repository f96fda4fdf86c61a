"""Real data that needs no download: scikit-learn's handwritten digits."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def digits(count: int | None = None, *, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Standardised images (n, 64) and labels (n,), in the data set's own order, ``skip`` left out first."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32, device=DEVICE)
    x = (x - x.mean(0)) / x.std()
    stop = None if count is None else skip + count
    return x[skip:stop], torch.tensor(labels, device=DEVICE)[skip:stop]


def parity_of_digits(count: int | None = None, *, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Images (n, 64), and +1 for odd digits and -1 for even ones (n, 1)."""
    x, labels = digits(count, skip=skip)
    return x, (labels % 2 * 2.0 - 1.0).unsqueeze(1)


def one_hot_digits(count: int | None = None, *, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Images (n, 64) and centred one-hot targets (n, 10), 0.9 for the digit and -0.1 for the others."""
    x, labels = digits(count, skip=skip)
    return x, torch.nn.functional.one_hot(labels, 10) - 0.1
