"""Rows of vision and diffusion from timm, torchvision, transformers, vit-pytorch and diffusers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.model_zoo.wild.check import Row

CLASSES = 8


def images(generator: torch.Generator, side: int = 16, count: int = 4) -> Tensor:
    return torch.randn(count, 3, side, side, generator=generator)


def classify(model: nn.Module, batch: Tensor) -> Tensor:
    """Cross-entropy against fixed classes."""
    output = model(batch)
    logits = output if isinstance(output, Tensor) else output.logits
    targets = torch.arange(len(logits)) % logits.shape[-1]
    return F.cross_entropy(logits, targets)


def _timm(make: Callable[[int], Any], **more: Any) -> Row:
    """A class of timm by name with its arguments."""

    def build(width: int) -> nn.Module:
        import timm

        name, arguments = make(width)
        return getattr(timm.models, name)(**arguments)

    return Row(**{"build": build, "inputs": images, "loss": classify, "source": "timm"} | more)


def _torchvision(build: Callable[[Any, int], nn.Module], **more: Any) -> Row:
    def made(width: int) -> nn.Module:
        from torchvision import models

        return build(models, width)

    return Row(**{"build": made, "inputs": images, "loss": classify, "source": "torchvision"} | more)


def _mobilenet_v2(models: Any, width: int) -> nn.Module:
    setting = [[1, 16, 1, 1], [4, 24, 1, 2], [4, 32, 1, 2]]
    return models.MobileNetV2(
        num_classes=CLASSES, width_mult=width / 32, inverted_residual_setting=setting, dropout=0.0
    )


def _mobilenet_v3(models: Any, width: int) -> nn.Module:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig as Block

    mult = width / 32
    setting = [Block(16, 3, 32, 16, True, "RE", 2, 1, mult), Block(16, 3, 64, 24, True, "HS", 2, 1, mult)]
    return models.MobileNetV3(setting, last_channel=4 * width, num_classes=CLASSES, dropout=0.0)


def _efficientnet(models: Any, width: int) -> nn.Module:
    from torchvision.models.efficientnet import MBConvConfig

    block = partial(MBConvConfig, width_mult=width / 32, depth_mult=1.0)
    setting = [block(1, 3, 1, 32, 16, 1), block(4, 3, 2, 16, 24, 1), block(4, 3, 2, 24, 40, 1)]
    return models.EfficientNet(setting, dropout=0.0, stochastic_depth_prob=0.0, num_classes=CLASSES)


def _regnet(models: Any, width: int) -> nn.Module:
    from torchvision.models.regnet import BlockParams

    params = BlockParams([1, 1], [width, 2 * width], [16, 16], [1.0, 1.0], [2, 2], se_ratio=0.25)
    return models.RegNet(params, num_classes=CLASSES, stem_width=width)


def _densenet(models: Any, width: int) -> nn.Module:
    return models.DenseNet(growth_rate=width // 2, block_config=(2, 2), num_init_features=width, num_classes=CLASSES)


def _convnext(models: Any, width: int) -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig

    setting = [CNBlockConfig(width, 2 * width, 1), CNBlockConfig(2 * width, None, 1)]
    return models.ConvNeXt(setting, num_classes=CLASSES, layer_scale=1.0)


def _swin(models: Any, width: int) -> nn.Module:
    return models.SwinTransformer(
        patch_size=[2, 2],
        embed_dim=width,
        depths=[2, 2],
        num_heads=[width // 8, width // 4],
        window_size=[4, 4],
        stochastic_depth_prob=0.0,
        num_classes=CLASSES,
        mlp_ratio=2.0,
    )


def _shufflenet(models: Any, width: int) -> nn.Module:
    return models.ShuffleNetV2([1, 1, 1], [24, width, 2 * width, 4 * width, 4 * width], num_classes=CLASSES)


def _vgg(models: Any, width: int) -> nn.Module:
    from torchvision.models.vgg import make_layers

    net = models.VGG(make_layers([width, "M", 2 * width, "M"], batch_norm=True), num_classes=CLASSES, dropout=0.0)
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Sequential(nn.Linear(2 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, CLASSES))
    return net


def _vit_pytorch(module: str, name: str, arguments: Callable[[int], dict[str, Any]], **more: Any) -> Row:
    def build(width: int) -> nn.Module:
        import importlib

        return getattr(importlib.import_module(f"vit_pytorch.{module}"), name)(**arguments(width))

    return Row(**{"build": build, "inputs": images, "loss": classify, "source": "vit-pytorch"} | more)


def _denoise(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Squared error of the sample that a diffusion model gives, against noise."""
    out = model(**batch).sample
    target = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    return F.mse_loss(out, target)


def _noisy(generator: torch.Generator, channels: int = 3) -> dict[str, Tensor]:
    return {
        "sample": torch.randn(4, channels, 16, 16, generator=generator),
        "timestep": torch.randint(0, 1000, (4,), generator=generator),
    }


def _noisy_of_a_class(generator: torch.Generator) -> dict[str, Tensor]:
    batch = {"hidden_states": torch.randn(4, 4, 8, 8, generator=generator)}
    return batch | {"timestep": torch.randint(0, 1000, (4,), generator=generator), "class_labels": torch.arange(4)}


def _noisy_with_text(generator: torch.Generator) -> dict[str, Tensor]:
    return _noisy(generator) | {"encoder_hidden_states": torch.randn(4, 5, 24, generator=generator)}


def _diffusers(name: str, arguments: Callable[[int], dict[str, Any]], inputs: Any = _noisy, **more: Any) -> Row:
    def build(width: int) -> nn.Module:
        import diffusers

        return getattr(diffusers, name)(**arguments(width))

    return Row(build=build, inputs=inputs, loss=_denoise, source="diffusers", **more)


