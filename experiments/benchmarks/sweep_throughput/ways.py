"""Ways to do one learning-rate sweep at one width: mup and Optuna, and ours alone, stacked and as the tool chooses."""

from __future__ import annotations

import warnings

import optuna
import torch
from torch import nn

from mutransfer.parameterization.plan import Plan
from mutransfer.random_state import preserved_random_state, seed_everything
from mutransfer.training.dispatch import Dispatcher
from mutransfer.training.run import run
from mutransfer.training.spec import RunSpec
from mutransfer.training.stacked.costs import even_parts
from mutransfer.training.stacked.population import Population, TraceableStep
from mutransfer.training.tasks.digits import DigitsMLP
from mutransfer.training.tasks.source_bytes import SourceBytesGPT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mup

# Evaluations are the same for all, so few windows; sweeps are short at large widths, where a step takes long.
SMALL = SourceBytesGPT(batch_size=4, context=32, eval_windows=8)
GPT = SourceBytesGPT(batch_size=16, context=64, eval_windows=16)
# name: (task, {width: steps})
TASKS = {
    "mlp": (DigitsMLP(), dict.fromkeys((32, 64, 128, 256, 512), 100)),
    "gpt-small": (SMALL, {32: 100, 64: 60, 128: 20, 256: 4}),  # 128 tokens a step
    "gpt": (GPT, {32: 6, 64: 6, 128: 4, 256: 2}),  # 1024 tokens a step
}


def specs_of(task, width: int, steps: int, lrs: int, seeds: int) -> list[RunSpec]:
    return [
        RunSpec(
            task=repr(task),
            width=width,
            base_width=width,
            hyperparameters={"lr": 2.0 ** (-14 + 8 * i / (lrs - 1))},
            optimizer="adam",
            seed=seed,
            steps=steps,
        )
        for i in range(lrs)
        for seed in range(seeds)
    ]


# (a) What a user of mup writes: a model with MuReadout, base shapes, MuAdam, and an Optuna study around the loop.
def mup_model(task, width: int) -> nn.Module:
    def build(n: int) -> nn.Module:
        model = task.build(n)
        holder, name = (model, str(len(model) - 1)) if isinstance(model, nn.Sequential) else (model, "readout")
        last = getattr(holder, name)
        readout = mup.MuReadout(last.in_features, last.out_features, bias=last.bias is not None)
        readout.load_state_dict(last.state_dict())
        setattr(holder, name, readout)
        return model

    with preserved_random_state():
        base, delta = build(width), build(2 * width)
    return mup.set_base_shapes(build(width), base, delta=delta)


def by_mup(task, specs: list[RunSpec]) -> list[float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seeds = sorted({spec.seed for spec in specs})
    lrs = list(dict.fromkeys(spec.lr for spec in specs))
    losses: dict[tuple[float, int], float] = {}

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", min(lrs), max(lrs), log=True)
        for seed in seeds:
            seed_everything(seed)
            model = mup_model(task, specs[0].width)
            optimizer = mup.MuAdam(model.parameters(), lr=lr)
            for step in range(specs[0].steps):
                optimizer.zero_grad()
                task.loss(model, task.batch(seed, step)).backward()
                optimizer.step()
            losses[lr, seed] = task.evaluate(model)
        return sum(losses[lr, seed] for seed in seeds) / len(seeds)

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": lrs}))
    study.optimize(objective, n_trials=len(lrs))
    return [losses[spec.lr, spec.seed] for spec in specs]


def by_single_runs(task, specs: list[RunSpec], plan: Plan) -> list[float]:
    return [run(spec, task, plan=plan).final_loss for spec in specs]


def by_stacks(task, specs: list[RunSpec], plan: Plan, members: int, step: TraceableStep | None = None) -> list[float]:
    found, start = {}, 0
    for size in even_parts(len(specs), members):
        population = Population(specs[start : start + size], task, plan=plan)
        population.compiled = step
        found |= {spec.key: result.final_loss for spec, result in population.train()}
        start += size
    return [found[spec.key] for spec in specs]


def by_choice(task, specs: list[RunSpec], plan: Plan) -> list[float]:
    dispatcher = Dispatcher(task, device=torch.device("cpu"))
    found = {spec.key: result.final_loss for spec, result in dispatcher.perform(specs, lambda spec: plan)}
    return [found[spec.key] for spec in specs]
