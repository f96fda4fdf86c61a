"""Which role each parameter of the models people bring gets, and what is refused with the override to write."""

import re

import pytest
import torch
from torch import nn

from mutransfer.errors import BuildError, ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.layouts import Axes
from mutransfer.parameterization.roles.classify_model import survey
from mutransfer.theory.rules import Role

from .models import TiedLM, cnn, mlp, two_widths


def surveyed(build, base, width, overrides=None):
    return survey(Builds(build, base=base, target=width), overrides)


IN, HID, OUT, NECK, VEC, SCALAR = list(Role)


def roles(build, base=8, width=32, overrides=None):
    return {name: p.role for name, p in surveyed(build, base, width, overrides).parameters.items()}


def growth(build, base, width, overrides=None):
    return {name: (p.m_in, p.m_out) for name, p in surveyed(build, base, width, overrides).parameters.items()}


class Bare(nn.Module):
    """Parameters that belong to no module torch knows."""

    def __init__(self, *shapes):
        super().__init__()
        for i, shape in enumerate(shapes):
            setattr(self, f"p{i}", nn.Parameter(torch.randn(shape)))


class OwnRMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


LAYERS = {
    "linear": (lambda w: nn.Linear(w, w), {"weight": HID, "bias": VEC}),
    "embedding": (lambda w: nn.Embedding(11, w), {"weight": IN}),
    "embedding bag": (lambda w: nn.EmbeddingBag(11, w), {"weight": IN}),
    "conv1d": (lambda w: nn.Conv1d(w, 2 * w, 3), {"weight": HID, "bias": VEC}),
    "patches": (lambda w: nn.Conv2d(3, w, 4), {"weight": IN, "bias": VEC}),
    "conv3d head": (lambda w: nn.Conv3d(w, 5, 1), {"weight": OUT, "bias": SCALAR}),
    "grouped conv": (lambda w: nn.Conv2d(w, w, 3, groups=4), {"weight": HID, "bias": VEC}),
    "depthwise": (lambda w: nn.Conv2d(w, w, 3, groups=w), {"weight": VEC, "bias": VEC}),
    "depthwise 1d": (lambda w: nn.Conv1d(w, 2 * w, 4, groups=w), {"weight": VEC, "bias": VEC}),
    "transposed": (lambda w: nn.ConvTranspose2d(w, 2 * w, 3), {"weight": HID, "bias": VEC}),
    "grouped transposed": (lambda w: nn.ConvTranspose2d(w, 2 * w, 3, groups=4), {"weight": HID, "bias": VEC}),
    "depthwise transposed": (lambda w: nn.ConvTranspose2d(w, w, 3, groups=w), {"weight": VEC, "bias": VEC}),
    "more groups": (lambda w: nn.Conv2d(w, w, 3, groups=w // 4), {"weight": IN, "bias": VEC}),
    "more groups transposed": (lambda w: nn.ConvTranspose2d(w, w, 3, groups=w // 4), {"weight": IN, "bias": VEC}),
    "transposed in": (lambda w: nn.ConvTranspose2d(3, w, 3), {"weight": IN, "bias": VEC}),
    "transposed out": (lambda w: nn.ConvTranspose2d(w, 3, 3), {"weight": OUT, "bias": SCALAR}),
    "layer norm": (nn.LayerNorm, {"weight": VEC, "bias": VEC}),
    "layer norm 2d": (lambda w: nn.LayerNorm((w, 5)), {"weight": VEC, "bias": VEC}),
    "rms norm": (nn.RMSNorm, {"weight": VEC}),
    "group norm": (lambda w: nn.GroupNorm(4, w), {"weight": VEC, "bias": VEC}),
    "batch norm": (nn.BatchNorm2d, {"weight": VEC, "bias": VEC}),
    "own rms norm": (OwnRMSNorm, {"weight": VEC}),
    "class token": (lambda w: Bare((1, 1, w)), {"p0": VEC}),
    "channel gain": (lambda w: Bare((w, 1, 1)), {"p0": VEC}),
    "temperature": (lambda w: Bare((1,), ()), {"p0": SCALAR, "p1": SCALAR}),
    "finite": (lambda w: nn.Linear(7, 7), {"weight": SCALAR, "bias": SCALAR}),
    "root": (lambda w: nn.Linear(w, 3), {"weight": OUT, "bias": SCALAR}),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_role_of_a_layer_follows_from_which_of_its_dimensions_grow(layer):
    build, expected = LAYERS[layer]
    assert roles(build) == expected


def test_a_network_is_input_hidden_output():
    assert list(roles(mlp).values()) == [IN, VEC, HID, VEC, OUT, SCALAR]
    assert list(roles(cnn).values()) == [IN, VEC, HID, VEC, VEC, VEC, OUT, SCALAR]


def test_a_dimension_that_equals_its_neighbour_by_accident_is_told_apart():
    # At base width the first layer is square (64, 64); a wide head is as large as the class count.
    build = lambda w: nn.Sequential(nn.Linear(64, w), nn.ReLU(), nn.Linear(w, 64))  # noqa: E731
    assert list(roles(build, base=64, width=256).values()) == [IN, VEC, OUT, SCALAR]


def test_the_base_width_itself_is_classified_too():
    assert roles(mlp, base=8, width=8) == roles(mlp)


def test_a_layer_that_narrows_inside_the_network_is_a_bottleneck_and_the_last_one_a_readout():
    def build(w):
        return nn.Sequential(nn.Linear(6, w), nn.Linear(w, 8, bias=False), nn.Linear(8, w), nn.Linear(w, 3))

    found = surveyed(build, 8, 32).parameters
    assert [p.role for name, p in found.items() if name.endswith("weight")] == [IN, NECK, IN, OUT]
    assert "inside" in found["1.weight"].reason


def test_several_readouts_are_all_readouts():
    build = lambda w: nn.ModuleDict({"trunk": nn.Linear(6, w), "a": nn.Linear(w, 3), "b": nn.Linear(w, 1)})  # noqa: E731
    assert [p for name, p in roles(build).items() if name.startswith(("a.w", "b.w"))] == [OUT, OUT]


def test_widths_that_grow_apart_give_each_layer_its_own_multipliers():
    assert growth(two_widths, {"d_model": 8, "d_ff": 16}, {"d_model": 16, "d_ff": 128}) == {
        "0.weight": (1, 2),
        "0.bias": (1, 2),
        "2.weight": (2, 8),
        "2.bias": (1, 8),
        "4.weight": (8, 2),
        "4.bias": (1, 2),
        "6.weight": (2, 1),
        "6.bias": (1, 1),
    }


def test_a_width_that_does_not_grow_is_finite():
    found = surveyed(two_widths, {"d_model": 8, "d_ff": 16}, {"d_model": 8, "d_ff": 64}).parameters
    assert [p.role for name, p in found.items() if name.endswith("weight")] == [SCALAR, IN, OUT, SCALAR]


def test_multipliers_count_channels_and_not_kernels():
    build = lambda w: nn.Sequential(nn.Conv2d(w, 2 * w, 5), nn.ConvTranspose2d(2 * w, w, 3))  # noqa: E731
    assert set(growth(build, 8, 32).values()) == {(4, 4), (1, 4)}


def test_narrower_than_base_is_a_multiplier_below_one():
    assert growth(mlp, 16, 4)["2.weight"] == (0.25, 0.25)


def test_a_tied_readout_keeps_the_embeddings_role_whichever_comes_first():
    for head_first in (False, True):
        found = surveyed(lambda w, first=head_first: TiedLM(w, head_first=first), 8, 32)
        name = "head.weight" if head_first else "embedding.weight"
        assert found.parameters[name].role is IN
        assert found.tied == {"head": name}


def test_a_bare_matrix_is_refused_with_its_name_shapes_and_the_override_to_write():
    with pytest.raises(ClassificationError) as error:
        surveyed(lambda w: Bare((w,), (w, 7 + w), (w, 5)), 8, 32)
    message = str(error.value)
    assert message.startswith("2 parameter(s) cannot be classified:")
    assert "p1 (in Bare), shape by width {8: (8, 15), 32: (32, 39), 16: (16, 23), 24: (24, 31)}" in message
    assert "overrides={'p1': Role.HIDDEN}" in message
    assert "p2 (in Bare)" in message
    assert "example=" in message
    assert "could be input, output, bottleneck, vector" in message
    assert "p0" not in message


def test_the_packed_weights_of_recurrent_layers_and_attention_are_matrices():
    lstm = surveyed(lambda w: nn.LSTM(6, w, num_layers=2, proj_size=w // 2), 8, 32).parameters
    assert [lstm[f"weight_{x}"].role for x in ("ih_l0", "hh_l0", "hr_l0", "ih_l1")] == [IN, HID, HID, HID]
    assert lstm["bias_ih_l0"].role is VEC
    attention = surveyed(lambda w: nn.MultiheadAttention(w, w // 4, kdim=5, add_bias_kv=True), 8, 32).parameters
    assert [attention[f"{x}_proj_weight"].role for x in "qkv"] == [HID, IN, HID]
    assert {attention[x].role for x in ("in_proj_bias", "bias_k", "bias_v", "out_proj.bias")} == {VEC}
    assert surveyed(lambda w: nn.MultiheadAttention(w, 2), 8, 32).parameters["in_proj_weight"].role is HID


def test_an_embedding_whose_count_grows_is_refused():
    with pytest.raises(ClassificationError, match=r"weight \(in Embedding\), .* growing dimensions \[0, 1\]"):
        surveyed(lambda w: nn.Embedding(w, w), 8, 32)


@pytest.mark.parametrize("override", [Role.HIDDEN, "hidden", Axes(fan_in=(1,), fan_out=(0,))])
def test_an_override_settles_a_bare_matrix(override):
    found = surveyed(lambda w: Bare((w, w)), 8, 32, {"p*": override}).parameters["p0"]
    assert (found.role, found.m_in, found.m_out) == (HID, 4, 4)
    assert found.reason.startswith("override")


def test_an_override_by_axes_decides_the_role_and_the_multipliers():
    experts = lambda w: Bare((w["experts"], w["d"], w["ff"]))  # noqa: E731
    base, wide = {"experts": 2, "d": 8, "ff": 16}, {"experts": 2, "d": 32, "ff": 32}
    found = surveyed(experts, base, wide, {"p0": Axes(fan_in=(2,), fan_out=(1,))}).parameters["p0"]
    assert (found.role, found.m_in, found.m_out) == (HID, 2, 4)


def test_hidden_needs_axes_where_the_two_sides_grow_differently():
    build = lambda w: Bare((w["d"], w["ff"]))  # noqa: E731
    with pytest.raises(ClassificationError, match=r"override for 'p0': dimensions 0 and 1 .*which is contracted"):
        surveyed(build, {"d": 8, "ff": 8}, {"d": 16, "ff": 32}, {"p0": "hidden"})
    with pytest.raises(ClassificationError, match=r"'hidden' needs two growing dimensions"):
        surveyed(lambda w: Bare((w, 5)), 8, 32, {"p0": "hidden"})


def test_axes_that_leave_a_growing_dimension_out_are_refused():
    with pytest.raises(ClassificationError, match=re.escape("dimensions [0, 1] of shape (8, 8) grow")):
        surveyed(lambda w: Bare((w, w)), 8, 32, {"p0": Axes(fan_in=(1,), fan_out=())})


def test_an_override_that_matches_nothing_or_says_nothing_known_is_an_error():
    with pytest.raises(ClassificationError, match=r"override 'head\.\*' matches no parameter; .* '0\.weight'"):
        surveyed(mlp, 8, 32, {"head.*": "output"})
    with pytest.raises(ClassificationError, match=r"override '\*': expected one of input, .* found 'matrix'"):
        surveyed(mlp, 8, 32, {"*": "matrix"})


def test_probe_widths_that_the_factory_refuses_are_done_without():
    def powers_of_four(width):
        if width not in (4, 16, 64):
            raise ValueError("powers of four only")
        return mlp(width)

    assert roles(powers_of_four, 4, 64) == roles(mlp)
    with pytest.raises(BuildError, match=r"at width 32: ValueError: powers of four only"):
        roles(powers_of_four, 4, 32)


def test_layers_that_come_and_go_with_width_are_refused():
    build = lambda w: nn.Sequential(*[nn.Linear(w, w) for _ in range(w // 8)])  # noqa: E731
    with pytest.raises(ClassificationError, match=r"'1\.bias', '1\.weight'.* exist in only one of them"):
        surveyed(build, 8, 16)
