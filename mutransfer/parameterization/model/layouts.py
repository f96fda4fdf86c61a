"""Which dimensions of the parameters of known modules are summed over: what torch documents of its own layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The dimensions of a parameter that index its input (contracted) and its output.

    >>> Axes(fan_in=(1,), fan_out=(0,))  # nn.Linear.weight
    Axes(fan_in=(1,), fan_out=(0,))
    """

    fan_in: tuple[int, ...]
    fan_out: tuple[int, ...]


MATRIX = Axes(fan_in=(1,), fan_out=(0,))  # (out, in)
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
RECURRENT_NAMES = frozenset({"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"})
# MultiheadAttention reads its out_proj's weight without calling it: nothing can be hung on its input.
_NEVER_CALLED = nn.modules.linear.NonDynamicallyQuantizableLinear


def known_axes(owner: nn.Module, attribute: str) -> Axes | None:
    """The layout that a known module documents for one of its parameters; None for vectors and unknown modules."""
    if attribute == "weight":
        if isinstance(owner, nn.Linear):
            return MATRIX
        if isinstance(owner, CONVS):
            return Axes(fan_in=(1, *range(2, 2 + len(owner.kernel_size))), fan_out=(0,))
        if isinstance(owner, TRANSPOSED):
            return Axes(fan_in=(0, *range(2, 2 + len(owner.kernel_size))), fan_out=(1,))
        if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
            return Axes(fan_in=(), fan_out=(1,))  # a row is looked up, not summed: fan_in is finite
        if is_hf_conv1d(owner):
            return Axes(fan_in=(0,), fan_out=(1,))
    matrices = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    if isinstance(owner, nn.MultiheadAttention) and attribute in matrices:
        return MATRIX
    if isinstance(owner, RECURRENT) and attribute.startswith("weight_"):
        return MATRIX
    return None


def is_called_on_its_input(owner: nn.Module, attribute: str) -> bool:
    """Whether the module multiplies this parameter with the module's own input, so that a factor can go there."""
    if attribute != "weight" or isinstance(owner, _NEVER_CALLED):
        return False
    return isinstance(owner, (nn.Linear, *CONVS, *TRANSPOSED)) or is_hf_conv1d(owner)


def is_vector(owner: nn.Module, attribute: str) -> bool:
    """Whether a known module adds this parameter, or multiplies it elementwise, whatever its shape."""
    return isinstance(owner, NORMS) or (
        isinstance(owner, nn.MultiheadAttention) and attribute in ("in_proj_bias", "bias_k", "bias_v")
    )


def is_hf_conv1d(owner: nn.Module) -> bool:
    """Hugging Face's Conv1D of GPT-2: a linear layer whose weight is (in, out)."""
    return any(c.__name__ == "Conv1D" and c.__module__.startswith("transformers.") for c in type(owner).__mro__)
