"""What each of two processes does in the tests of distributed training: shard, wrap, train, write down what it saw."""

import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from mutransfer import apply, attach, param_groups
from mutransfer.errors import PlanError
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan

from .survival import BUILDS, WIDTH, data, factors, train, wrap

RANKS = 2
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def sharded(model, **options):
    """Each layer on its own and the rest together, as one shards a transformer; a tied tensor goes with the rest."""
    for layer in model.children():
        tied = hasattr(model, "embedding") and layer is not model.hidden
        if not tied and list(layer.parameters()):
            fully_shard(layer, **options)
    return fully_shard(model, **options)


def on_meta(which):
    with torch.device("meta"):
        return BUILDS[which](WIDTH)


def materialised(model, values):
    """Emptied, and initialised in place by code that knows nothing of checkpoints."""
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(distribute_tensor(values[name], parameter.device_mesh, parameter.placements))
    return model


def refusal(call):
    try:
        call()
    except PlanError as error:
        return str(error)
    return ""


class Cases:
    """Ways to a model in two processes that should train as ``wrapped``, whose values ``drawn`` are before wrapping."""

    def __init__(self, which, wrapped, plan, drawn):
        self.which, self.wrapped, self.plan, self.drawn = which, wrapped, plan, drawn
        self.refused = {}

    def ddp(self):
        return DistributedDataParallel(copy.deepcopy(self.wrapped))

    def sharded(self):
        return sharded(copy.deepcopy(self.wrapped))

    def wrapped_after_sharding(self):
        plain = BUILDS[self.which](WIDTH)
        plain.load_state_dict(self.drawn)
        return apply(sharded(plain), self.plan)

    def from_meta(self):
        return apply(materialised(sharded(on_meta(self.which)), self.drawn), self.plan)

    def wrapped_on_meta(self):
        model = materialised(sharded(apply(on_meta(self.which), self.plan)), self.drawn)
        self.refused["groups before the second call"] = refusal(lambda: param_groups(model, self.plan, lr=1.0))
        return apply(model, self.plan)

    def loaded(self):
        model = sharded(apply(on_meta(self.which), self.plan))
        model.to_empty(device="cpu")
        set_model_state_dict(model, self.wrapped.state_dict(), options=WHOLE)
        return model

    def attached(self):
        model = sharded(on_meta(self.which))
        model.to_empty(device="cpu")
        set_model_state_dict(model, self.wrapped.state_dict(), options=WHOLE)
        self.refused["wrapping what was loaded"] = refusal(lambda: apply(model, self.plan))
        return attach(model, self.plan)

    def low_precision(self):
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        return sharded(copy.deepcopy(self.wrapped), mp_policy=policy)

    NAMES = (
        "ddp", "sharded", "wrapped_after_sharding", "from_meta", "wrapped_on_meta", "loaded", "attached",
        "low_precision",
    )  # fmt: skip


def begin(which):
    """A wrapped model, its plan, its values before wrapping, and data; the same in every process."""
    torch.manual_seed(5)
    plain: nn.Module = BUILDS[which](WIDTH)
    torch.manual_seed(5)
    wrapped, plan = wrap(BUILDS[which])
    x, y = data(which)
    rows = len(x) // RANKS * RANKS
    return wrapped, plan, plain.state_dict(), x[:rows], y[:rows]


def main(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    torch.set_default_dtype(torch.float64)
    found = {}
    for which in BUILDS:
        wrapped, plan, drawn, x, y = begin(which)
        cases = Cases(which, wrapped, plan, drawn)
        mine = slice(rank * len(x) // RANKS, (rank + 1) * len(x) // RANKS)
        for name in Cases.NAMES:
            model = getattr(cases, name)()
            seen = {"factors": factors(model, plan), "plan": applied_plan(model) == plan}
            seen["trained"] = train(model, plan, x[mine], y[mine])
            seen["weights"] = get_model_state_dict(model, options=WHOLE)
            # Last: after a forward pass without a backward pass the root's parameters are not the sharded ones.
            found[which, name] = seen | {"output": model(x).detach()}
        found[which, "refused"] = cases.refused
    torch.save(found, f"{folder}/rank-{rank}.pt")
    dist.destroy_process_group()
