"""Which dimensions of which parameter grow with width, which are contracted, and the role that follows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from mutransfer.errors import BuildError, ClassificationError
from mutransfer.parameterization.building import Build, Width, growth, scaled, show_width, skeleton
from mutransfer.parameterization.layouts import CONVS, TRANSPOSED, Axes, is_called_on_its_input, is_vector, known_axes
from mutransfer.parameterization.rules import Role
from mutransfer.parameterization.trace import Trace

Overrides = Mapping[str, Role | str | Axes]

_ANY_OTHER = "input, output, bottleneck, vector"
_PARAMETRIZED = (
    "\n    The layer's weight is made of it (weight_norm, spectral_norm or the like) and does not scale as it does, so "
    "that the rules for a weight need not hold: leave that out of the factory, or give a role and look at "
    "mutransfer.coordinate_check"
)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of the user's model, as seen at several widths."""

    name: str
    owner: str  # type of the module that holds it
    shapes: tuple[tuple[int, ...], ...]  # at Survey.widths, base first and target second
    axes: Axes | None  # None: not a matrix-like parameter of a known module
    role: Role
    reason: str
    bias_fan_in: tuple[int, ...] | None = None  # by width, what torch's init of this bias counts as fan_in
    growth: tuple[float, ...] = ()  # of the width itself; nan where that is not one number
    multipliable: bool = False  # its module multiplies it with the module's input, so a factor can go there

    @property
    def m_in(self) -> float:
        return 1.0 if self.role is Role.SCALAR else self.multiplier("fan_in", 1)

    @property
    def m_out(self) -> float:
        return 1.0 if self.role is Role.SCALAR else self.multiplier("fan_out", 1)

    def multiplier(self, side: str, which: int) -> float:
        """Size of one side at widths[which] over its size at base; 1 where it does not grow."""
        if self.axes is None:  # a vector or scalar: all its growth is output
            dims = tuple(range(len(self.shapes[0]))) if side == "fan_out" else ()
        else:
            dims = getattr(self.axes, side)
        return prod(self.shapes[which][d] for d in dims) / prod(self.shapes[0][d] for d in dims)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The parameters of a model at several widths; ``widths[0]`` is the base, ``widths[1]`` the target."""

    widths: tuple[Width, ...]
    parameters: Mapping[str, Parameter]
    tied: Mapping[str, str]  # module that reads out with an embedding's tensor -> that tensor's name
    models: tuple[nn.Module, nn.Module]  # at base and target, possibly on the meta device


def survey(
    build: Build,
    base_width: Width,
    width: Width,
    overrides: Overrides | None = None,
    traced: Trace | None = None,
) -> Survey:
    """Build at base, target and non-proportional widths between, compare shapes and assign roles.

    Raises ClassificationError naming every parameter whose role cannot be known, with the override to write.
    """
    models = [skeleton(build, base_width), skeleton(build, width)]
    widths = [base_width, width]
    for probe in _probes(base_width, width):
        try:
            models.append(skeleton(build, probe))
        except BuildError:
            continue  # a probe width is our choice, not the user's: the factory may refuse it
        widths.append(probe)
    return compare(models, widths, overrides, traced)


def compare(
    models: Sequence[nn.Module],
    widths: Sequence[Width],
    overrides: Overrides | None = None,
    traced: Trace | None = None,
) -> Survey:
    """Roles from models that exist already; ``models[0]`` is the base and ``models[1]`` the target.

    ``traced`` is what a forward pass at base width does with each parameter, where that could be run.
    """
    names = [dict(model.named_parameters()) for model in models]
    for width, found in zip(widths[1:], names[1:], strict=True):
        if found.keys() != names[0].keys():
            odd = sorted(found.keys() ^ names[0].keys())
            raise ClassificationError(
                f"the parameters differ between width {show_width(widths[0])} and {show_width(width)}: "
                f"{_some(odd)} exist in only one of them. Only sizes may change with width, not the layers."
            )
    overrides = _checked(overrides, names[0])
    uses = _uses(models[0])
    fan_ins = [bias_fan_ins(model) for model in models]
    parameters, unresolved = {}, []
    for name in names[0]:
        shapes = tuple(tuple(found[name].shape) for found in names)
        path, owner, attribute = _owner(uses[name])
        grouped = _groups_grow(owner, models[1].get_submodule(path))
        parameter = _classify(name, owner, attribute, shapes, overrides, traced, grouped)
        if parameter is None:
            unresolved.append(_plea(name, owner, attribute, shapes, widths))
            continue
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
    return Survey(
        widths=tuple(widths),
        parameters=_mark_bottlenecks(parameters, overrides, list(traced.uses) if traced else []),
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


def bias_fan_ins(model: nn.Module) -> dict[str, int]:
    """Per bias of a Linear or convolution, the fan_in by which torch draws it: uniform within 1/sqrt(fan_in).

    From the module's attributes: its weight may be tied or parametrized by now.
    """
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    fan_ins = {}
    for module in model.modules():
        bias = vars(module)["_parameters"].get("bias")
        if bias is not None and isinstance(module, nn.Linear):
            fan_ins[names[id(bias)]] = module.in_features
        elif bias is not None and isinstance(module, nn.modules.conv._ConvNd):
            # torch counts all dimensions of the weight but the first, which a transposed convolution contracts.
            channels = module.out_channels if module.transposed else module.in_channels
            fan_ins[names[id(bias)]] = channels // module.groups * prod(module.kernel_size)
    return fan_ins


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


def _classify(
    name: str,
    owner: nn.Module,
    attribute: str,
    shapes: tuple[tuple[int, ...], ...],
    overrides: Overrides,
    traced: Trace | None,
    grouped: bool,
) -> Parameter | None:
    owner_name = type(owner).__name__
    growing = _growing(shapes)
    known = known_axes(owner, attribute)
    called = is_called_on_its_input(owner, attribute)
    override = next((value for pattern, value in overrides.items() if fnmatchcase(name, pattern)), None)
    if override is not None:
        parameter = _overridden(name, owner_name, shapes, growing, known, override)
        return replace(parameter, multipliable=called)
    base = Parameter(
        name=name,
        owner=owner_name,
        shapes=shapes,
        axes=known,
        role=Role.SCALAR,
        reason="",
        multipliable=called,
    )
    if not growing:
        return replace(base, axes=None, role=Role.SCALAR, reason=f"{owner_name}.{attribute}: no dimension grows")
    if known is not None:
        stray = growing - {*known.fan_in, *known.fan_out}
        if stray or (grouped and len(growing) > 1):
            return None  # an embedding whose count grows, groups that grow in number and in size: no rule fits
        if grouped:
            if shapes[0][1] == 1:
                return replace(base, axes=None, role=Role.VECTOR, reason="depthwise kernel: one filter per channel")
            axes, reason = (
                Axes(fan_in=(), fan_out=tuple(growing)),
                "groups grow in number, each sums over as many channels",
            )
            return replace(base, axes=axes, role=Role.INPUT, reason=f"{owner_name}.{attribute}: {reason}")
        role, reason = _role(known, growing)
        return replace(base, role=role, reason=f"{owner_name}.{attribute}: {reason}")
    use = traced.uses.get(name) if traced else None
    contracted = use is not None and use.matrix and not use.elementwise
    if is_vector(owner, attribute) or (_is_row(shapes[0]) and not contracted):
        return replace(
            base, role=Role.VECTOR, reason=f"{owner_name}.{attribute}: one growing dimension, not contracted"
        )
    return _bare(base, attribute, growing, traced)


def _bare(base: Parameter, attribute: str, growing: set[int], traced: Trace | None) -> Parameter | None:
    """A parameter of a module that is not torch's: by what a forward pass does with it, or by its shape."""
    what, shapes = f"{base.owner}.{attribute}", base.shapes
    axes = traced.axes(base.name, len(shapes[0])) if traced else None
    if traced is not None and axes is not None:
        if traced.uses[base.name].elementwise:
            if len(growing) > 1:
                return None
            return replace(base, role=Role.VECTOR, reason=f"{what}: used elementwise in the forward pass")
        role, reason = _role(axes, growing)
        return replace(base, axes=axes, role=role, reason=f"{what}: {reason}, as the forward pass contracts it")
    if len(growing) == 2 and _grow_alike(shapes, *sorted(growing)):
        first, second = sorted(growing)
        reason = "two dimensions grow by the same factor, so whichever is contracted"
        axes = Axes(fan_in=(second,), fan_out=(first,))
        return replace(base, axes=axes, role=Role.HIDDEN, reason=f"{what}: {reason}")
    if growing == {len(shapes[0]) - 1} and shapes[0][0] == 1:
        return replace(base, role=Role.VECTOR, reason=f"{what}: (1, ..., d), added by broadcasting")
    return None


