"""Lightning: a callback that guards, clips and measures a run under a plan, and keeps the plan in its checkpoints.

>>> import lightning.pytorch as pl
>>> import torch
>>> from torch import nn
>>> import mutransfer as mt
>>> from mutransfer.integrations.lightning import TransferCallback
>>> def build(width):
...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
>>> class Classifier(pl.LightningModule):
...     def __init__(self, net, plan):
...         super().__init__()
...         self.net, self.plan = net, plan
...     def training_step(self, batch):
...         return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
...     def configure_optimizers(self):
...         return torch.optim.AdamW(mt.param_groups(self.net, self.plan, lr=3e-3))
>>> net, plan = mt.parameterize(build, width=256, base_width=64)
>>> module, callback = Classifier(net, plan), TransferCallback(plan, clip_norm=1.0)

``pl.Trainer(callbacks=[callback]).fit(module, data)`` then trains as usual. Lightning's ``Tuner.lr_find`` gives every
group the same learning rate: do not use it, ``mutransfer.tune`` at base width does better.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from mutransfer.errors import ConfigError, MutransferError
from mutransfer.integrations.monitoring import Monitor, check_same
from mutransfer.parameterization.model.names import canonical, unwrapped
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.wrapping.fit import check_in_place
from mutransfer.parameterization.wrapping.wrapped_models import applied_plan

try:
    import lightning.pytorch as pl
except ImportError as error:
    raise MutransferError(
        f'mutransfer.integrations.lightning needs lightning ({error}): pip install "mutransfer[lightning]"'
    ) from error

PLAN_KEY = "mutransfer_plan"
PLAIN_KEY = "mutransfer_plain"  # in a checkpoint whose weights hold the factors


class TransferCallback(Monitor, pl.Callback):
    """Watches a training under a plan: ``Trainer(callbacks=[TransferCallback(plan)])``.

    The model that the plan is on may be the LightningModule or a part of it.

    - Before optimizer steps it raises where a scheduler has flattened the ratios of learning rates. An optimizer
      without groups of :func:`~mutransfer.param_groups` is let be where there are others (a GAN's).
    - It logs feature movement (``movement/median``, ``movement/largest`` and ``movement/readout``: change of
      activations on a fixed batch since step 0, relative to their size) every ``log_every_n_steps``.
    - It warns where ``gradient_clip_val`` clips by a norm that is not the same at every width; ``clip_norm`` is the one
      that is.
    - Checkpoints carry the plan as JSON under ``"mutransfer_plan"``, and one that was saved under another plan is
      refused. They carry the activations of step 0 as well, so that movement goes on in a resumed run.
    - Checkpoints of weights only are for others: from the beginning of training on they hold the plain function. Where
      a multiplier fits in no weight, they stay as they are, carry the plan and are warned of.

    Args: those of :class:`~mutransfer.integrations.monitoring.Monitor`; ``movement_every`` counts logging steps.

    Raises:
        PlanError: while training, see above; or the plan is for another model, or no longer on this one, since a module
            was replaced: asked when training begins and when it saves.
        ConfigError: ``clip_norm`` with a fused optimizer in float16.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        clip = ("gradient_clip_val", float(trainer.gradient_clip_val or 0))
        context = trainer.precision_plugin.forward_context
        self._steps_seen = trainer.global_step
        self.begin(pl_module, step=trainer.global_step, plain_clip=clip, context=context)
        vars(pl_module)["on_save_checkpoint"] = _PlainWeights(pl_module, self.net)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if len(trainer.optimizers) > 1 and not any("lr_mult" in group for group in optimizer.param_groups):
            return
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if self.clip_norm is not None and scaled and getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ConfigError(
                f"clip_norm={self.clip_norm}: a fused optimizer unscales float16 gradients in its own step, after "
                "clipping. Make it with fused=False, or train in bfloat16"
            )
        self.before_step(optimizer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped, self._steps_seen = trainer.global_step > self._steps_seen, trainer.global_step
        # Not log_dict, which would log the last values again where nothing was measured; this is how Lightning's own
        # LearningRateMonitor does it, at the step of all that is logged for this batch.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        every: int = trainer.log_every_n_steps  # type: ignore[missing-attribute]  # set by one of its parts
        if stepped and every and (step + 1) % every == 0 and (movement := self.movement.log_values()):
            trainer.callback_metrics.update({name: torch.tensor(x) for name, x in movement.items()})
            for logger in trainer.loggers:
                logger.log_metrics(movement, step=step)

    def state_dict(self) -> dict[str, Any]:
        return self.movement.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.movement.load(state_dict)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.before_save()
        checkpoint[PLAN_KEY] = self.plan.to_json()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if PLAN_KEY not in checkpoint:
            warnings.warn(
                "the checkpoint carries no plan: whether it was trained under this one is unknown", stacklevel=2
            )
        else:
            check_same(Plan.from_json(checkpoint[PLAN_KEY]), self.plan, "the checkpoint was saved")


class _PlainWeights:
    """A module's own ``on_save_checkpoint``, which Lightning calls for every checkpoint, and plain weights after it."""

    def __init__(self, module: pl.LightningModule, net: nn.Module) -> None:
        self.module, self.net = module, net

    def __call__(self, checkpoint: dict[str, Any]) -> None:
        type(self.module).on_save_checkpoint(self.module, checkpoint)
        plan = applied_plan(self.net)
        if plan is None or "optimizer_states" in checkpoint or not any(plan.multipliers()):
            return
        if any(site.factor != 1.0 for site in plan.sites.values()):
            checkpoint[PLAN_KEY] = plan.to_json()
            warnings.warn(
                "the checkpoint of weights only is another function in plain code: multipliers of attention or of a "
                f"tied readout fit in no weight. It carries the plan under {PLAN_KEY!r}: after loading, "
                "mutransfer.attach(model, Plan.from_json(...))",
                stacklevel=2,
            )
            return
        check_in_place(self.net, plan)
        prefix = next(f"{name}." if name else "" for name, m in self.module.named_modules() if unwrapped(m) is self.net)
        state = checkpoint["state_dict"]
        for name in state:
            factor = 1.0
            if name.startswith(prefix) and (own := canonical(name.removeprefix(prefix), plan.keys())) in plan:
                factor = plan[own].forward_mult
            if factor != 1.0:
                state[name] = state[name] * factor
        checkpoint[PLAIN_KEY] = "the weights are plain: the run-time factors of the plan are in them"