def _unet(width: int) -> dict[str, Any]:
    return {
        **{"sample_size": 16, "block_out_channels": (width, width), "layers_per_block": 1, "norm_num_groups": 8},
        **{"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")},
        **{"attention_head_dim": 8},
    }


def _unet_with_text(width: int) -> dict[str, Any]:
    return {
        **{"sample_size": 16, "in_channels": 3, "out_channels": 3, "block_out_channels": (width, width)},
        **{"layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": 24},
        **{"attention_head_dim": width // 8},  # in this class the number of heads
        **{"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")},
        **{"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "transformer_layers_per_block": 1},
    }


def _dit(width: int) -> dict[str, Any]:
    return {
        **{"num_attention_heads": width // 8, "attention_head_dim": 8, "in_channels": 4, "out_channels": 4},
        **{"num_layers": 2, "sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": 10, "norm_num_groups": 4},
        **{"dropout": 0.0},
    }


def _hf_vision(width: int) -> nn.Module:
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=width // 8,
        mlp_ratio=2,
        image_size=16,
        patch_size=4,
        num_labels=CLASSES,
        drop_path_rate=0.0,
    )
    return transformers.Dinov2ForImageClassification(config)


_VIT = {"num_classes": CLASSES, "depth": 2}


def _resnet(width: int) -> nn.Module:
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(
        Bottleneck, (1, 1, 1, 1), num_classes=CLASSES, stem_width=width, stem_type="deep", channels=(width,) * 4
    )


VISION: dict[str, Row] = {
    "timm-resnet": Row(build=_resnet, base=16, inputs=partial(images, side=32), loss=classify, source="timm"),
    "torchvision-mobilenet-v2": _torchvision(_mobilenet_v2),
    "torchvision-mobilenet-v3": _torchvision(_mobilenet_v3),
    "torchvision-efficientnet": _torchvision(_efficientnet),
    "torchvision-regnet": _torchvision(_regnet),
    "torchvision-densenet": _torchvision(_densenet),
    "torchvision-convnext": _torchvision(_convnext),
    "torchvision-swin": _torchvision(_swin),
    "torchvision-shufflenet": _torchvision(_shufflenet),
    "torchvision-vgg": _torchvision(_vgg),
    "timm-mixer": _timm(
        lambda w: (
            "MlpMixer",
            {
                "num_classes": CLASSES,
                "img_size": 16,
                "patch_size": 4,
                "num_blocks": 2,
                "embed_dim": w,
                "mlp_ratio": (0.5, 2),
            },
        )
    ),
    "timm-xcit": _timm(
        lambda w: (
            "Xcit",
            {
                "img_size": 16,
                "patch_size": 8,
                "num_classes": CLASSES,
                "embed_dim": w,
                "depth": 2,
                "num_heads": w // 8,
                "mlp_ratio": 2,
                "eta": 1.0,
            },
        )
    ),
    "timm-convmixer": _timm(
        lambda w: ("ConvMixer", {"dim": w, "depth": 2, "kernel_size": 3, "patch_size": 4, "num_classes": CLASSES})
    ),
    "timm-beit": _timm(
        lambda w: (
            "Beit",
            {
                "img_size": 16,
                "patch_size": 4,
                "num_classes": CLASSES,
                "embed_dim": w,
                "depth": 2,
                "num_heads": w // 8,
                "mlp_ratio": 2,
                "init_values": 1.0,
            },
        )
    ),
    "timm-cait": _timm(
        lambda w: (
            "Cait",
            {
                "img_size": 16,
                "patch_size": 4,
                "num_classes": CLASSES,
                "embed_dim": w,
                "depth": 2,
                "num_heads": w // 8,
                "mlp_ratio": 2,
                "init_values": 1.0,
            },
        )
    ),
    "timm-poolformer": _timm(
        lambda w: ("MetaFormer", {"num_classes": CLASSES, "depths": (1, 1), "dims": (w, 2 * w)}),
        inputs=partial(images, side=32),
    ),
    "dinov2": Row(build=_hf_vision, inputs=images, loss=classify, source="transformers"),
    "vit-pytorch-simple-vit": _vit_pytorch(
        "simple_vit",
        "SimpleViT",
        lambda w: (
            _VIT | {"image_size": 16, "patch_size": 4, "dim": w, "heads": w // 8, "dim_head": 8, "mlp_dim": 2 * w}
        ),
    ),
    "vit-pytorch-cct": _vit_pytorch(
        "cct",
        "CCT",
        lambda w: {
            "img_size": 16,
            "embedding_dim": w,
            "n_conv_layers": 1,
            "num_layers": 2,
            "num_heads": w // 8,
            "mlp_ratio": 2.0,
            "num_classes": CLASSES,
            "positional_embedding": "learnable",
            "dropout_rate": 0.0,
            "attention_dropout": 0.0,
            "stochastic_depth_rate": 0.0,
        },
    ),
    "vit-pytorch-deepvit": _vit_pytorch(
        "deepvit",
        "DeepViT",
        lambda w: (
            _VIT | {"image_size": 16, "patch_size": 4, "dim": w, "heads": 4, "dim_head": w // 4, "mlp_dim": 2 * w}
        ),
    ),
    "diffusers-unet2d": _diffusers("UNet2DModel", _unet, base=16),
    "diffusers-unet-with-text": _diffusers("UNet2DConditionModel", _unet_with_text, _noisy_with_text, base=16),
    "diffusers-dit": _diffusers("DiTTransformer2DModel", _dit, _noisy_of_a_class),
}
