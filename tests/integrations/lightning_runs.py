"""What the tests of Lightning share: a small module under a plan, and a fit of it."""

import math

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import mutransfer as mt

QUIET = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    # Lightning 2.6 asks torch 2.14 for what is deprecated there.
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
]

STEPS = 4
LR = {"lr": 1e-2, "weight_decay": 0.1}
DRAW = torch.Generator().manual_seed(0)
INPUTS, CLASSES = torch.randn(8, 8, generator=DRAW), torch.randint(0, 3, (8,), generator=DRAW)
BATCHES = [*zip(INPUTS.split(4), CLASSES.split(4), strict=True)] * 2  # two epochs


class Noise(nn.Module):
    """Draws random numbers in eval mode too, as an unguarded measurement would."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


def build(width, noise=True):
    layers = [nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)]
    return nn.Sequential(*layers[:2], Noise() if noise else nn.Identity(), *layers[2:])


class Module(pl.LightningModule):
    def __init__(self, net, plan, schedule=None):
        super().__init__()
        self.net, self.plan, self.schedule = net, plan, schedule
        self.extra = nn.Linear(3, 3)  # not under the plan, and not trained
        self.losses = []

    def training_step(self, batch):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(mt.param_groups(self.net, self.plan, **LR))
        scheduler = (self.schedule or cosine)(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def cosine(optimizer):
    return LambdaLR(optimizer, lambda step: min(1, step / 2) * (1 + math.cos(math.pi * step / 10)) / 2)


def wrap(width=64, base_width=16, noise=True, schedule=None, **options):
    torch.manual_seed(0)
    net, plan = mt.parameterize(lambda w: build(w, noise), width=width, base_width=base_width, **options, check=False)
    return Module(net, plan, schedule), plan


def fit(module, folder, *callbacks, ckpt_path=None, **options):
    settings = {
        "accelerator": "cpu",
        "max_steps": STEPS,
        "logger": False,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": folder,
    }
    trainer = pl.Trainer(callbacks=list(callbacks), **settings | options)
    trainer.fit(module, DataLoader(TensorDataset(INPUTS, CLASSES), batch_size=4), ckpt_path=ckpt_path)
    return trainer


class Rates(pl.Callback):
    """The learning rates that every step used."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])
