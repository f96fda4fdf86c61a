"""Attention logits where the size of heads grows: 1/d under mup, by whichever mechanism reaches them exactly."""

import pytest
import timm
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from mutransfer.errors import ClassificationError
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.sites import SiteKind
from mutransfer.parameterization.tracing.examples import own_example
from mutransfer.parameterization.tracing.run_traced import trace
from mutransfer.parameterization.wrapping.apply import apply

BASE, WIDTH = 32, 128
M = WIDTH / BASE
SMALL = {"hidden_size": BASE, "num_hidden_layers": 1, "vocab_size": 64}
transformers.logging.set_verbosity_error()


def hf(config, model, heads="num_attention_heads", size="hidden_size", **fixed):
    def build(width):
        return model(config(**{size: width, heads: 4}, **{k: v(width) if callable(v) else v for k, v in fixed.items()}))

    return build


class Own(nn.Module):
    """Attention of one's own: fused or separate projections, queries and keys normed or not, scale written inline."""

    def __init__(self, width, fused=False, normed=False):
        super().__init__()
        self.fused, self.size = fused, width // 4
        self.inward = nn.Linear(6, width)
        if fused:
            self.qkv = nn.Linear(width, 3 * width)
        else:
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.q_norm, self.k_norm = (nn.RMSNorm(self.size) if normed else nn.Identity() for _ in range(2))
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        h = self.inward(x)
        q, k, v = self.qkv(h).chunk(3, -1) if self.fused else (self.q(h), self.k(h), self.v(h))
        q, k, v = (t.unflatten(-1, (4, self.size)).transpose(1, 2) for t in (q, k, v))
        logits = self.q_norm(q) @ self.k_norm(k).transpose(-2, -1) / self.size**0.5
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


L = {"num_hidden_layers": 1, "vocab_size": 64}
FAMILIES = {
    "llama": hf(transformers.LlamaConfig, transformers.LlamaForCausalLM, num_key_value_heads=2, **L),
    "qwen3": hf(
        transformers.Qwen3Config, transformers.Qwen3ForCausalLM, head_dim=lambda w: w // 4, num_key_value_heads=2, **L
    ),
    "gpt2": hf(transformers.GPT2Config, transformers.GPT2LMHeadModel, "n_head", "n_embd", n_layer=1, vocab_size=64),
    "gpt_neo": hf(
        transformers.GPTNeoConfig, transformers.GPTNeoForCausalLM, "num_heads", num_layers=1, vocab_size=64,
        attention_types=[[["global"], 1]],
    ),
    "bloom": hf(transformers.BloomConfig, transformers.BloomForCausalLM, "n_head", n_layer=1, vocab_size=64),
    "bert": hf(transformers.BertConfig, transformers.BertForMaskedLM, **L),
    "t5": hf(
        transformers.T5Config, transformers.T5ForConditionalGeneration, "num_heads", "d_model", num_layers=1,
        vocab_size=64, d_kv=lambda w: w // 4,
    ),
}  # fmt: skip
OWN = {
    "timm": (
        lambda w: timm.models.vision_transformer.VisionTransformer(
            img_size=8, patch_size=4, in_chans=1, embed_dim=w, depth=1, num_heads=4, num_classes=3
        ),
        torch.randn(2, 1, 8, 8),
    ),
    "separate": (Own, torch.randn(2, 5, 6)),
    "fused": (lambda w: Own(w, fused=True), torch.randn(2, 5, 6)),
    "normed": (lambda w: Own(w, normed=True), torch.randn(2, 5, 6)),
    "fused, normed": (lambda w: Own(w, fused=True, normed=True), torch.randn(2, 5, 6)),
}
ALL = {name: (build, None) for name, build in FAMILIES.items()} | OWN


def sites(plan):
    return {path: site for path, site in plan.sites.items() if site.kind is SiteKind.ATTENTION_LOGITS}


def logits(model, example):
    return {path: a.logits for path, a in trace(model, example).attention.items()}


