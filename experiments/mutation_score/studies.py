"""Correct studies: tasks, optimizers, forms, parameterizations and seeds on which nothing may be said to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.mutation_score.changes import Change
from experiments.mutation_score.settings import Setting


@dataclass(frozen=True)
class Study:
    """A setting with the plans that are inferred, or with others that train alike."""

    setting: Setting
    first_seed: int = 0
    change: Change = lambda plan, setting: plan
    note: str = ""

    @property
    def name(self) -> str:
        told = f"{self.setting.name}, seeds from {self.first_seed}"
        return f"{told}: {self.note}" if self.note else told


STUDIES: tuple[Study, ...] = (
    Study(Setting("digits"), 3),
    Study(Setting("digits"), 10),
    Study(Setting("digits", form="absorbed"), 20),
    Study(Setting("digits", "sgd"), 3),
    Study(Setting("digits", "sgd", form="absorbed"), 10),
    Study(Setting("digits", "adamw", others=(("weight_decay", 2.0),)), 3),
    Study(Setting("digits", "adam", others=(("eps", 1e-3),)), 3),
    Study(Setting("digits", "lion"), 3),
    Study(Setting("digits", "adam", "mf"), 3),
    Study(Setting("digits", "sgd", "mf"), 10),
    Study(Setting("digits", "adam", "ntk"), 3),
    Study(Setting("digits", "sgd", "ntk"), 3),
    Study(Setting("digits", "adam", "ntk", "absorbed"), 10),
    Study(Setting("tapered digits"), 3),
    Study(Setting("bottleneck digits"), 3),
    Study(Setting("bottleneck digits", "sgd"), 3),
    Study(Setting("gpt", "adamw"), 3),
    Study(Setting("gpt", "adamw", form="absorbed"), 10),
    Study(Setting("gpt", "sgd"), 3),
    Study(Setting("gpt", "adamw", "ntk"), 3),
    Study(Setting("tied gpt", "adamw"), 3),
    Study(Setting("tied gpt", "sgd"), 10),
    Study(Setting("gpt, growing heads", "adamw"), 3),
    Study(Setting("normed digits"), 3),
    Study(Setting("normed digits", form="absorbed"), 10),
    Study(Setting("normed digits", "sgd"), 3),
    Study(Setting("normed digits", "adam", "mf"), 3),
    Study(Setting("normed digits", "adam", "ntk"), 3),
    Study(Setting("normed digits", "sgd", "ntk"), 10),
    Study(Setting("convolutional digits"), 3),
    Study(Setting("convolutional digits", "sgd"), 10),
    Study(Setting("convolutional digits", "adamw", "ntk"), 3),
    Study(Setting("mixture digits"), 3),
    Study(Setting("mixture digits", "sgd"), 10),
    Study(Setting("routed digits"), 3),
    Study(Setting("routed digits", "sgd"), 10),
    Study(Setting("routed digits", "adamw", "ntk"), 3),
    Study(Setting("recurrent digits"), 3),
    Study(Setting("recurrent digits", "sgd"), 10),
    Study(Setting("recurrent digits", "adam", "ntk"), 3),
    Study(Setting("gated digits"), 3),
    Study(Setting("gated digits", "sgd", form="absorbed"), 10),
    Study(Setting("gated digits", "adam", "mf"), 3),
)
