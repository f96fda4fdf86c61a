"""Parameter names as the user's own model has them, whatever wrapper the model went through."""

# Prefixes that DistributedDataParallel, torch.compile and activation checkpointing put into names.
_WRAPPERS = frozenset({"module", "_orig_mod", "_checkpoint_wrapped_module"})


def canonical(name: str, known: frozenset[str] | set[str] = frozenset()) -> str:
    """``name`` without the components that wrappers add; a name in ``known`` is the user's own and stays.

    >>> canonical("module._orig_mod.layers.0.weight")
    'layers.0.weight'
    """
    if name in known:
        return name
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
