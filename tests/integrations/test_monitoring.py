"""What the callbacks share, where no trainer is needed to see it."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import mutransfer as mt
from mutransfer.errors import ConfigError, DataError, PlanError
from mutransfer.integrations.monitoring import Monitor, part_of

INPUTS = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


def build(width):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


@pytest.fixture
def wrapped():
    return mt.parameterize(build, width=64, base_width=16, check=False)


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def begin(model, plan, **options):
    monitor = Monitor(plan, **options)
    monitor.begin(model, step=0, plain_clip=("none", 0.0))
    return monitor


def train(model, plan, **options):
    """Losses and movement over three steps."""
    monitor = begin(model, plan, **options)
    optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-2))
    found = []
    for _ in range(3):
        loss = model(INPUTS).square().mean()
        loss.backward()
        monitor.before_step(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        found += [loss.item(), *monitor.movement.log_values().values()]
    return found


def test_a_sharded_model_trains_and_moves_as_a_whole_one(one_process):
    torch.manual_seed(0)
    model, plan = mt.parameterize(build, width=64, base_width=16, check=False)
    expected = train(model, plan, clip_norm=0.05)
    torch.manual_seed(0)
    model, plan = mt.parameterize(build, width=64, base_width=16, check=False)
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=one_process)
    assert train(model, plan, clip_norm=0.05) == pytest.approx(expected, rel=1e-5)


def test_the_plans_model_is_found_inside_another_and_under_torch_compile(wrapped):
    model, plan = wrapped
    compiled = torch.compile(model, backend="eager")
    assert part_of(nn.ModuleList([nn.Linear(2, 2), compiled]), plan) is model
    with pytest.raises(PlanError, match="no part of Linear has exactly its 6 parameters"):
        part_of(nn.Linear(8, 64), plan)


def test_a_probe_compiles_no_graph_of_its_own_and_gives_the_same_movement(wrapped):
    model, plan = wrapped
    expected = train(copy.deepcopy(model), plan, probe=INPUTS)
    graphs = []
    model.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    assert train(model, plan, probe=INPUTS) == pytest.approx(expected, rel=1e-6)
    assert len(graphs) == 1


def test_a_probe_that_the_model_cannot_take_is_refused(wrapped):
    model, plan = wrapped
    monitor = begin(model, plan, probe=torch.ones(2, 5))
    optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-2))
    with pytest.raises(DataError, match=r"cannot run on the probe batch: .* Give another as probe="):
        monitor.before_step(optimizer)


def test_gradients_that_an_engine_hides_are_not_left_unclipped_in_silence(wrapped):
    model, plan = wrapped
    optimizer = torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-2))
    with pytest.raises(PlanError, match="no parameter has a gradient to clip"):
        begin(model, plan, clip_norm=1.0).before_step(optimizer)


def test_state_holds_only_what_loads_as_weights_only(wrapped, tmp_path):
    class Shouting(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x, note=None):
            return self.net(x)

    states = {}
    for note in ({"plain": [1, 2.0, None]}, {"odd": object()}):
        model, plan = mt.parameterize(lambda width: Shouting(build(width)), width=64, base_width=16, check=False)
        monitor = begin(model, plan, probe={"x": INPUTS, "note": note})
        monitor.before_step(torch.optim.AdamW(mt.param_groups(model, plan, lr=1e-2)))
        torch.save(monitor.movement.state(), tmp_path / "state.pt")
        states[next(iter(note))] = torch.load(tmp_path / "state.pt", weights_only=True)
    assert states["plain"].keys() == {"probe", "reference"}
    assert states["odd"] == {}


@pytest.mark.parametrize("odd", [{"every": 0}, {"movement_every": -1}, {"probe_rows": 0}, {"clip_norm": 0.0}])
def test_numbers_that_cannot_be_used_are_refused(wrapped, odd):
    with pytest.raises(ConfigError, match=f"{next(iter(odd))}={next(iter(odd.values()))}"):
        Monitor(wrapped[1], **odd)


def test_no_movement_is_measured_where_none_is_wanted(wrapped):
    model, plan = wrapped
    assert len(train(model, plan, movement_every=0)) == 3
