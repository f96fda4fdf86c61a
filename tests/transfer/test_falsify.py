"""The frozen-feature control gives the known answers: no for a parity, yes for a target linear in the inputs."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import mutransfer as mt
from mutransfer.errors import ConfigError, KernelError
from mutransfer.parameterization.model.factory import build_at
from mutransfer.random_state import seed_everything
from mutransfer.training.batches import mean_loss
from mutransfer.training.loss_outputs import model_call, target_direction
from mutransfer.training.optimizers.make import make_optimizer
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.tasks.parity import ParityMLP
from mutransfer.transfer.falsification.arms import kernel_arm
from mutransfer.transfer.falsification.falsify import falsify
from mutransfer.transfer.falsification.finding import KERNEL, TWIN, Arm, Finding, explained_part, finding_of
from mutransfer.transfer.falsification.kernel_movement import probe_batch
from mutransfer.transfer.falsification.kernel_predictor import STOPS, kernel_losses
from mutransfer.transfer.falsification.twin import TwinTask, training_plan
from mutransfer.transfer.runs.record import Record


@dataclass(frozen=True)
class Linear:
    """Squared error on a fixed linear function of eight inputs: the features of any initialisation suffice."""

    def build(self, width):
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))

    def batch(self, seed, step):
        x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1000 * seed + step % 4))
        return x, x[:, :1] - x[:, 1:2]

    def loss(self, model, batch):
        x, y = batch
        return (model(x) - y).square().mean()

    def evaluate(self, model):
        return mean_loss(self.loss, model, [self.batch(999, step) for step in range(4)])


@pytest.fixture(scope="module")
def parity():
    return falsify(ParityMLP(), width=64, optimizer="adam", grid=[-6, -5, -4], steps=64, device="cpu")


@pytest.fixture(scope="module")
def linear():
    return falsify(Linear(), width=128, base_width=64, optimizer="sgd", grid=[-5, -3], steps=64, device="cpu")


def test_a_parity_is_learned_by_the_network_and_not_by_its_frozen_features(parity):
    assert parity.finding is Finding.FEATURES_NEEDED
    network, twin = parity.arms["mup"], parity.arms[TWIN]
    assert max(network.final) < 0.05
    # A constant answer has log 2 = 0.693; the twins reach 0.65 to 0.68, and their seeds differ by 0.01.
    assert min(twin.final) > 0.6
    assert set(parity.explained) == {TWIN, KERNEL}
    assert all(part.high < 0.5 for part in parity.explained.values())


def test_the_kernel_of_a_network_that_learns_a_parity_turns_towards_it(parity):
    for moments in parity.arms["mup"].moments:
        assert moments[0].drift == 0
        assert moments[0].distance == 0
        assert moments[-1].distance > 0.05
        assert moments[-1].alignment > 2 * abs(moments[0].alignment)
    steps = [step for step, _ in parity.arms["mup"].curves[0]]
    assert steps[0] == 0
    assert steps[-1] == 64
    assert len(steps) == len(parity.arms["mup"].moments[0])


def test_a_linear_target_is_explained_by_frozen_features(linear):
    assert linear.finding is Finding.FROZEN_SUFFICES
    assert linear.exit_code == 1
    assert all(linear.explained[name].value > 0.9 for name in ("ntk", TWIN, KERNEL))


def test_at_base_width_ntk_is_left_out_as_the_same_model(parity, linear):
    assert "ntk" in parity.left_out
    assert "ntk" not in parity.arms
    assert "ntk" in linear.arms
    assert linear.left_out == {}


def test_numbers_are_plain_json(parity):
    data = json.loads(json.dumps(parity.to_dict(), allow_nan=False))
    assert data["finding"] == "FEATURES_NEEDED"
    assert data["arms"]["mup"]["moments"][0][0]["drift"] == 0


def spec_of(task, **fields):
    known = {"width": 32, "base_width": 16, "optimizer": "sgd", "hyperparameters": {"lr": 0.1}, "steps": 4}
    return RunSpec(task="t", parameterization="ntk", **{**known, **fields})


def test_the_twin_begins_as_the_network_under_its_plan_and_moves_alike_in_the_first_order():
    task, lr = Linear(), 1e-4
    plan = infer_plan(spec_of(task), task)
    assert any(s.forward_mult != 1 for s in plan.values())
    found = {}
    for name, build, used in (
        ("network", task.build, plan),
        ("twin", TwinTask(task, plan).build, training_plan(plan)),
    ):
        torch.manual_seed(0)
        model = mt.apply(build(32), used).double()
        optimizer = torch.optim.SGD(mt.param_groups(model, used, lr=lr))
        x = task.batch(0, 0)[0].double()
        before = model(x)
        (before - task.batch(0, 0)[1]).square().mean().backward()
        optimizer.step()
        found[name] = (before.detach(), model(x).detach())
    (start, end), (twin_start, twin_end) = found["network"], found["twin"]
    torch.testing.assert_close(twin_start, start)
    moved = (end - start).norm()
    assert moved > 0
    assert (twin_end - end).norm() < 0.01 * moved  # second order: of the size of the learning rate


def test_the_kernel_predictor_is_the_twin_trained_by_full_batch_descent():
    task = ParityMLP(bits=20, n_train=32, batch_size=32)
    plan = infer_plan(spec_of(task), task)
    losses = kernel_losses(task, plan, seed=0, steps=4)
    seed_everything(0)
    model = mt.apply(build_at(task.build, 32), plan)
    kernel = mt.kernels.empirical_ntk(model, task.batch(0, 0)[0]).double()
    # The logistic loss at zero has the second derivative 1 / 4 in every output.
    rate = 4 * 32 / float(torch.linalg.matrix_norm(kernel, ord=2))
    seed_everything(0)
    used = training_plan(plan)
    twin = mt.apply(build_at(TwinTask(task, plan).build, 32), used)
    optimizer = make_optimizer(twin, used, spec_of(task, hyperparameters={"lr": rate}))
    reached = {0: task.evaluate(twin)}
    for step in range(16):
        optimizer.zero_grad()
        task.loss(twin, task.batch(0, 0)).backward()
        optimizer.step()
        reached[step + 1] = task.evaluate(twin)
    assert STOPS[:4] == (0, 1, 4, 16)
    assert losses[:4] == pytest.approx([reached[n] for n in STOPS[:4]], rel=1e-4)


def test_the_kernel_predictors_descent_goes_on_until_it_is_bracketed(monkeypatch):
    network = Arm(name="mup", setting="", initial=(2.0, 2.0), final=(0.0, 0.0))
    spec = spec_of(Linear())
    whole = kernel_arm(Linear(), spec, [0, 1], network)
    monkeypatch.setattr("mutransfer.transfer.falsification.arms.STOPS", (0, 1))
    short = kernel_arm(Linear(), spec, [0, 1], network)
    assert int(short.setting.split()[0]) >= 16
    assert short.last_gain <= 0.05 * 2
    assert np.mean(short.final) - np.mean(whole.final) < 0.05 * 2
    monkeypatch.setattr("mutransfer.transfer.falsification.arms.LAST_STOP", 4)
    assert kernel_arm(Linear(), spec, [0, 1], network).last_gain > 0.05 * 2


def test_wished_outputs_are_the_targets_of_both_usual_losses():
    task, model = Linear(), nn.Linear(8, 1)
    batch = task.batch(0, 0)
    torch.testing.assert_close(target_direction(task, model, batch), 2 * batch[1] / 32)
    task = ParityMLP()
    bits, parity = task.batch(0, 0)
    torch.testing.assert_close(target_direction(task, nn.Linear(40, 1), (bits, parity)), (parity - 0.5) / 64)


@pytest.mark.parametrize(("outputs", "word"), [((5,), "row per example"), ((32, 5000), "too large to be measured")])
def test_a_model_whose_kernel_is_not_measured_says_why(outputs, word):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.zeros(outputs)

    @dataclass(frozen=True)
    class Task(Linear):
        def loss(self, model, batch):
            return model(batch[0]).sum()

    with pytest.raises(KernelError, match=word):
        probe_batch(Task(), Odd())


def test_a_loss_that_calls_the_model_twice_has_no_kernel():
    @dataclass(frozen=True)
    class Twice(Linear):
        def loss(self, model, batch):
            return super().loss(model, batch) + super().loss(model, batch)

    task = Twice()
    with pytest.raises(KernelError, match="2 calls"):
        model_call(task, task.build(4), task.batch(0, 0))


def test_too_many_examples_leave_the_predictor_out():
    task = ParityMLP(n_train=1088)
    with pytest.raises(KernelError, match="more than 1024 different examples"):
        kernel_losses(task, infer_plan(spec_of(task), task), seed=0, steps=20)


NETWORK = Arm(name="mup", setting="", initial=(1.0, 1.0, 1.0), final=(0.0, 0.01, 0.02))


def control(*final, **fields):
    return Arm(name=TWIN, setting="", initial=(1.0, 1.0, 1.0), final=final, **fields)


@pytest.mark.parametrize(
    ("network", "twin", "finding"),
    [
        (NETWORK, control(0.7, 0.72, 0.71), Finding.FEATURES_NEEDED),
        (NETWORK, control(0.05, 0.06, 0.05), Finding.FROZEN_SUFFICES),
        (NETWORK, control(0.0, 0.3, 0.4), Finding.INCONCLUSIVE),  # the interval holds the limit
        (NETWORK, control(0.7, 0.72, 0.71, last_gain=0.2), Finding.INCONCLUSIVE),  # the control's grid was too short
        (replace(NETWORK, last_gain=0.2), control(0.7, 0.72, 0.71), Finding.FEATURES_NEEDED),  # would be needed more
        (replace(NETWORK, last_gain=0.2), control(0.05, 0.06, 0.05), Finding.INCONCLUSIVE),
        (replace(NETWORK, final=(0.0, 0.0, 1.0)), control(0.7, 0.7, 0.7), Finding.INCONCLUSIVE),  # one seed failed
    ],
)
def test_findings(network, twin, finding):
    part = explained_part(network, twin)
    assert finding_of(network, [twin], {TWIN: part})[0] is finding


def test_the_explained_part_has_the_t_interval_of_its_seeds():
    part = explained_part(replace(NETWORK, final=(0.0, 0.0, 0.0)), control(0.4, 0.5, 0.6))
    half = 2.919986 * 0.1 / math.sqrt(3)  # t of 2 degrees of freedom at 0.95
    assert (part.value, part.low, part.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"seeds": 1}, "two different seeds"),
        ({"seeds": [3, 3]}, "two different seeds"),
        ({"grid": []}, "learning rate in grid"),
        ({"hyperparameters": {"lr": 0.1}}, "give grid"),
        ({"optimizer": "adagrad"}, "optimizer must be one of"),
        ({"stepz": 3}, "not a training setting"),
    ],
)
def test_bad_arguments_are_named(fields, word):
    with pytest.raises(ConfigError, match=word):
        mt.falsify(Linear(), width=16, **fields)


def test_a_twin_has_one_width():
    task = Linear()
    twin = TwinTask(task, infer_plan(spec_of(task), task))
    with pytest.raises(ConfigError, match="of width 32, asked for 64"):
        twin.build(64)


def test_the_verb_writes_its_page_and_numbers_and_ends_with_the_finding(mutransfer, tmp_path):
    config = tmp_path / "study.yaml"
    config.write_text("""\
task: digits-mlp
args: {hidden_layers: 1, n_train: 256}
optimizer: sgd
base_width: 16
widths: [32]
seeds: 2
space: {lr: {log2: [-2, 0], spacing: 2}}
training: {steps: 16}
device: cpu
""")
    ended = mutransfer("falsify", config, "--out", tmp_path / "run", "--json")
    data = json.loads((tmp_path / "run" / "falsify.json").read_text())
    last = json.loads(ended.lines[-1])
    assert last["finding"] == data["finding"]
    assert (
        ended.code
        == last["exit_code"]
        == {"FEATURES_NEEDED": 0, "FROZEN_SUFFICES": 1, "INCONCLUSIVE": 3}[data["finding"]]
    )
    assert data["explained"][TWIN]["value"] > 0.7  # digits need little more than their pixels
    # Every learner at both points of the grid and the two refined ones at least, for two seeds.
    assert len(Record(tmp_path / "run" / "runs.db")) >= 3 * 4 * 2
    page = (tmp_path / "run" / "falsify.html").read_text()
    assert data["sentence"] in page
    assert page.count("<svg") == 3
    assert "different examples" in page  # why there is no kernel predictor
