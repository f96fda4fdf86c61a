"""Our tangent kernel against the Jacobian contraction of PyTorch's tutorial and NNGeometry, alternating in one process.

    python -m experiments.benchmarks.empirical_ntk [--rounds 5] [--only mlp]

Time: one thread, medians over rounds in which the methods take turns, and the median ratio within a round. Memory:
every method once in a process of its own, the highest resident set during the call (VmHWM, reset before it; Linux) less
what was resident when it began. Results go to results/empirical_ntk.json. NNGeometry is compared where it is
installed (`pip install --no-deps nngeometry`) and supports the model. The tutorial is "Neural Tangent Kernels" in
PyTorch's documentation: vmap(jacrev) of functional_call for either set of examples, then one einsum per parameter.
As it is written it forms both Jacobians, also where x2 is x1; "tutorial, once" is spared the second there, which its
readers would have to think of. The bars are against the tutorial as it is written.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

import mutransfer as mt
from mutransfer.kernels import empirical_ntk

RESULTS = Path(__file__).parent / "results" / "empirical_ntk.json"


def tutorial(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    return tutorial_once(model, x1, x1 if x2 is None else x2, outputs)


def tutorial_once(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def of_example(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(model, weights, (x.unsqueeze(0),)).squeeze(0)

    def jacobian(x: Tensor) -> list[Tensor]:
        return [j.flatten(2) for j in vmap(jacrev(of_example), (None, 0))(weights, x).values()]

    left = jacobian(x1)
    right = left if x2 is None else jacobian(x2)
    formula = {"trace": "naf,maf->nm", "full": "naf,mbf->nmab"}[outputs]
    return torch.stack([torch.einsum(formula, a, b) for a, b in zip(left, right, strict=True)]).sum(0)


def ours(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    return empirical_ntk(model, x1, x2, outputs=outputs)


def nngeometry(model: nn.Module, x1: Tensor, x2: Tensor | None, outputs: str) -> Tensor:
    from nngeometry.backend import TorchHooksJacobianBackend
    from nngeometry.object.fspace import FMatDense
    from torch.utils.data import DataLoader, TensorDataset

    if x2 is not None:
        raise NotImplementedError("NNGeometry's Gram matrix is of one set of examples with itself")
    loader = DataLoader(TensorDataset(x1.clone()), batch_size=len(x1))
    kernel = FMatDense(TorchHooksJacobianBackend(model), examples=loader).to_torch().permute(1, 3, 0, 2)
    return kernel if outputs == "full" else torch.einsum("nmoo->nm", kernel)


METHODS: dict[str, Callable[[nn.Module, Tensor, Tensor | None, str], Tensor]] = {
    "tutorial": tutorial,
    "tutorial, once": tutorial_once,
    "ours": ours,
    "nngeometry": nngeometry,
}


class Attention(nn.Module):
    """Written out, since a fused kernel has no rule under vmap, which would slow the tutorial down."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        q, k, v = self.inward(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1)
        return self.outward((weights @ v).transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, max(1, width // 32))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Sequences of vectors (N, T, 16) to class logits from the mean over positions."""

    def __init__(self, width: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.inward = nn.Linear(16, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(layers)])
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.norm(self.blocks(self.inward(x))).mean(1))


def mlp(n_in: int, width: int, hidden: int, n_out: int) -> nn.Module:
    sizes = [n_in, *[width] * hidden, n_out]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small_cnn(outputs: int) -> nn.Module:
    convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1)]
    return nn.Sequential(*convolutions, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, outputs))


def mnist_cnn() -> nn.Module:
    """The network of PyTorch's MNIST example, without its dropout."""
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*convolutions, nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))


def tutorial_cnn() -> nn.Module:
    convolutions = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(21632, 10))


@dataclass(frozen=True)
class Shape:
    build: Callable[[], nn.Module]
    x1: tuple[int, ...]
    n2: int | None = None
    outputs: str = "trace"
    bar: float = 0.95  # times faster than the tutorial
    memory_bar: float = 0.0  # times less memory


SHAPES = {
    "mlp 784-1024x3-10, N=64": Shape(lambda: mlp(784, 1024, 3, 10), (64, 784), bar=100, memory_bar=50),
    "mlp 784-1024x3-10, N=64, full": Shape(lambda: mlp(784, 1024, 3, 10), (64, 784), outputs="full"),
    "mlp 784-1024x3-1, N=64": Shape(lambda: mlp(784, 1024, 3, 1), (64, 784)),
    "mlp 64-128x2-10, N=256": Shape(lambda: mlp(64, 128, 2, 10), (256, 64)),
    "mlp 64-128x2-10, 64 by 32": Shape(lambda: mlp(64, 128, 2, 10), (64, 64), n2=32),
    "mlp 64-32x2-10, N=16": Shape(lambda: mlp(64, 32, 2, 10), (16, 64)),
    "cnn of the MNIST example, N=16": Shape(mnist_cnn, (16, 1, 28, 28), bar=8),
    "cnn 16-32 on 28x28, N=32": Shape(lambda: small_cnn(10), (32, 1, 28, 28)),
    "cnn 16-32 on 28x28, N=8, full": Shape(lambda: small_cnn(10), (8, 1, 28, 28), outputs="full"),
    "cnn of the tutorial, 20 by 5": Shape(tutorial_cnn, (20, 3, 32, 32), n2=5),
    "transformer 4x64, T=128, N=8": Shape(lambda: Transformer(64, 4, 10), (8, 128, 16), bar=1.5),
    "transformer 4x128, T=128, N=8": Shape(lambda: Transformer(128, 4, 10), (8, 128, 16), bar=1.5),
    "transformer 4x128, T=128, N=64, one output": Shape(lambda: Transformer(128, 4, 1), (64, 128, 16), bar=1.5),
    "transformer 4x64, T=16, N=32": Shape(lambda: Transformer(64, 4, 10), (32, 16, 16)),
    "transformer 4x64, T=16, N=8, full": Shape(lambda: Transformer(64, 4, 10), (8, 16, 16), outputs="full"),
}


