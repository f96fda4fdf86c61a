"""Losses that are no measure of a learning rate: not finite from the start, zero throughout, or a perfect fit."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from mutransfer import tune, verify
from mutransfer.errors import DataError
from mutransfer.transfer.runs.record import Record
from mutransfer.transfer.verification.evidence import weigh
from mutransfer.transfer.verification.verdict import Verdict, judge_transfer

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Line:
    """A regression, with one thing that is wrong."""

    fault: str = ""

    def build(self, width):
        model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))
        if self.fault == "parameter":
            with torch.no_grad():
                model[2].bias.fill_(INF)
        return model

    def batch(self, seed, step):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1000 * seed + step))
        if self.fault == "batch" or (self.fault == "later batch" and step == 3):
            x[5, 2] = NAN
        return x, x.sum(1, keepdim=True).nan_to_num()

    def loss(self, model, batch):
        loss = mse_loss(model(batch[0]), batch[1])
        return {"loss": loss * NAN, "root": (loss - 1e9).sqrt(), "zero": loss * 0}.get(self.fault, loss)

    def evaluate(self, model):
        if self.fault in ("evaluate", "zero", "infinite"):
            return {"evaluate": NAN, "zero": 0.0, "infinite": INF}[self.fault]
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(7))
        return float(mse_loss(model(x), x.sum(1, keepdim=True)).detach())


def search(task, **options):
    return tune(
        task, base_width=8, space={"lr": (2**-6, 2**-3)}, optimizer="adam", steps=5, seeds=2, device="cpu", **options
    )


@pytest.mark.parametrize("members", [1, None])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            "loss",
            r"loss\(model, batch\) is nan for the model that the factory makes at width 8, before training: its par",
        ),
        ("root", r"loss\(model, batch\) is nan for .*look for a logarithm, a root or a division"),
        ("evaluate", r"evaluate\(model\) is nan for the model that the factory makes at width 8"),
        ("infinite", r"evaluate\(model\) is inf for"),
        ("parameter", r"is inf for .*: its 2\.bias is not finite as the factory draws it"),
        (
            "batch",
            r"loss\(model, batch\) is nan for .*batch\(seed=0, step=0\) holds NaN in tensor 1 of 2, of shape \(8, 4\)",
        ),
        ("later batch", r"batch\(seed=0, step=3\) holds NaN in tensor 1 of 2"),
        ("zero", r"evaluate\(model\) is 0 for .*nothing is left to learn"),
    ],
)
def test_what_is_not_finite_is_named_and_no_run_is_recorded(fault, told, members):
    record = Record()
    with pytest.raises(DataError, match=told):
        search(Line(fault), record=record, members=members)
    assert len(record) == 0


def test_it_is_named_where_only_verification_runs():
    with pytest.raises(DataError, match="evaluate"):
        verify(
            Line("evaluate"),
            {"lr": 2**-4},
            base_width=8,
            widths=[16],
            grid=[-5, -4, -3],
            optimizer="adam",
            steps=3,
            seeds=2,
        )


def test_a_run_that_diverges_is_an_outcome_as_before():
    results = search(Line()).sweep.results
    assert all(math.isfinite(r.final_loss) for runs in results.values() for r in runs)
    wild = tune(Line(), base_width=8, space={"lr": (2**4, 2**12)}, optimizer="sgd", steps=20, seeds=2, device="cpu")
    assert any(r.final_loss == INF for runs in wild.sweep.results.values() for r in runs)


def judged(curve, ceiling, transferred=-3.0):
    widths = (8, 16, 32)
    evidence = weigh(
        dict.fromkeys(widths, curve), dict.fromkeys(widths, ceiling), [float(w) for w in widths], transferred
    )
    verdict, _ = judge_transfer(
        regret={str(key): r for key, r in evidence.regret.items()},
        tolerance=evidence.tolerance,
        drift=evidence.drift,
        drift_tolerance=evidence.drift_tolerance,
        diverged={},
        edges={str(key): o.at_edge for key, o in evidence.optima.items() if o.at_edge},
        seeds=3,
        base="8",
    )
    return verdict, evidence.regret[32]


@pytest.mark.parametrize(
    "losses",
    [
        {-6: 0.0, -5: 0.0, -4: 0.0, -3: 0.0, -2: 0.0},
        {-6: 0.5, -5: 0.1, -4: 0.0, -3: 0.0, -2: 0.3},
        {-6: 0.5, -5: 0.1, -4: 0.01, -3: 1e-13, -2: 1e-20},
        {-6: 1.0, -5: 0.5, -4: 0.3, -3: 0.0, -2: INF},
    ],
)
def test_a_perfect_fit_at_every_width_transfers(losses):
    verdict, regret = judged({float(x): [loss] * 3 for x, loss in losses.items()}, 1.0)
    assert verdict is Verdict.TRANSFERS
    assert (regret.low, regret.value, regret.high) == (0, 0, 0)


def test_a_fit_that_is_perfect_elsewhere_alone_does_not_transfer():
    verdict, regret = judged({x: [loss] * 3 for x, loss in {-6.0: 0.5, -5.0: 0.0, -4.0: 0.1, -3.0: 0.3}.items()}, 1.0)
    assert verdict is not Verdict.TRANSFERS
    assert regret.value > 1


def test_zero_throughout_is_no_crash():
    assert judged({x: [0.0] * 3 for x in (-6.0, -5.0, -4.0, -3.0)}, 0.0)[1].value == 0
