"""The nets of the CIFAR-100 protocol of the distillation literature, for images (B, 3, 32, 32).

Names of modules are those of RepDistiller (Tian et al., arXiv 1910.10699), so that its published teachers load.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError, integer, require


class CifarResNet(nn.Module):
    """ResNet of three stages. ``resnet32x4`` is depth 32, ``resnet8x4`` depth 8, both with the widths of the default.

    Args:
        depth: 6 n + 2 layers, n blocks a stage.
        widths: Channels of the stem and of the three stages: (16, 16, 32, 64) for ResNet-20, -56 and -110.
        num_classes: Classes.
        patch: Side of the squares that the first convolution reads, for larger images: with 4, images of 64 give maps of 16. 1, the
            default, is the protocol's convolution of 3 x 3 on every pixel.
    """

    def __init__(
        self, depth: int, widths: Sequence[int] = (32, 64, 128, 256), num_classes: int = 100, patch: int = 1
    ) -> None:
        super().__init__()
        require("CifarResNet", integer(2), num_classes=num_classes)
        require("CifarResNet", integer(1), patch=patch)
        blocks = _blocks("CifarResNet", depth, 2)
        stem, *stages = widths
        size, stride, padding = (3, 1, 1) if patch == 1 else (patch, patch, 0)
        self.conv1 = nn.Conv2d(3, stem, size, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        ins = [stem, *stages]
        self.layer1, self.layer2, self.layer3 = (
            _stage(_Basic, blocks, ins[place], stages[place], 1 if place == 0 else 2) for place in range(3)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[-1], num_classes)
        self.apply(_init)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        maps = functional.relu(self.bn1(self.conv1(images)))
        logits: Tensor = self.fc(self.avgpool(self.layer3(self.layer2(self.layer1(maps)))).flatten(1))
        return logits


class WideResNet(nn.Module):
    """Wide ResNet: ``wrn_40_2`` is depth 40 and factor 2, ``wrn_16_2`` depth 16.

    Args:
        depth: 6 n + 4 layers, n blocks a stage.
        factor: Widens the stages' 16, 32 and 64 channels.
        num_classes: Classes.
    """

    def __init__(self, depth: int, factor: int = 2, num_classes: int = 100) -> None:
        super().__init__()
        require("WideResNet", integer(1), factor=factor)
        require("WideResNet", integer(2), num_classes=num_classes)
        blocks = _blocks("WideResNet", depth, 4)
        widths = [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.block1, self.block2, self.block3 = (
            _Layer(_stage(_PreActivated, blocks, widths[place], widths[place + 1], 1 if place == 0 else 2))
            for place in range(3)
        )
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)
        self.apply(_init)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        maps = functional.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(images))))))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


class _Layer(nn.Module):
    """A stage under the name that published weights have."""

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.layer(maps)
        return found


class _Basic(nn.Module):
    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outs)
        same = stride == 1 and ins == outs
        self.downsample = (
            None if same else nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))
        )

    def forward(self, maps: Tensor) -> Tensor:
        found = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(maps)))))
        return functional.relu(found + (maps if self.downsample is None else self.downsample(maps)))


class _PreActivated(nn.Module):
    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(ins)
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, padding=1, bias=False)
        self.convShortcut = None if ins == outs else nn.Conv2d(ins, outs, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        activated = functional.relu(self.bn1(maps))
        found: Tensor = self.conv2(functional.relu(self.bn2(self.conv1(activated))))
        return torch.add(found, maps if self.convShortcut is None else self.convShortcut(activated))


def _stage(block: type[_Basic] | type[_PreActivated], count: int, ins: int, outs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*(block(outs if place else ins, outs, 1 if place else stride) for place in range(count)))


def _blocks(owner: str, depth: int, rest: int) -> int:
    count, left = divmod(depth - rest, 6) if isinstance(depth, int) else (0, 1)
    if left or count < 1:
        raise UsageError(f"{owner}: bad depth", expected=f"6 n + {rest}, from {6 + rest}", got=repr(depth))
    return count


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
