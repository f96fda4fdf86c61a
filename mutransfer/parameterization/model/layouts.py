"""What known layers document of their parameters and inputs: one row per kind of layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The dimensions of a parameter that index its input (contracted) and its output.

    >>> Axes(fan_in=(1,), fan_out=(0,))  # nn.Linear.weight
    Axes(fan_in=(1,), fan_out=(0,))
    """

    fan_in: tuple[int, ...]
    fan_out: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One kind of layer. Where nothing is documented of a parameter, its uses and its shape decide."""

    kinds: tuple[type[nn.Module], ...] = ()
    axes: Callable[[Any, str], Axes | None] = lambda module, attribute: None  # of a parameter that is contracted
    vectors: Callable[[str], bool] = lambda attribute: False  # added or multiplied elementwise, whatever the shape
    called: bool = False  # multiplies its weight with its own input, so that a factor can go there
    bias_fan_in: Callable[[Any], int] | None = None  # by which torch draws the bias: uniform within fan_in**-1/2
    input_shapes: Callable[[Any], list[tuple[int, ...]]] = lambda module: []  # of inputs that it runs on, to be tried
    input_count: Callable[[Any], int] | None = None  # of a layer that looks rows up: how many it has


MATRIX = Axes(fan_in=(1,), fan_out=(0,))  # (out, in)
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_ATTENTION_MATRICES = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_IMAGE_SIDES = (32, 8, 28, 224)


def _weight(axes: Axes) -> Callable[[nn.Module, str], Axes | None]:
    return lambda module, attribute: axes if attribute == "weight" else None


def _conv_axes(module: nn.Conv2d, attribute: str) -> Axes | None:
    return Axes(fan_in=(1, *_spatial(module)), fan_out=(0,)) if attribute == "weight" else None


def _transposed_axes(module: nn.ConvTranspose2d, attribute: str) -> Axes | None:
    return Axes(fan_in=(0, *_spatial(module)), fan_out=(1,)) if attribute == "weight" else None


def _spatial(module: nn.modules.conv._ConvNd) -> range:
    return range(2, 2 + len(module.kernel_size))


def _conv_fan_in(channels: int, module: nn.modules.conv._ConvNd) -> int:
    return channels // module.groups * prod(module.kernel_size)


def _conv_inputs(module: nn.Module) -> list[tuple[int, ...]]:
    if isinstance(module, nn.Conv1d):
        return [(2, module.in_channels, 32)]
    return [(2, module.in_channels, side, side) for side in _IMAGE_SIDES] if isinstance(module, nn.Conv2d) else []


_LINEAR: dict[str, Any] = {
    "axes": _weight(MATRIX),
    "bias_fan_in": lambda module: module.in_features,
    "input_shapes": lambda module: [(2, module.in_features), (2, 4, module.in_features)],
}
_RECURRENT = {"axes": lambda module, attribute: MATRIX if attribute.startswith("weight_") else None}
# The first row that a layer is of one of the kinds of; a subclass stands above its class.
LAYOUTS = (
    # nn.MultiheadAttention reads the weight of its out_proj without calling it: nothing can be hung on its input.
    Layout(kinds=(nn.modules.linear.NonDynamicallyQuantizableLinear,), **_LINEAR),
    Layout(kinds=(nn.Linear,), called=True, **_LINEAR),
    Layout(
        kinds=CONVS,
        axes=_conv_axes,
        called=True,
        bias_fan_in=lambda module: _conv_fan_in(module.in_channels, module),
        input_shapes=_conv_inputs,
    ),
    Layout(
        kinds=TRANSPOSED,
        axes=_transposed_axes,
        called=True,
        # torch counts all dimensions of the weight but the first, which a transposed convolution contracts.
        bias_fan_in=lambda module: _conv_fan_in(module.out_channels, module),
    ),
    # A row is looked up, not summed: fan_in is finite.
    Layout(
        kinds=(nn.Embedding,),
        axes=_weight(Axes(fan_in=(), fan_out=(1,))),
        input_count=lambda module: module.num_embeddings,
    ),
    Layout(kinds=(nn.EmbeddingBag,), axes=_weight(Axes(fan_in=(), fan_out=(1,)))),
    Layout(
        kinds=(nn.MultiheadAttention,),
        axes=lambda module, attribute: MATRIX if attribute in _ATTENTION_MATRICES else None,
        vectors=lambda attribute: attribute in ("in_proj_bias", "bias_k", "bias_v"),
    ),
    Layout(
        kinds=(nn.RNNBase,),
        **_RECURRENT,
        input_shapes=lambda module: [(2, module.input_size), (2, 4, module.input_size)],
    ),
    Layout(kinds=(nn.RNNCellBase,), **_RECURRENT),
    Layout(kinds=NORMS, vectors=lambda attribute: True),
)
_HF_CONV1D = Layout(axes=_weight(Axes(fan_in=(0,), fan_out=(1,))), called=True)
_UNKNOWN = Layout()


def layout_of(module: nn.Module) -> Layout:
    """The row of a layer; one that documents nothing where the layer is not known."""
    if _is_hf_conv1d(module):
        return _HF_CONV1D
    return next((layout for layout in LAYOUTS if isinstance(module, layout.kinds)), _UNKNOWN)


def known_axes(owner: nn.Module, attribute: str) -> Axes | None:
    """The axes that a known layer documents for one of its parameters; None for vectors and unknown layers."""
    return layout_of(owner).axes(owner, attribute)


def bias_fan_ins(model: nn.Module) -> dict[str, int]:
    """The fan_in by which torch draws each bias that it draws: uniform within 1/sqrt(fan_in).

    From the layers' attributes: a weight may be tied or parametrized by now.
    """
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    fan_ins = {}
    for module in model.modules():
        bias, fan_in = vars(module)["_parameters"].get("bias"), layout_of(module).bias_fan_in
        if bias is not None and fan_in is not None:
            fan_ins[names[id(bias)]] = fan_in(module)
    return fan_ins


def _is_hf_conv1d(owner: nn.Module) -> bool:
    """Whether it is Hugging Face's Conv1D of GPT-2: a linear layer whose weight is (in, out)."""
    return any(c.__name__ == "Conv1D" and c.__module__.startswith("transformers.") for c in type(owner).__mro__)
