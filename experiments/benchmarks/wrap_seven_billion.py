"""Time and memory to plan and wrap a Llama-shaped model of seven billion parameters that lies on the meta device.

    python -m experiments.benchmarks.wrap_seven_billion

Prints it and writes the page's lines.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import mutransfer as mt
from experiments.pages import write_between


class Layer(nn.Module):
    """Attention projections and a gated feed-forward, RMS-normed, as in Llama."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * 43 // 16
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.attention_norm(x)
        heads = (*x.shape[:2], -1, 16)
        q, k, v = (layer(h).view(heads).transpose(1, 2) for layer in (self.query, self.key, self.value))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))
        h = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """32 layers, vocabulary of 32000, std 0.02 throughout as Hugging Face draws it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(32000, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(32))
        self.norm, self.readout = nn.RMSNorm(width), nn.Linear(width, 32000, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.readout(self.norm(x))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    torch.set_num_threads(1)
    before, started = peak_mb(), time.perf_counter()
    # Built first, to tell apart what torch itself loads for it: its normal_ on the meta device imports its compiler.
    with torch.device("meta"):
        model = Llama(4096)
    built, at_build = time.perf_counter(), peak_mb()
    plan = mt.Plan.infer(Llama, width=4096, base_width=64)
    planned = time.perf_counter()
    mt.apply(model, plan)
    applied, peak = time.perf_counter(), peak_mb()
    size = sum(p.numel() for p in model.parameters())
    lines = [
        f"{size / 1e9:.2f} billion parameters, torch {torch.__version__.split('+')[0]}, 1 thread.",
        f"Build {built - started:.1f} s (torch alone), plan {planned - built:.1f} s, apply {applied - planned:.2f} s.",
        f"Peak memory {peak - before:.0f} MB above what importing torch takes ({before:.0f} MB): "
        f"build {at_build - before:.0f} MB (torch alone), plan and apply {peak - at_build:.0f} MB.",
    ]
    print("\n".join(lines))
    write_between(Path(__file__).parent / "README.md", "wrap_seven_billion", "\n".join(lines))


if __name__ == "__main__":
    main()
