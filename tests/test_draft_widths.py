"""The widths that a draft proposes are those whose training fits into memory."""

import math

import pytest
from torch import nn

from mutransfer.config.draft import init_config, needed_bytes, proposed_widths


def square(width):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def deep(width):
    return nn.Sequential(nn.Linear(8, width), *(nn.Linear(width, width) for _ in range(20)), nn.Linear(width, 3))


def wide_heads(width):
    assert width % 128 == 0
    return nn.Sequential(nn.Embedding(1000, width), nn.Linear(width, 1000))


@pytest.mark.parametrize("build", [square, deep, wide_heads])
def test_needed_are_weights_gradients_and_two_moments(build):
    numbers = sum(p.numel() for p in build(256).parameters())
    assert needed_bytes(build, 256) == numbers * 4 * 4


@pytest.mark.parametrize(
    ("build", "base", "fitting", "most"),
    [
        (square, 64, [128, 256, 512, 1024], math.inf),
        (square, 64, [128, 256, 512], needed_bytes(square, 512)),
        (square, 32, [64, 128, 256], needed_bytes(square, 256)),
        (deep, 16, [32, 64, 128], needed_bytes(deep, 255)),
        (wide_heads, 128, [256, 512], needed_bytes(wide_heads, 512)),  # builds at no smaller base
        (square, 16, [32], needed_bytes(square, 32)),
        (square, 64, [], 0),
    ],
)
def test_widths_are_those_that_fit_from_the_base_that_leaves_eight_times_of_it(build, base, fitting, most):
    found = proposed_widths(build, most)
    assert found[:2] == (base, fitting)
    following = base * 2 ** (len(fitting) + 1)
    assert found[2] == (following if len(fitting) < 4 else None)


def test_a_draft_says_which_width_there_is_no_memory_for():
    text = init_config(f"{__name__}:deep", room=needed_bytes(deep, 512))
    assert "\nwidths: [128, 256, 512] " in text
    assert (
        "Width 1024 is left out: training it takes 0.31 GiB before any activations, 0.078 GiB are meant for it." in text
    )
    assert "is left out" not in init_config(f"{__name__}:deep", room=needed_bytes(deep, 1024))
