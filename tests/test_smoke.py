"""What must work with the lowest versions of everything that pyproject.toml allows."""

import json
import math

import pytest
import torch
from torch import nn

import mutransfer as mt


def build(width):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def test_a_wrapped_model_trains():
    model, plan = mt.parameterize(build, width=64, base_width=16, optimizer="adamw", check=False)
    assert {name: scaling.lr_mult for name, scaling in plan.items() if scaling.lr_mult != 1} == {"2.weight": 0.25}
    optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=0.01))
    x = torch.randn(32, 8)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - x[:, :1]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert mt.Plan.from_json(plan.to_json()) == plan


def test_a_study_ends_in_a_verdict_and_a_report(finished):
    assert finished.ended.code == 0, finished.ended.err
    assert json.loads((finished.folder / "verdict.json").read_text())["mup"]["verdict"] == "TRANSFERS"
    assert "<svg" in (finished.folder / "report.html").read_text()
    assert any((finished.folder / "tensorboard").rglob("events.out.tfevents.*"))


def test_the_empirical_kernel_is_that_of_the_gradients(float64):
    model, x = build(8), torch.randn(5, 8)
    gradients = [torch.autograd.grad(model(one).sum(), list(model.parameters())) for one in x]
    rows = torch.stack([torch.cat([g.flatten() for g in one]) for one in gradients])
    torch.testing.assert_close(mt.kernels.empirical_ntk(model, x), rows @ rows.T)


def test_the_kernel_of_an_infinitely_wide_network_is_the_arc_cosine(float64):
    x = torch.eye(2)
    found = mt.kernels.infinite_width(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), x, bias_std=None)
    # Orthogonal inputs: E relu(u) relu(v) = 1 / (2 pi) of independent standard normals, 1/2 of one with itself.
    expected = torch.tensor([[1.0, 1 / math.pi], [1 / math.pi, 1.0]])
    torch.testing.assert_close(found.nngp, expected)


def test_a_transformer_of_hugging_face_is_wrapped():
    transformers = pytest.importorskip("transformers")

    def gpt(width):
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=width, n_head=2, n_layer=1, vocab_size=16, n_positions=8)
        )

    model, plan = mt.parameterize(gpt, width=32, base_width=16, optimizer="adamw", check=False)
    assert plan["transformer.h.0.attn.c_attn.weight"].lr_mult == 0.5
    assert model(torch.zeros(1, 8, dtype=torch.long)).logits.shape == (1, 8, 16)
