"""Which dimensions of which parameter grow with width, which are contracted, and the role that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from mutransfer.errors import BuildError, ClassificationError
from mutransfer.parameterization.model.builds import Builds
from mutransfer.parameterization.model.layouts import CONVS, TRANSPOSED, bias_fan_ins
from mutransfer.parameterization.roles.classify_parameter import classify_parameter, mark_bottlenecks
from mutransfer.parameterization.roles.normed_weights import normed_weight
from mutransfer.parameterization.roles.overrides import Overrides, check_overrides, listed, override_request
from mutransfer.parameterization.roles.parameter import Parameter
from mutransfer.parameterization.tracing.trace import Trace
from mutransfer.widths import Width, growth, scaled, show_width


@dataclass(frozen=True, kw_only=True)
class ModelSurvey:
    """The parameters of a model at several widths; ``widths[0]`` is the base, ``widths[1]`` the target."""

    widths: tuple[Width, ...]
    parameters: Mapping[str, Parameter]
    tied: Mapping[str, str]  # module that reads out with an embedding's tensor -> that tensor's name
    models: tuple[nn.Module, nn.Module]  # at base and target, possibly on the meta device


def survey(builds: Builds, overrides: Overrides | None = None, traced: Trace | None = None) -> ModelSurvey:
    """Build at base, target and non-proportional widths between, compare shapes and assign roles.

    Raises ClassificationError naming every parameter whose role cannot be known, with the override to write.
    """
    widths = [builds.base, builds.target]
    models = [builds.skeleton(width) for width in widths]
    for probe in _probes(builds.base, builds.target):
        try:
            models.append(builds.skeleton(probe))
        except BuildError:
            continue  # a probe width is our choice, not the user's: the factory may refuse it
        widths.append(probe)
    return compare(models, widths, overrides, traced)


def compare(
    models: Sequence[nn.Module],
    widths: Sequence[Width],
    overrides: Overrides | None = None,
    traced: Trace | None = None,
) -> ModelSurvey:
    """Roles from models that exist already; ``models[0]`` is the base and ``models[1]`` the target.

    ``traced`` is what a forward pass at base width does with each parameter, where that could be run.
    """
    names = [dict(model.named_parameters()) for model in models]
    for width, found in zip(widths[1:], names[1:], strict=True):
        if found.keys() != names[0].keys():
            odd = sorted(found.keys() ^ names[0].keys())
            raise ClassificationError(
                f"the parameters differ between width {show_width(widths[0])} and {show_width(width)}: "
                f"{listed(odd)} exist in only one of them. Only sizes may change with width, not the layers."
            )
    overrides = check_overrides(overrides, names[0])
    uses = _uses(models[0])
    fan_ins = [bias_fan_ins(model) for model in models]
    parameters, unresolved = {}, []
    for name in names[0]:
        shapes = tuple(tuple(found[name].shape) for found in names)
        path, owner, attribute = _owner(uses[name])
        normed = normed_weight(models[0], name)
        if normed is not None:
            path, owner, attribute = normed.path, normed.layer, "weight"
        grouped = _groups_grow(owner, models[1].get_submodule(path))
        parameter = classify_parameter(name, owner, attribute, shapes, overrides, traced, grouped)
        if parameter is None:
            unresolved.append(override_request(name, owner, attribute, shapes, widths))
            continue
        if normed is not None:
            parameter = replace(parameter, normed=True, gain=normed.gain)
        parameter = replace(parameter, growth=tuple(growth(widths[0], w) for w in widths))
        if name in fan_ins[0]:
            parameter = replace(parameter, bias_fan_in=tuple(found[name] for found in fan_ins))
        if len(uses[name]) > 1:  # a factor on one module's input would miss the other uses
            parameter = replace(parameter, multipliable=False)
        parameters[name] = parameter
    if unresolved:
        raise ClassificationError(
            f"{len(unresolved)} parameter(s) cannot be classified:\n"
            + "\n".join(unresolved)
            + (
                ""
                if traced
                else "\nOr give example=, inputs that the model runs on: a forward pass shows what is contracted."
            )
        )
    return ModelSurvey(
        widths=tuple(widths),
        parameters=mark_bottlenecks(parameters, overrides, list(traced.uses) if traced else []),
        tied=_tied(uses),
        models=(models[0], models[1]),
    )


def _probes(base_width: Width, width: Width) -> list[Width]:
    # Multiples of the base keep divisibility by heads and groups; a dimension that is equal by accident at
    # base and target still differs at 2x or 3x.
    if isinstance(base_width, Mapping) and isinstance(width, Mapping) and base_width != width:
        grows = {k for k in base_width if base_width[k] != width.get(k)}
        probes = [{k: v * (f if k in grows else 1) for k, v in base_width.items()} for f in (2, 3)]
        if len(grows) > 1:  # one at a time, so that the axes can be told apart
            probes += [{**base_width, k: base_width[k] * 2} for k in sorted(grows)]
        return list(probes)
    return [p for p in (scaled(base_width, 2), scaled(base_width, 3)) if p is not None and p != width]


Uses = list[tuple[str, nn.Module, str]]  # of one tensor: path of a module, the module, its attribute


def _owner(uses: Uses) -> tuple[str, nn.Module, str]:
    """The module that decides a parameter's role; for a shared tensor, the embedding."""
    return next((use for use in uses if isinstance(use[1], nn.Embedding)), uses[0])


def _groups_grow(base: nn.Module, target: nn.Module) -> bool:
    """Whether a convolution has more groups in a wider model, so that each sums over no more channels than before."""
    return isinstance(base, (*CONVS, *TRANSPOSED)) and base.groups != getattr(target, "groups", base.groups)


def _tied(uses: Mapping[str, Uses]) -> dict[str, str]:
    return {
        path: name
        for name, of_tensor in uses.items()
        if any(isinstance(module, nn.Embedding) for _, module, _ in of_tensor)
        for path, module, _ in of_tensor
        if isinstance(module, nn.Linear)
    }


def _uses(model: nn.Module) -> dict[str, Uses]:
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    uses: dict[str, Uses] = {name: [] for name in names.values()}
    for path, module in model.named_modules():
        for attribute, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            uses[names[id(tensor)]].append((path, module, attribute))
    return uses
