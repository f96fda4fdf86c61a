"""Models that train can be checked: those that keep tensors, route examples, write in place, or whose batch is one."""

import logging
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.transfer.coordinates.check import coordinate_check

WIDTHS = (32, 64, 128)
GENERATOR = torch.Generator().manual_seed(0)
BATCH = torch.randn(64, 8, generator=GENERATOR), torch.randn(64, 3, generator=GENERATOR)


class Layers(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.hidden, self.readout = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 3)


class Tables(Layers):
    """A table that the first forward pass makes from what it gets, as rotary embeddings do."""

    table = None

    def forward(self, x):
        h = self.first(x)
        if self.table is None or self.table.shape != h.shape:
            self.table = torch.cos(torch.arange(h.shape[-1])) * torch.ones_like(h)
        return self.readout(torch.relu(self.hidden(torch.relu(h * self.table))))


class Memory(Layers):
    """Its last features, added to the next ones while they fit."""

    last = None

    def forward(self, x):
        h = torch.relu(self.first(x))
        before, self.last = self.last, h.detach()
        return self.readout(torch.relu(self.hidden(h if before is None or before.shape != h.shape else h + 0 * before)))


class Mixture(Layers):
    """One of four experts per example: none, or another number of them, may reach an expert after a step."""

    def __init__(self, width):
        super().__init__(width)
        self.gate, self.experts = nn.Linear(width, 4), nn.ModuleList(nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        h = torch.relu(self.first(x))
        shares = self.gate(h).softmax(-1)
        mixed = torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            rows = (shares.argmax(-1) == i).nonzero().flatten()
            mixed = mixed.index_add(0, rows, expert(h[rows]) * shares[rows, i : i + 1])
        return self.readout(torch.relu(self.hidden(h + mixed)))


class Recurrent(Layers):
    """States that are written into one tensor."""

    def forward(self, x):
        states = torch.zeros(len(x), 4, self.hidden.in_features)
        for t in range(3):
            states[:, t + 1] = torch.tanh(self.first(x) + self.hidden(states[:, t].clone()))
        return self.readout(states[:, 1:]).mean(1)


def mse(model, batch):
    return F.mse_loss(model(batch[0]), batch[1])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("model", [Tables, Memory, Mixture, Recurrent])
def test_a_model_that_trains_is_checked_whatever_it_keeps_or_writes(model, optimizer, caplog):
    with caplog.at_level(logging.INFO, "mutransfer"):
        found = coordinate_check(model, widths=WIDTHS, batch=BATCH, loss=mse, optimizer=optimizer, device="cpu")
    assert found.passed, found.failures
    assert {"first", "hidden", "readout"} <= set(found.slopes)
    assert any("seeds are trained one by one: " in record.message for record in caplog.records)


def test_experts_that_get_other_examples_after_a_step_are_left_out_of_the_comparison_with_the_reason(caplog):
    with caplog.at_level(logging.INFO, "mutransfer"):
        coordinate_check(Mixture, widths=[16, 32], batch=BATCH, loss=mse, optimizer="adam", device="cpu", seeds=2)
    assert any("the update of experts." in r.message and "before the first step" in r.message for r in caplog.records)


class Heads(nn.Module):
    """Attention over the nodes of a graph, with heads that grow, and messages along its edges."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.project = nn.Linear(5, width), nn.Linear(width, 3 * width)
        self.out, self.readout = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, nodes, edges):
        h = torch.relu(self.embed(nodes))
        h = h + torch.zeros_like(h).index_add(0, edges[1], h[edges[0]]) / 4
        q, k, v = (x.view(len(h), 2, -1).transpose(0, 1) for x in self.project(h).chunk(3, -1))
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return self.readout(h + self.out((logits.softmax(-1) @ v).transpose(0, 1).reshape(h.shape)))


GRAPH = (
    torch.randn(24, 5, generator=GENERATOR),
    torch.randint(24, (2, 96), generator=GENERATOR),
    torch.randn(24, 2, generator=GENERATOR),
)


def graph_loss(model, graph):
    return F.mse_loss(model(graph[0], graph[1]), graph[2])


def graph_check(**options):
    return coordinate_check(
        Heads, widths=(32, 64, 128, 256, 512), batch=GRAPH, loss=graph_loss, optimizer="adam", device="cpu", **options
    )


def test_a_graph_that_cannot_be_halved_is_seen_whole(caplog):
    found = graph_check()
    assert found.passed, found.failures
    assert not caplog.records


@pytest.mark.parametrize("seeds", [(0, 1, 2), (3, 4, 5)])
def test_a_plan_that_lost_its_attention_sites_is_named_though_few_seeds_leave_its_slope_open(seeds):
    def plan(width):
        right = Plan.infer(
            Heads,
            width=width,
            base_width=32,
            optimizer="adam",
            example=lambda model: graph_loss(model, GRAPH),
            check=False,
        )
        return replace(right, sites={})

    found = graph_check(plan=plan, seeds=seeds)
    assert [o.where for o in found.offenders] == ["attention logits of the model"]
    assert "their multiplier is missing: factor 1 at width 512 where mup has 0.25" in found.failures[0]


def test_the_example_is_what_the_model_is_looked_at_with():
    sizes = []

    def seen(model, graph):
        sizes.append(len(graph[0]))
        return graph_loss(model, graph)

    small = (GRAPH[0][:6], GRAPH[1] % 6, GRAPH[2][:6])
    coordinate_check(Heads, widths=[16, 32], batch=GRAPH, loss=seen, example=small, device="cpu", steps=1, seeds=1)
    assert set(sizes) == {6, 24}