def _grow_alike(shapes: tuple[tuple[int, ...], ...], first: int, second: int) -> bool:
    return all(shape[first] * shapes[0][second] == shape[second] * shapes[0][first] for shape in shapes)


def _growing(shapes: tuple[tuple[int, ...], ...]) -> set[int]:
    if len({len(shape) for shape in shapes}) > 1:
        return set(range(max(len(shape) for shape in shapes)))
    return {d for d in range(len(shapes[0])) if len({shape[d] for shape in shapes}) > 1}


def _is_row(shape: tuple[int, ...]) -> bool:
    return sum(size > 1 for size in shape) == 1  # (1, 1, d): a class token


def _role(axes: Axes, growing: set[int]) -> tuple[Role, str]:
    grows_in, grows_out = bool(growing & set(axes.fan_in)), bool(growing & set(axes.fan_out))
    if grows_in and grows_out:
        return Role.HIDDEN, "fan_in and fan_out grow"
    if grows_in:
        return Role.OUTPUT, "fan_in grows, fan_out is finite"
    return Role.INPUT, "fan_out grows, fan_in is finite"


def _mark_bottlenecks(
    parameters: dict[str, Parameter], overrides: Overrides, order: Sequence[str]
) -> dict[str, Parameter]:
    """A finite output that growing matrices follow is inside the network, not a readout.

    They follow in the ``order`` of a forward pass, or else of registration; harmless where that misleads: a
    bottleneck's row is the readout's with the multiplier absorbed, which trains the same function.
    """
    marked: dict[str, Parameter] = {}
    followed = False
    used = [name for name in order if name in parameters]
    for name in reversed([name for name in parameters if name not in used] + used):
        parameter = parameters[name]
        if parameter.role is Role.OUTPUT and followed and not _match(name, overrides):
            parameter = replace(
                parameter,
                role=Role.BOTTLENECK,
                reason=f"{parameter.reason}; followed by growing matrices, so inside: init std 1/m_in",
            )
        followed = followed or parameter.role is Role.HIDDEN or parameter.role is Role.INPUT
        marked[name] = parameter
    return {name: marked[name] for name in parameters}


