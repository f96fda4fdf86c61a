"""Parameter names as the user's own model has them, whatever wrapper the model went through."""

from collections.abc import Collection

from torch import nn
from torch.optim.swa_utils import AveragedModel

# Prefixes that DistributedDataParallel, torch.compile and activation checkpointing put into names.
_HIDDEN = ("_orig_mod", "_checkpoint_wrapped_module")
_WRAPPERS = frozenset({"module", *_HIDDEN})


def canonical(name: str, known: Collection[str] = frozenset()) -> str:
    """``name`` without the components that wrappers add, or the one of ``known`` that equals it up to these.

    >>> canonical("module._orig_mod.layers.0.weight")
    'layers.0.weight'
    >>> canonical("module.module.head.weight", {"module.head.weight"})  # the user's own attribute, in DDP
    'module.head.weight'
    """
    if name in known:
        return name
    bare = _bare(name)
    if bare in known:
        return bare
    return next((own for own in known if _bare(own) == bare), bare)


def unhidden(name: str) -> str:
    """``name`` without what torch.compile and activation checkpointing put into it; no module of a user is so called.

    >>> unhidden("blocks.0._orig_mod.module.weight")
    'blocks.0.module.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _HIDDEN)


def owner(parameter: str) -> str:
    """The path of the module that a parameter belongs to by its name, "model" for the model's own.

    What a parametrization makes a weight of belongs to the layer whose weight that is.

    >>> owner("layers.0.weight"), owner("scale"), owner("head.parametrizations.weight.original1")
    ('layers.0', 'model', 'head')
    """
    outer, inside, _ = f".{parameter}".rpartition(".parametrizations.")
    return (outer[1:] if inside else parameter.rpartition(".")[0]) or "model"


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside (Distributed)DataParallel, AveragedModel, torch.compile and checkpointing."""
    while (inside := _inside(model)) is not None:
        model = inside
    return model


def _inside(model: nn.Module) -> nn.Module | None:
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel | AveragedModel):
        return model.module
    return next((model._modules[key] for key in _HIDDEN if key in model._modules), None)


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