@pytest.mark.parametrize("name", ALL)
def test_the_logits_of_growing_heads_are_multiplied_exactly(name):
    build, example = ALL[name]
    plan = Plan.infer(build, width=WIDTH, base_width=BASE, example=example, check=False)
    found = sites(plan)
    assert found
    inputs = own_example(build(BASE)) if example is None else example
    # Weights that the plan does not rescale: then only the multipliers tell the two models apart.
    torch.manual_seed(0)
    plain = build(WIDTH)
    torch.manual_seed(0)
    wrapped = build(WIDTH)
    only = {name: _untouched(s) for name, s in plan.items()}
    apply(wrapped, _with(plan, only, found))
    before, after = logits(plain, inputs), logits(wrapped, inputs)
    path, first = next(iter(before.items()))  # what is behind the first attention has other inputs
    factor = next(iter(found.values())).factor
    torch.testing.assert_close(after[path], factor * first, rtol=1e-3, atol=1e-5)
    base, target = trace(build(BASE), inputs).attention[path], trace(plain, inputs).attention[path]
    assert factor * target.scale / base.scale == pytest.approx(base.head_size / target.head_size)


def _untouched(scaling):
    from dataclasses import replace

    return replace(scaling, init_mult=1.0, forward_mult=1.0)


def _with(plan, scalings, found):
    from dataclasses import replace

    return replace(plan, scalings=scalings, sites=found, fresh_rms={})


@pytest.mark.parametrize("name", ["sp", "ntk", "as_is"])
def test_the_standard_scale_of_one_over_sqrt_d_is_kept_elsewhere(name):
    plan = Plan.infer(Own, width=WIDTH, base_width=BASE, parameterization=name, example=OWN["separate"][1], check=False)
    assert all(site.factor == pytest.approx(1.0) for site in sites(plan).values())