def _overridden(
    name: str,
    owner: str,
    shapes: tuple[tuple[int, ...], ...],
    growing: set[int],
    known: Axes | None,
    override: Role | str | Axes,
) -> Parameter:
    if isinstance(override, Axes):
        if not growing <= {*override.fan_in, *override.fan_out}:
            raise ClassificationError(
                f"override for {name!r}: dimensions {sorted(growing)} of shape {shapes[0]} grow with width, "
                f"but {override} does not cover them"
            )
        role, reason = _role(override, growing) if growing else (Role.SCALAR, "no dimension grows")
        return Parameter(name=name, owner=owner, shapes=shapes, axes=override, role=role, reason=f"override: {reason}")
    role = Role(override)
    axes = known
    if axes is None and role is Role.HIDDEN:
        if len(growing) != 2:
            raise ClassificationError(
                f"override for {name!r}: 'hidden' needs two growing dimensions, shape {shapes[0]} has "
                f"{len(growing)}; give Axes(fan_in=..., fan_out=...)"
            )
        first, second = sorted(growing)
        if not _grow_alike(shapes, first, second):
            raise ClassificationError(
                f"override for {name!r}: dimensions {first} and {second} of {shapes[0]} -> {shapes[1]} grow by "
                "different factors, so say which is contracted: Axes(fan_in=..., fan_out=...)"
            )
        axes = Axes(fan_in=(second,), fan_out=(first,))
    elif role in (Role.OUTPUT, Role.BOTTLENECK):
        axes = axes or Axes(fan_in=tuple(sorted(growing)), fan_out=())
    elif role in (Role.INPUT, Role.VECTOR):
        axes = axes or Axes(fan_in=(), fan_out=tuple(sorted(growing)))
    return Parameter(name=name, owner=owner, shapes=shapes, axes=axes, role=role, reason="override")


def _checked(overrides: Overrides | None, names: Mapping[str, object]) -> Overrides:
    overrides = overrides or {}
    for pattern, value in overrides.items():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ClassificationError(f"override {pattern!r} matches no parameter; the model has {_some(list(names))}")
        if not isinstance(value, Axes) and value not in list(Role):
            raise ClassificationError(
                f"override {pattern!r}: expected one of {', '.join(Role)} or Axes(fan_in=..., fan_out=...), "
                f"found {value!r}"
            )
    return overrides


def _match(name: str, overrides: Overrides) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in overrides)


def _plea(
    name: str, owner: nn.Module, attribute: str, shapes: tuple[tuple[int, ...], ...], widths: Sequence[Width]
) -> str:
    seen = ", ".join(f"{show_width(w)}: {tuple(s)}" for w, s in zip(widths, shapes, strict=True))
    growing = _growing(shapes)
    roles = "hidden; or output, where all of them are summed over" if len(growing) == 2 else _ANY_OTHER
    made = isinstance(owner, ParametrizationList) or attribute in ("weight_v", "weight_orig")
    return (
        f"  {name} (in {type(owner).__name__}), shape by width {{{seen}}}, growing dimensions {sorted(growing)}; "
        f"could be {roles}.\n    Say which: overrides={{{name!r}: Role.{re.split('[,;]', roles)[0].upper()}}} "
        f"or overrides={{{name!r}: Axes(fan_in=(...), fan_out=(...))}}{_PARAMETRIZED if made else ''}"
    )


def _some(names: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
