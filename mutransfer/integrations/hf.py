"""Hugging Face's Trainer: groups of a plan for its optimizer, and a callback that guards, clips, measures and saves.

>>> import tempfile
>>> from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
>>> import mutransfer as mt
>>> from mutransfer.integrations.hf import TransferCallback, optimizer
>>> def build(width):
...     return GPT2LMHeadModel(GPT2Config(n_embd=width, n_head=width // 16, n_layer=1, vocab_size=64, n_positions=16))
>>> model, plan = mt.parameterize(build, width=64, base_width=32)
>>> args = TrainingArguments(tempfile.mkdtemp(), max_steps=100, max_grad_norm=0, report_to="none")
>>> trainer = Trainer(
...     model, args, callbacks=[TransferCallback(plan)], optimizer_cls_and_kwargs=optimizer(model, plan, lr=3e-3)
... )

``trainer.train()`` then trains as usual, under any of its schedules. ``trainer.create_optimizer()`` shows the groups.

>>> sorted({group["lr_mult"] for group in trainer.create_optimizer().param_groups})
[0.5, 1.0]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mutransfer.errors import MutransferError, PlanError
from mutransfer.integrations.monitoring import Monitor
from mutransfer.integrations.plain_saving import save_plain_from_now
from mutransfer.parameterization.groups.param_groups import param_groups
from mutransfer.parameterization.plan import Plan
from mutransfer.parameterization.plan_file import FILE, check_plan, save_plan
from mutransfer.theory.rules import NO_RULE, OPTIMIZERS

try:
    import accelerate  # noqa: F401 (the Trainer needs it, and says so only when it is made)
    from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
    from transformers.utils.versions import require_version

    # 5.2 is the first whose Trainer asks a factory for its optimizer; 5.3 unscales gradients before callbacks see them.
    require_version("transformers>=5.3")
except ImportError as error:
    raise MutransferError(
        f'mutransfer.integrations.hf needs transformers and accelerate ({error}): pip install "mutransfer[hf]"'
    ) from error

MOVEMENT_FILE = "mutransfer_movement.pt"


def optimizer(
    model: nn.Module,
    plan: Plan,
    cls: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float | tuple[float | None, float] | None = None,
    params: Callable[[nn.Module], Iterable[Any]] | None = None,
    **kwargs: Any,
) -> tuple[Callable[[], Callable[..., torch.optim.Optimizer]], dict[str, Any]]:
    """The pair that ``Trainer(optimizer_cls_and_kwargs=...)`` wants.

    Groups are made from the model that the Trainer has when it makes its optimizer, which may be sharded by then.
    The learning rate, betas, eps and weight decay of TrainingArguments are not used, nor is its choice of what decays.

    Args:
        model: the wrapped model; looked at only to fail early.
        cls: the optimizer's class, of the kind that the plan is for.
        lr, weight_decay, eps: as for :func:`~mutransfer.param_groups`, tuned at base width. A schedule multiplies lr.
        params: from the Trainer's model, your own parameters or groups, as for :func:`~mutransfer.param_groups`. None:
            all that require a gradient.
        kwargs: for ``cls``, such as ``betas`` and ``fused``.

    Raises:
        PlanError: ``cls`` is not what the plan is for; the plan is for Muon, which takes two optimizers; or as
            :func:`~mutransfer.param_groups`.
    """
    name = getattr(cls, "__name__", "").lower()
    if name in OPTIMIZERS.keys() | NO_RULE.keys() and name != plan.optimizer:
        raise PlanError(f"the plan is for {plan.optimizer!r}, not for {name!r}: make it with optimizer={name!r}")
    factory = _Factory(plan=plan, cls=cls, params=params, base={"lr": lr, "weight_decay": weight_decay, "eps": eps})
    with warnings.catch_warnings(action="ignore"):  # they come when the Trainer makes its own
        factory.groups(model)
    return factory, kwargs


class TransferCallback(Monitor, TrainerCallback):
    """Watches a training under a plan: ``Trainer(..., callbacks=[TransferCallback(plan)])``.

    - Before optimizer steps it raises where a scheduler has flattened the ratios of learning rates.
    - It logs feature movement (``movement/median``, ``movement/largest`` and ``movement/readout``: change of
      activations on a fixed batch since step 0, relative to their size) with the Trainer's own logs. Reporters that the
      Trainer makes itself, such as TensorBoard's, get them only if the callback comes first: :meth:`add_to`.
    - It warns where ``max_grad_norm``, 1.0 unless you set it, clips by a norm that is not the same at every width;
      ``clip_norm`` is the one that is.
    - It writes ``mutransfer_plan.json`` into every checkpoint, and a run that is resumed from ``output_dir`` must be
      under the same plan. The activations of step 0 go into ``output_dir``, so that movement goes on. What
      ``from_pretrained`` makes of a checkpoint lacks the multipliers: ``mt.attach(model, mt.load_plan(folder))``.
    - From then on ``trainer.save_model()``, ``model.save_pretrained`` and ``push_to_hub`` write the plain function:
      :class:`~mutransfer.integrations.plain_saving.PlainSaving`. Checkpoints stay as they are.

    Args:
        plan: the plan that the model is under.
        every: optimizer steps between looks at the learning rates.
        clip_norm: threshold of :func:`~mutransfer.clip_grad_norm_`, tuned at base width; use with ``max_grad_norm=0``.
        movement_every: logging steps between measurements of movement; 0 for none.
        probe: the fixed batch, a mapping of the model's arguments. None: the first ``probe_rows`` rows of the first
            training batch. The outputs of every module for it are kept in the CPU's memory.

    Raises:
        PlanError: while training, see above; or the plan is for another model, or no longer on this one, since a module
            was replaced: asked when training begins and when it saves.
    """

    def add_to(self, trainer: Trainer) -> None:
        """Add the callback before all others of ``trainer``, so that all reporters see what it logs."""
        trainer.callback_handler.callbacks.insert(0, self)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._to_save = not state.global_step
        if state.global_step:
            if (_checkpoint(args, state) / FILE).exists():
                check_plan(_checkpoint(args, state), self.plan)
            if (file := _checkpoint(args, state).parent / MOVEMENT_FILE).exists():
                self.movement.load(torch.load(file, weights_only=True))
        clip = ("max_grad_norm", float(args.max_grad_norm or 0))
        self.begin(kwargs["model"], step=state.global_step, plain_clip=clip)
        if isinstance(self.net, PreTrainedModel):
            save_plain_from_now(self.net)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        guarded, scheduler = kwargs["optimizer"], kwargs.get("lr_scheduler")
        # The guard finds the scheduler by the optimizer that it holds: accelerate's wrapper, or the one within.
        held = getattr(scheduler, "optimizer", None)
        if held is not None and held.param_groups is guarded.param_groups:
            guarded = held
        try:
            self.before_step(guarded)
        except PlanError as error:
            if (name := type(scheduler).__name__) not in str(error):
                error.add_note(f"The Trainer's scheduler is {name}.")
            raise

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        if logs is None or "loss" not in logs:  # of an evaluation, or the summary at the end
            return
        movement = self.movement.log_values()
        logs.update(movement)
        state.log_history[-1].update(movement)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not args.should_save:
            return
        self.before_save()
        folder = _checkpoint(args, state)
        if not folder.is_dir():
            warnings.warn(f"there is no checkpoint in {folder} to save the plan with", stacklevel=2)
            return
        save_plan(self.plan, folder)
        if self._to_save and (movement := self.movement.state()):
            torch.save(movement, folder.parent / MOVEMENT_FILE)
        self._to_save = False


@dataclass(frozen=True, kw_only=True)
class _Factory:
    """A stand-in for a class of optimizers: the Trainer calls it for a function that makes one from its model."""

    plan: Plan
    cls: Callable[..., torch.optim.Optimizer]
    params: Callable[[nn.Module], Iterable[Any]] | None
    base: dict[str, Any]

    def __call__(self) -> Callable[..., torch.optim.Optimizer]:
        return self.make

    def make(self, model: nn.Module, **kwargs: Any) -> torch.optim.Optimizer:
        # Some schedules read the base learning rate from the optimizer's defaults.
        return self.cls(self.groups(model), lr=self.base["lr"], **kwargs)

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        parameters = [p for p in model.parameters() if p.requires_grad] if self.params is None else self.params(model)
        return param_groups(model, self.plan, params=parameters, **self.base)


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
