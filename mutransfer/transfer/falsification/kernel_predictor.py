"""The kernel predictor of a task: descent in function space, under the tangent kernel of all training examples.

Its outputs f_0(x) + K(x, X) a are those of the linearised network at parameters th_0 + J(X)^T a, so that a task
evaluates it like any model, and no kernel between training and test examples is formed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from mutransfer.errors import KernelError
from mutransfer.kernels.dynamics import gradient_descent
from mutransfer.kernels.empirical.ntk import empirical_ntk
from mutransfer.kernels.kernel_problem import Predictions
from mutransfer.kernels.linearize import linearize
from mutransfer.parameterization.measuring.activations import evaluating
from mutransfer.parameterization.model.factory import build_at
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.apply import apply
from mutransfer.random_state import seed_everything
from mutransfer.training.batches import batch_size
from mutransfer.training.loss_outputs import model_call, replace_outputs
from mutransfer.training.task import Task

MAX_ROWS = 1024  # training examples times outputs: a few seconds of descent
STOPS = (0, *(4**k for k in range(6)))  # steps of full-batch descent after which the predictor is evaluated
LAST_STOP = 4**7  # a minute or so with as many rows as there may be


def kernel_losses(task: Task, plan: Plan, *, seed: int, steps: int, stops: Sequence[int] = STOPS) -> list[float]:
    """Evaluation losses of the kernel predictor, one per moment in ``stops``; infinite where descent diverged.

    Training examples are all those that a run of this seed and length sees, each once. Computed on the CPU.

    Args:
        plan: of the network at initialisation, whose learning rates weight the kernel (SGD's).
        steps: of the run.
        stops: of the descent.

    Raises KernelError where examples times outputs are more than 1024, or the model has no kernel.
    """
    seed_everything(seed)
    model = apply(build_at(task.build, plan.width), plan)
    batch = distinct_examples(task, model, seed=seed, steps=steps)
    call = model_call(task, model, batch)
    outputs = call.outputs.detach()
    n, per_example = len(outputs), outputs[0].numel()
    with evaluating(model):
        kernel = empirical_ntk(model, call.inputs, outputs="full", weights=plan).double()
    top = torch.linalg.matrix_norm(kernel.transpose(1, 2).reshape(n * per_example, -1), ord=2)
    identity = torch.einsum("nm,op->nmop", torch.eye(n), torch.eye(per_example))
    start = outputs.reshape(n, per_example).double()

    def loss(f: Tensor, _: Tensor) -> Tensor:
        with replace_outputs(model, f.reshape(outputs.shape).to(outputs.dtype)):
            return task.loss(model, batch)

    # With the identity for a test kernel, predictions on "test inputs" are the weights of the training examples.
    predictions = gradient_descent(
        kernel,
        torch.zeros_like(start),
        stops,
        k_test_train=identity,
        f0=start,
        f0_test=torch.zeros_like(start),
        lr=1 / (float(top) * _curvature(loss, torch.zeros_like(start))),  # half of what is stable
        loss=loss,
    )
    assert isinstance(predictions, Predictions)
    return [_evaluated(task, model, plan, call.inputs, weights) for weights in predictions.test]


def _curvature(loss: Callable[[Tensor, Tensor], Tensor], at: Tensor) -> float:
    """The largest second derivative of the loss in the outputs, by power iteration.

    Squared error and cross-entropy have their largest at zero outputs.
    """
    direction = torch.randn(at.shape, dtype=at.dtype, generator=torch.Generator().manual_seed(0))
    size = 0.0
    for _ in range(20):
        point = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(point, at), point, create_graph=True)
        if not slope.requires_grad:
            break
        (bent,) = torch.autograd.grad(slope, point, direction / direction.norm())
        direction, size = bent, float(bent.norm())
    if not size > 0:
        raise KernelError("the loss has no second derivative in the outputs, from which a stable step could be known")
    return size


def _evaluated(task: Task, model: nn.Module, plan: Plan, inputs: Any, weights: Tensor) -> float:
    """The loss of the linearised model at th_0 + J^T weights."""
    if not weights.isfinite().all():
        return math.inf
    with evaluating(model):
        outputs = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        moves = torch.autograd.grad(
            outputs, list(named.values()), weights.reshape(outputs.shape).to(outputs.dtype), allow_unused=True
        )
    twin = linearize(model)
    with torch.no_grad():
        for (name, move), parameter in zip(zip(named, moves, strict=True), _parameters(twin, named), strict=True):
            if move is not None:
                parameter += plan[name].lr_mult * move
    with evaluating(twin):
        loss = float(task.evaluate(twin))
    return loss if math.isfinite(loss) else math.inf


def _parameters(twin: nn.Module, names: Any) -> list[nn.Parameter]:
    parameters = dict(twin.named_parameters())
    return [parameters[name] for name in names]


def distinct_examples(task: Task, model: nn.Module, *, seed: int, steps: int) -> Any:
    """One batch of all examples in the batches of a run, each once.

    Raises KernelError once they are too many for a kernel.
    """
    first = task.batch(seed, 0)
    limit = MAX_ROWS // model_call(task, model, first).outputs[0].numel()
    rows: dict[bytes, list[Tensor]] = {}
    for step in range(steps):
        batch = task.batch(seed, step) if step else first
        leaves = _leaves(batch)
        for i in range(batch_size(batch)):
            example = [leaf[i] for leaf in leaves]
            rows.setdefault(b"".join(x.contiguous().numpy().tobytes() for x in example), example)
        if len(rows) > limit:
            raise KernelError(
                f"the run sees more than {limit} different examples, which is as many as a kernel of {MAX_ROWS} rows "
                "holds with this many outputs"
            )
    joined: Sequence[Tensor] = [torch.stack(column) for column in zip(*rows.values(), strict=True)]
    columns = iter(joined)
    return tree_map(lambda x: next(columns) if isinstance(x, Tensor) and x.ndim else x, first)


def _leaves(batch: Any) -> list[Tensor]:
    """The tensors with one entry per example, on the CPU."""
    size = batch_size(batch)
    leaves = [x.detach().cpu() for x in tree_flatten(batch)[0] if isinstance(x, Tensor) and x.ndim]
    if any(len(x) != size for x in leaves):
        raise KernelError(f"expected batches whose tensors all have {size} rows, found {[len(x) for x in leaves]}")
    return leaves
