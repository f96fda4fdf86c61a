"""What the tests of Hugging Face's Trainer share: a small GPT-2 under a plan, and a Trainer for it."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

import mutransfer as mt
from mutransfer.integrations.hf import optimizer

STEPS = 4
LR = {"lr": 1e-2, "weight_decay": 0.1}
ROWS = torch.randint(0, 64, (STEPS * 4, 16), generator=torch.Generator().manual_seed(0))
# The Trainer divides by the number of labels, models by those that have a token before them.
LABELS = ROWS.clone()
LABELS[:, 0] = -100
DATA = [{"input_ids": row, "labels": labels} for row, labels in zip(ROWS, LABELS, strict=True)]
KEYS = {"movement/median", "movement/largest", "movement/readout"}


def build(width, dropout=0.1):
    return GPT2LMHeadModel(
        GPT2Config(
            n_embd=width,
            n_head=width // 16,
            n_layer=2,
            vocab_size=64,
            n_positions=16,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=0,
            eos_token_id=0,
            loss_type="ForCausalLM",
        )
    )


def wrap(width=64, base_width=32, dropout=0.1, **options):
    torch.manual_seed(0)
    return mt.parameterize(lambda w: build(w, dropout), width=width, base_width=base_width, **options, check=False)


def trainer(model, plan, folder, *callbacks, optimizers=(None, None), **options):
    settings = {
        "max_steps": STEPS,
        "warmup_steps": 1,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "per_device_train_batch_size": 4,
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
    }
    chosen = {"optimizer_cls_and_kwargs": optimizer(model, plan, **LR)} if optimizers[0] is None else {}
    return Trainer(
        model,
        TrainingArguments(str(folder), **settings | options),
        train_dataset=DATA,
        eval_dataset=DATA[:4],
        callbacks=list(callbacks),
        optimizers=optimizers,
        **chosen,
    )


def history(run, key="loss"):
    return [entry[key] for entry in run.state.log_history if key in entry]


class Rates(TrainerCallback):
    """The learning rates that every step used."""

    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.seen.append([group["lr"] for group in kwargs["optimizer"].param_groups])
