"""What is trained: a task, an optimizer and a parameterization at four widths, and how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from experiments.mutation_score.tasks import (
    BottleneckDigits,
    ConvolutionalDigits,
    GatedDigits,
    GrowingHeadsGPT,
    MixtureDigits,
    NormedDigits,
    RecurrentDigits,
    RoutedDigits,
    TaperedDigits,
    TiedGPT,
)
from mutransfer.parameterization.plan import Plan
from mutransfer.training.run import infer_plan
from mutransfer.training.spec import RunSpec
from mutransfer.training.task import Task, label_of
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

SMALL = {"layers": 2, "context": 16, "batch_size": 8, "eval_windows": 32}
TASKS: Mapping[str, tuple[Task, tuple[int, ...], int]] = {  # with widths, base width first, and steps
    "digits": (DigitsMLP(hidden_layers=3), (64, 128, 256, 512), 60),
    "tapered digits": (TaperedDigits(), (64, 128, 256, 1024), 60),
    "bottleneck digits": (BottleneckDigits(), (64, 128, 256, 512), 60),
    "normed digits": (NormedDigits(), (64, 128, 256, 512), 60),
    "convolutional digits": (ConvolutionalDigits(), (32, 64, 128, 256), 60),
    "mixture digits": (MixtureDigits(), (64, 128, 256, 512), 60),
    "routed digits": (RoutedDigits(), (64, 128, 256, 512), 60),
    "recurrent digits": (RecurrentDigits(), (64, 128, 256, 512), 60),
    "gated digits": (GatedDigits(), (64, 128, 256, 512), 60),
    "gpt": (SourceBytesGPT(**SMALL), (32, 64, 128, 256), 40),
    "tied gpt": (TiedGPT(**SMALL), (32, 64, 128, 256), 40),
    "gpt, growing heads": (GrowingHeadsGPT(**SMALL), (32, 64, 128, 256), 40),
}
CENTRES = {"sgd": {"digits": -4, "gpt": -2}, "adam": {"digits": -8, "gpt": -8}, "lion": {"digits": -11, "gpt": -10}}


@dataclass(frozen=True)
class Setting:
    """Right as it is; mutations change the plans of its widths beyond the base."""

    task_name: str
    optimizer: str = "adam"
    parameterization: str = "mup"
    form: str = "forward"
    others: tuple[tuple[str, float], ...] = field(default=())  # hyperparameters besides the learning rate

    @property
    def task(self) -> Task:
        return TASKS[self.task_name][0]

    @property
    def widths(self) -> tuple[int, ...]:
        return TASKS[self.task_name][1]

    @property
    def steps(self) -> int:
        return TASKS[self.task_name][2]

    @property
    def base(self) -> int:
        return self.widths[0]

    @property
    def centre(self) -> int:
        """log2 of a learning rate near the optimum at base width."""
        return CENTRES[self.optimizer.removesuffix("w")]["digits" if "digits" in self.task_name else "gpt"]

    @property
    def name(self) -> str:
        settings = [self.parameterization, self.optimizer, *(f"{k}={v:g}" for k, v in self.others)]
        return f"{self.task_name}, {' '.join(settings)}" + (", absorbed" if self.form == "absorbed" else "")

    def spec(self, width: int) -> RunSpec:
        return RunSpec(
            task=label_of(self.task),
            width=width,
            base_width=self.base,
            hyperparameters={"lr": 2.0**self.centre, **dict(self.others)},
            parameterization=self.parameterization,
            optimizer=self.optimizer,
            form=self.form,
            steps=self.steps,
            schedule="linear",
            warmup_steps=self.steps // 6,
        )

    def plan(self, width: int) -> Plan:
        """The right one."""
        return plan_of(self, width, self.base, self.parameterization)


@cache
def plan_of(setting: Setting, width: int, base_width: int, parameterization: str) -> Plan:
    """The plan that would be inferred with another base width or parameterization."""
    spec = setting.spec(width).to_dict() | {"base_width": base_width, "parameterization": parameterization}
    return infer_plan(RunSpec.from_dict(spec), setting.task)
