"""The tangent kernel of a finite model, exact, per parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from mutransfer.errors import ConfigError, DataError, KernelError
from mutransfer.kernels.empirical.as_function import ExampleBatch, Inputs, blocks
from mutransfer.kernels.empirical.layer_weights import layer_factors
from mutransfer.kernels.empirical.model_function import ModelFunction
from mutransfer.kernels.empirical.passes.independence import refuse_batch_statistics
from mutransfer.kernels.empirical.passes.sides import Heads, Side
from mutransfer.kernels.empirical.passes.signals import Irregular
from mutransfer.kernels.empirical.passes.survey import survey_operations
from mutransfer.kernels.empirical.passes.tangents import Tangents
from mutransfer.kernels.empirical.probe import Probe
from mutransfer.kernels.empirical.probe_check import failures
from mutransfer.kernels.empirical.tiles import Tiles, assemble
from mutransfer.kernels.empirical.untouched import aliases, untouched
from mutransfer.parameterization.model.names import unwrapped

if TYPE_CHECKING:
    from mutransfer.parameterization.scaling import Scaling

Outputs = Literal["trace", "mean", "full"]


def empirical_ntk(
    model: nn.Module,
    x1: Inputs,
    x2: Inputs | None = None,
    *,
    outputs: Outputs = "trace",
    per_layer: bool = False,
    direction: Tensor | None = None,
    weights: Mapping[str, float | Scaling] | None = None,
    memory_bytes: int = 2**30,
) -> Any:
    """K(x, x') = sum over parameters p of df(x)/dp df(x')/dp, at the model's parameters as they are.

    >>> import torch
    >>> model = nn.Linear(3, 2)
    >>> x = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    >>> empirical_ntk(model, x, outputs="mean").tolist()  # x . x' from the weight, 1 from the bias
    [[6.0, 3.0], [3.0, 3.0]]
    >>> sorted(empirical_ntk(model, x, per_layer=True))
    ['bias', 'weight']

    The model runs in the mode that it is in. Its parameters, gradients, buffers, hooks and the random state are as
    before afterwards, also where its forward pass writes to them: every run begins with the same state. Every kernel is
    checked: u^T K v against the product of two plain backward passes with random u and v, parameter by parameter. A
    parameter that is used in a way no layerwise rule covers is seen by that, and its gradients are then formed example
    by example: slower, never wrong.

    Args:
        x1, x2: what the model is called with: a tensor, a tuple of arguments or a mapping of them by name. Tensors have
            one example per entry of their first dimension. None: x2 is x1.
        outputs: the model's outputs (N, ...) are taken as (N, O). "trace" sums the kernel over outputs and "mean"
            averages it (neural-tangents' trace): (N1, N2). "full" keeps pairs of outputs: (N1, N2, O, O).
        per_layer: a dict of parameter names to kernels instead of their sum. Complex parameters count as their real and
            imaginary parts. Parameters that do not require gradients are left out; tied ones are one parameter, under
            the first of its names.
        direction: the kernel of this one combination of outputs instead: as many numbers as outputs, or one such row
            for each example of x1 (with x2 None).
        weights: factors on the parameters' kernels by parameter name or module path, the longest that fits; or a Plan,
            for its lr_mult: with SGD's learning rates, the kernel that drives training.
        memory_bytes: a bound for what is held at once beside the kernel and the model; smaller takes longer. One
            example with one output (with "full": all outputs) must fit in any case.

    Returns a tensor of the parameters' dtype on their device, or a dict of tensors; exactly symmetric where x2 is None.

    Raises KernelError where the model has no such kernel: examples that interact (batch normalisation in train mode),
    random outputs (active dropout). DataError for inputs or outputs that do not hold examples.

    Theory: Jacot, Gabriel & Hongler 2018. Layerwise form: Novak, Sohl-Dickstein & Schoenholz 2022, "Fast finite width
    neural tangent kernel", and NNGeometry (George 2021).
    """
    if outputs not in ("trace", "mean", "full"):
        raise ConfigError(f'outputs must be "trace", "mean" or "full", found {outputs!r}')
    model = unwrapped(model)
    left = ExampleBatch.of(x1, "x1")
    right = None if x2 is None else ExampleBatch.of(x2, "x2")
    with untouched(model):
        parameters = aliases(model)
        factors = layer_factors(parameters, model, weights)
        refuse_batch_statistics(model)
        function = ModelFunction.of(model, left.rows(0, min(left.size, 2)).arguments())
        constants = tuple(model.buffers())
        batches = [batch for batch in (left, right) if batch is not None]
        room = memory_bytes // len(batches)
        sides = [_side(function, parameters, constants, batch, direction, room) for batch in batches]
        if len({side.heads.width for side in sides}) > 1:
            raise DataError(f"x1 and x2 must give as many outputs: {[side.heads.width for side in sides]} per example")
        kernels = _kernels(function, parameters, constants, sides, outputs == "full", factors, per_layer, memory_bytes)
    if outputs == "mean":
        for kernel in kernels.values():
            kernel /= sides[0].heads.count
    return kernels if per_layer else kernels[""]


def _kernels(
    model: ModelFunction,
    parameters: Mapping[str, Tensor],
    constants: tuple[Tensor, ...],
    sides: list[Side],
    full: bool,
    factors: Mapping[str, float],
    per_layer: bool,
    memory_bytes: int,
) -> dict[str, Tensor]:
    """Kernels by parameter, or their sum under ""; what fails its probe is done by Jacobians, then one by one."""
    left, right = sides[0], sides[1] if len(sides) == 2 else None
    like = next(iter(parameters.values()))
    n, m, count = left.batch.size, (right or left).batch.size, left.heads.count
    skipped = {name for side in sides for name in side.survey.leftover}
    one_by_one = False
    for _ in range(4):
        in_order = tuple(name for name in parameters if name in skipped)
        tangents = Tangents(model, parameters, constants, in_order, one_by_one)
        tiles = Tiles.fitting(tangents, sides, full, memory_bytes)
        sides = [side.keeping(tiles.examples) for side in sides]
        left, right = sides[0], sides[1] if len(sides) == 2 else None
        probe = Probe.drawn(left, right or left, full, tiles.heads, like)
        names = parameters if per_layer else ("",)
        kernels = {name: like.new_zeros((n, m, count, count) if full else (n, m)) for name in names}

        def add(name: str, rows: slice, columns: slice, block: Tensor, kernels: dict[str, Tensor] = kernels) -> None:
            kernels[name if per_layer else ""][rows, columns] += factors[name] * block

        try:
            products = assemble(
                tangents, left, right, full=full, tiles=tiles, probe=probe, limit_bytes=memory_bytes, add=add
            )
        except Irregular:
            failed = set(parameters) - skipped
        else:
            failed = failures(tangents, sides, probe, products)
        if not failed:
            if right is None:
                for kernel in kernels.values():
                    _mirror(kernel, tiles.examples)
            return kernels
        if one_by_one and failed <= skipped:
            break
        one_by_one |= bool(failed & skipped)
        skipped |= failed
    raise KernelError(
        f"the kernel of {', '.join(sorted(failed))} differs from the product of two backward passes, also where it is "
        "put together from one backward pass after the other: the model's outputs are not a fixed differentiable "
        "function of each example"
    )


def _side(
    model: ModelFunction,
    parameters: Mapping[str, Tensor],
    constants: tuple[Tensor, ...],
    batch: ExampleBatch,
    direction: Any,
    memory_bytes: int,
) -> Side:
    survey = survey_operations(model, parameters, batch, constants, memory_bytes, all_outputs=direction is None)
    if direction is None:
        return Side(batch, Heads(survey.outputs, None), survey)
    like = next(iter(parameters.values()))
    rows = direction.detach().to(like).reshape(-1)
    if rows.numel() not in (survey.outputs, batch.size * survey.outputs):
        raise DataError(
            f"direction must hold one number for each of {survey.outputs} outputs, or that for each of {batch.size} "
            f"examples; found shape {tuple(direction.shape)}"
        )
    return Side(batch, Heads(survey.outputs, rows.reshape(-1, survey.outputs).expand(batch.size, -1)), survey)


def _mirror(kernel: Tensor, largest: int) -> None:
    """Fill the blocks below the diagonal from those above; make those on it exactly symmetric."""
    edges = blocks(kernel.shape[0], largest)
    for i, rows in enumerate(edges):
        for columns in edges[i:]:
            above = kernel[slice(*rows), slice(*columns)]
            turned = above.mT if kernel.ndim == 2 else above.permute(1, 0, 3, 2)
            kernel[slice(*columns), slice(*rows)] = (above + turned) / 2 if rows == columns else turned