def test_heads_that_grow_in_number_need_nothing():
    config = transformers.LlamaConfig
    build = lambda w: transformers.LlamaForCausalLM(  # noqa: E731
        config(hidden_size=w, num_attention_heads=w // 16, num_key_value_heads=w // 16, head_dim=16, **L)
    )
    assert not sites(Plan.infer(build, width=WIDTH, base_width=BASE, check=False))


@pytest.mark.parametrize("form", ["forward", "absorbed"])
@pytest.mark.parametrize("training", [True, False])
def test_torchs_own_attention_is_scaled_by_its_keys_in_both_modes(form, training):
    def build(width):
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        return nn.Sequential(nn.Linear(6, width), nn.TransformerEncoder(layer, 1), nn.Linear(width, 3))

    plan = Plan.infer(build, width=WIDTH, base_width=BASE, form=form, check=False)
    assert {str(site.mechanism) for site in sites(plan).values()} == {"key"}
    model = apply(build(WIDTH), plan).train(training)
    attention = model[1].layers[0].self_attn
    with torch.no_grad():
        for bias in (attention.in_proj_bias,):
            bias.normal_()  # a key's bias shifts all logits of a query alike
        x = torch.randn(2, 5, 6)
        h = model[0](x)
        q, k, v = F.linear(h, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (4, WIDTH // 4)).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=(WIDTH // 4) ** -0.5 / M**0.5)
        expected = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        torch.testing.assert_close(attention(h, h, h)[0], expected, rtol=1e-4, atol=1e-5)
        layer = model[1].layers[0]
        whole = layer.norm2((y := layer.norm1(h + expected)) + layer.linear2(F.relu(layer.linear1(y))))
        torch.testing.assert_close(model[1](h), whole, rtol=1e-4, atol=1e-4)  # no fast path around the hook


def test_a_growing_head_whose_logits_cannot_be_reached_is_refused():
    class Opaque(nn.Module):
        """Queries are the values too, so that no multiplier reaches the logits alone."""

        def __init__(self, width):
            super().__init__()
            self.inward, self.out = nn.Linear(6, width), nn.Linear(width, 3)

        def forward(self, x):
            h = self.inward(x)
            return self.out((h @ h.transpose(-2, -1)).softmax(-1) @ h)

    with pytest.raises(ClassificationError, match="logits cannot be reached"):
        Plan.infer(Opaque, width=WIDTH, base_width=BASE, example=torch.randn(2, 5, 6), check=False)


def test_growing_heads_beside_an_extra_key_are_refused():
    build = lambda w: nn.MultiheadAttention(w, 4, add_bias_kv=True)  # noqa: E731
    with pytest.raises(ClassificationError, match="beside add_bias_kv or add_zero_attn"):
        Plan.infer(build, width=WIDTH, base_width=BASE, check=False)


def test_a_multiplier_that_the_model_goes_around_is_refused():
    class Around(nn.Module):
        """Reads the readout's weight without calling the readout."""

        def __init__(self, width):
            super().__init__()
            self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)

        def forward(self, x):
            return F.linear(self.inward(x), self.head.weight, self.head.bias)

    with pytest.raises(ClassificationError, match=r"a multiplier on head \(input\) changes nothing in train mode"):
        Plan.infer(Around, width=WIDTH, base_width=BASE, example=torch.randn(2, 6), check=False)
    assert (
        Plan.infer(Around, width=WIDTH, base_width=BASE, form="absorbed", example=torch.randn(2, 6), check=False).sites
        == {}
    )


def test_a_projection_that_makes_the_values_too_is_not_the_mechanism():
    class Shared(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.size = width // 4
            self.inward, self.kv = nn.Linear(6, width), nn.Linear(width, 2 * width)
            self.q, self.out = nn.Linear(width, width), nn.Linear(width, 3)

        def forward(self, x):
            h = self.inward(x)
            q, k, v = (t.unflatten(-1, (4, self.size)).transpose(1, 2) for t in (self.q(h), *self.kv(h).chunk(2, -1)))
            return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    found = sites(Plan.infer(Shared, width=WIDTH, base_width=BASE, example=torch.randn(2, 5, 6), check=False))
    assert {path: str(site.mechanism) for path, site in found.items()} == {"q": "output"}


def test_compiled_after_a_plain_model_of_the_same_class_the_multipliers_are_in_force():
    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inward, self.head = nn.Linear(6, width), nn.Linear(width, 3)

        def forward(self, x):
            return self.head(torch.relu(self.inward(x)))

    x = torch.randn(2, 6)
    torch.compile(Net(WIDTH), backend="eager")(x)
    model = apply(Net(WIDTH), Plan.infer(Net, width=WIDTH, base_width=BASE, check=False))
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))


def grouped(width, kv_heads, implementation="sdpa"):
    config = transformers.LlamaConfig(
        hidden_size=width, intermediate_size=2 * width, num_attention_heads=width // 8, head_dim=8,
        num_key_value_heads=kv_heads, attn_implementation=implementation, **L,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_keys_that_more_and_more_queries_share_are_warned_of(implementation):
    with pytest.warns(UserWarning, match=r"self_attn: each head of keys serves 2 heads of queries at base .* 8 at the"):
        Plan.infer(lambda w: grouped(w, 2, implementation), width=WIDTH, base_width=BASE, check=False)
    # pytest turns warnings into errors: these two are silent.
    Plan.infer(lambda w: grouped(w, w // 16, implementation), width=WIDTH, base_width=BASE, check=False)
    Plan.infer(
        lambda w: grouped(w, 2, implementation), width=WIDTH, base_width=BASE, parameterization="as_is", check=False
    )


def test_keys_that_torch_itself_repeats_are_seen_too():
    class Grouped(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.q, self.kv, self.out = nn.Linear(6, width), nn.Linear(6, 16), nn.Linear(width, 3)

        def forward(self, x):
            q, k, v = (t.unflatten(-1, (-1, 8)).transpose(1, 2) for t in (self.q(x), *self.kv(x).chunk(2, -1)))
            return self.out(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))

    with pytest.warns(
        UserWarning, match=r"the model: each head of keys serves 4 heads of queries at base .* 16 at the"
    ):
        Plan.infer(Grouped, width=WIDTH, base_width=BASE, example=torch.randn(2, 5, 6), check=False)


def small(build):
    """Weights at N(0, 0.02), so that attention is nearly uniform, and a loss hardly depends on it."""

    def made(width):
        model = build(width)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0.0, 0.02)
        return model

    return made


TOKENS = torch.tensor([[1, 5, 7, 2, 9, 4], [3, 3, 8, 1, 6, 0]])
LOSSES = {
    **{
        name: (build, TOKENS, lambda model: model(input_ids=TOKENS, labels=TOKENS).loss)
        for name, build in FAMILIES.items()
        if name in ("llama", "gpt2", "bloom", "bert")
    },
    **{
        name: (small(build), x, lambda model, x=x: F.cross_entropy(model(x).flatten(0, -2), torch.zeros(10).long()))
        for name, (build, x) in OWN.items()
        if name != "timm"
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_as_the_example_makes_the_plan_that_outputs_make(name):
    build, x, loss = LOSSES[name]
    by_outputs, by_loss = (
        Plan.infer(build, width=64, base_width=16, example=example, check=False) for example in (x, loss)
    )
    assert by_loss.sites == by_outputs.sites
    assert by_loss.sites