def example(shape: Shape) -> tuple[nn.Module, Tensor, Tensor | None, str]:
    torch.manual_seed(0)
    model = shape.build()
    second = None if shape.n2 is None else torch.randn(shape.n2, *shape.x1[1:])
    return model, torch.randn(shape.x1), second, shape.outputs


def peak_bytes(method: str, name: str) -> int:
    """In this process: the highest resident set during one call, beyond what was resident before."""
    call = METHODS[method]
    small = torch.randn(2, 3)
    empirical_ntk(nn.Linear(3, 1), small)  # what the first call imports
    tutorial(nn.Linear(3, 1), small, None, "trace")
    arguments = example(SHAPES[name])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call(*arguments)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def peak_in_subprocess(method: str, name: str) -> int:
    command = [sys.executable, __file__, "--peak", method, name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def differences(shape: Shape, methods: list[str]) -> dict[str, float]:
    """Greatest difference from the tutorial's kernel in float64, over its largest entry."""
    model, x1, x2, outputs = example(shape)
    model, x1, x2 = model.double(), x1.double(), None if x2 is None else x2.double()
    # A few examples: the tutorial's Jacobian in float64 does not fit everywhere.
    x1, x2 = x1[:8], None if x2 is None else x2[:4]
    expected = tutorial(model, x1, x2, outputs)
    found = {m: METHODS[m](model, x1, x2, outputs) for m in methods if m != "tutorial"}
    return {m: float((kernel - expected).abs().max() / expected.abs().max()) for m, kernel in found.items()}


def supported(shape: Shape) -> list[str]:
    small = Shape(shape.build, (2, *shape.x1[1:]), shape.n2 and 2, shape.outputs)
    found = []
    for name, method in METHODS.items():
        try:
            method(*example(small))
        except Exception as error:
            if name != "nngeometry":
                raise
            print(f"    nngeometry: {type(error).__name__}: {str(error)[:90]}")
        else:
            found.append(name)
    if shape.n2 is not None:
        found.remove("tutorial, once")  # nothing to spare
    return found


def measure(name: str, shape: Shape, rounds: int) -> dict:
    methods = supported(shape)
    arguments = example(shape)
    times: dict[str, list[float]] = {method: [] for method in methods}
    for i in range(rounds + 1):
        for method in methods:
            gc.collect()
            started = time.perf_counter()
            METHODS[method](*arguments)
            if i:  # the first round warms up
                times[method].append(time.perf_counter() - started)
    seconds = {m: statistics.median(t) for m, t in times.items()}
    ratios = {
        m: statistics.median(other / t for other, t in zip(times[m], times["ours"], strict=True))
        for m in methods
        if m != "ours"
    }
    memory = {m: peak_in_subprocess(m, name) for m in methods}
    return {
        "seconds": seconds,
        "times_faster_than": ratios,
        "peak_bytes": memory,
        "times_less_memory_than": {m: memory[m] / max(memory["ours"], 1) for m in methods if m != "ours"},
        "float64_difference": differences(shape, methods),
        "bar": shape.bar,
        "memory_bar": shape.memory_bar,
    }


def show(name: str, found: dict) -> str:
    cells = [f"{name:44}"]
    for method in METHODS:
        seconds = found["seconds"].get(method)
        cells.append(
            "        -        -"
            if seconds is None
            else f"{1e3 * seconds:8.1f} {found['peak_bytes'][method] / 2**20:8.0f}"
        )
    ratio, less = found["times_faster_than"]["tutorial"], found["times_less_memory_than"]["tutorial"]
    once = found["times_faster_than"].get("tutorial, once", ratio)
    difference = found["float64_difference"]["ours"]
    met = ratio >= found["bar"] and less >= found["memory_bar"] and difference < 1e-10
    verdict = f"bar {found['bar']:g} {'met' if met else 'MISSED'}"
    cells.append(f"{ratio:7.2f}x {once:7.2f}x {less:6.1f}x  {difference:.0e}  {verdict}")
    return " ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="shapes whose name contains this; writes no file")
    parser.add_argument("--peak", nargs=2, metavar=("METHOD", "SHAPE"), help="print the peak memory of one call")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak_bytes(*options.peak))
        return
    print(f"torch {torch.__version__}, mutransfer {mt.__version__}, 1 thread, float32, {options.rounds} rounds")
    columns = "".join(f" {m + ' ms':>17}" for m in METHODS)
    print(f"{'':44}{columns}  MiB beside; time, once, memory: tutorial over ours")
    found = {}
    for name, shape in SHAPES.items():
        if options.only in name:
            found[name] = measure(name, shape, options.rounds)
            print(show(name, found[name]), flush=True)
    if not options.only:
        RESULTS.write_text(json.dumps({"torch": torch.__version__, "threads": 1, "shapes": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
