"""Parameter names as the user's own model has them, whatever wrapper the model went through."""

from collections.abc import Collection

from torch import nn

# Prefixes that DistributedDataParallel, torch.compile and activation checkpointing put into names.
_WRAPPERS = frozenset({"module", "_orig_mod", "_checkpoint_wrapped_module"})


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


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside DistributedDataParallel, DataParallel and torch.compile."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
