"""The tangent kernel by its definition: one backward pass per example and output, example by example."""

import torch
from torch.func import functional_call


def explicit_kernels(model, x1, x2=None):
    """{parameter: (N1, N2, O, O)}; inputs are a tensor, or a tuple of arguments."""
    left = _rows(model, x1)
    right = left if x2 is None else _rows(model, x2)
    return {name: torch.einsum("nop,mqp->nmoq", left[name], right[name]) for name in left}


def _rows(model, x):
    args = x if isinstance(x, tuple) else (x,)
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters() if p.requires_grad}
    rows = {name: [] for name in weights}
    for n in range(len(args[0])):
        output = functional_call(model, weights, tuple(a[n : n + 1] for a in args))
        output = getattr(output, "logits", output).reshape(-1)
        for value in output:
            found = torch.autograd.grad(value, list(weights.values()), retain_graph=True, allow_unused=True)
            for (name, weight), g in zip(weights.items(), found, strict=True):
                rows[name].append(torch.zeros(weight.numel()) if g is None else g.flatten())
    return {name: torch.stack(found).view(len(args[0]), -1, weights[name].numel()) for name, found in rows.items()}


def difference(found, expected):
    """Greatest difference over parameters, over the greatest entry of the whole kernel."""
    assert found.keys() == expected.keys()
    scale = max(float(sum(expected.values()).abs().max()), 1e-300)
    return max(float((found[name] - expected[name]).abs().max()) / scale for name in expected)
