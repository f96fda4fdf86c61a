"""The small GPT: causal, and its attention is the formula."""

import pytest
import torch

from mutransfer.training.models.gpt import GPT, CausalSelfAttention

TIME = 12


def _gpt(width: int = 32) -> GPT:
    torch.manual_seed(0)
    return GPT(width, vocabulary=50, context=TIME, layers=2, head_size=8)


@pytest.mark.parametrize("position", range(1, TIME))
def test_changing_a_token_changes_no_earlier_logits_and_all_later_ones(position, float64):
    model = _gpt()
    tokens = torch.randint(50, (2, TIME), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, position] = (changed[:, position] + 1) % 50
    with torch.no_grad():
        difference = (model(tokens) - model(changed)).abs().amax((0, 2))
    assert float(difference[:position].max()) < 1e-14
    assert float(difference[position:].min()) > 1e-6


@pytest.mark.parametrize("width", [8, 16, 64])
def test_attention_is_the_softmax_formula_with_heads_of_a_fixed_size(width, float64):
    torch.manual_seed(0)
    layer, x = CausalSelfAttention(width, 8), torch.randn(2, TIME, width)
    mask = torch.ones(TIME, TIME).tril().log()  # 0 where visible, -inf above the diagonal
    heads = []
    for columns in torch.arange(width).split(8):
        q, k, v = (part(x)[..., columns] for part in (layer.query, layer.key, layer.value))
        heads.append((q @ k.transpose(1, 2) / 8**0.5 + mask).softmax(-1) @ v)
    assert torch.allclose(layer(x), layer.out(torch.cat(heads, -1)), rtol=0, atol=1e-13)


def test_logits_have_one_row_per_token():
    assert _gpt()(torch.zeros(3, 5, dtype=torch.long)).shape == (3, 5, 50)


def test_the_same_token_is_told_apart_by_its_position():
    logits = _gpt()(torch.zeros(1, TIME, dtype=torch.long))[0].detach()
    assert float((logits[1:] - logits[0]).abs().amax(1).min()) > 1e-4


def test_a_sequence_longer_than_the_context_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match="sequence of 13 tokens is longer than the context of 12"):
        _gpt()(torch.zeros(1, TIME + 1, dtype=torch.long))


def test_a_width_that_is_no_multiple_of_the_head_size_is_refused():
    with pytest.raises(ValueError, match="width 33 is not a multiple of head_size 8"):
        _gpt(33)


def test_weights_are_drawn_by_torchs_own_rules():
    model = _gpt(512)
    n = model.tokens.weight.numel()
    assert float(model.tokens.weight.detach().std()) == pytest.approx(1.0, rel=5 / (2 * n) ** 0.5)  # five std. errors
    assert float(model.readout.weight.detach().abs().max()) == pytest.approx(
        512**-0.5, rel=1e-3
    )  # uniform, 25600 draws
