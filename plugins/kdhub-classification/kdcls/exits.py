"""Heads that exist in training alone: adapters from a student's features to class logits."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, describe, integer, number, optional, require


class ConvExit(nn.Module):
    """Exit branch of a convolutional stage, as in OFA-KD: convolutions of stride 2, global pooling, a classifier.

    A branch of one conv 1x1 if ``halvings`` is 0, as for the last stage.

    Args:
        in_channels: Channels of the stage.
        width: Channels before the classifier: the larger of student's and teacher's width of pooled features in the paper.
        num_classes: Classes of the teacher.
        halvings: Blocks of stride 2, as many as stages follow: 3, 2, 1 and 0 for the four stages of a ResNet. Channels double with each, and the
            last goes to ``width``.
    """

    def __init__(self, in_channels: int, width: int, num_classes: int, halvings: int = 0) -> None:
        super().__init__()
        require("ConvExit", integer(1), in_channels=in_channels, width=width)
        require("ConvExit", integer(2), num_classes=num_classes)
        require("ConvExit", integer(0), halvings=halvings)
        self.in_channels, self.width, self.num_classes, self.halvings = in_channels, width, num_classes, halvings
        channels = [in_channels * 2**step for step in range(halvings)] + [width]
        blocks: list[nn.Module] = [_separable(*pair) for pair in itertools.pairwise(channels)]
        self.features = nn.Sequential(*(blocks or [nn.Conv2d(in_channels, width, 1, bias=False)]))
        self.classifier = nn.Linear(width, num_classes)
        self.apply(_init)

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Turn a feature map (B, C, h, w) into logits (B, num_classes); ``like`` is not needed."""
        if value.ndim != 4 or value.shape[1] != self.in_channels:
            raise UsageError(
                "ConvExit reads a feature map",
                expected=f"(B, {self.in_channels}, h, w)",
                got=describe(value),
                fix="tap a convolutional stage, and set in_channels to its channels; kdcls.TokenExit is for tokens",
            )
        logits: Tensor = self.classifier(self.features(value).mean((2, 3)))
        return logits


class TokenExit(nn.Module):
    """Exit branch of a transformer's or MLP's block, as in OFA-KD: patches merged 2 x 2, transformer blocks, a classifier.

    Args:
        dim: Width of the tokens.
        num_classes: Classes of the teacher.
        grid: Patches along a side: 14 for images of 224 and patches of 16.
        prefix_tokens: Class and register tokens before the patches. The first of them is what is classified; without any, the mean
            over patches.
        merges: Times that the grid is halved: the authors go down to 7, so 1 for a grid of 14, and 3, 2, 1, 0 for the stages of a Swin.
        width: Width after the first merge; ``None`` keeps ``dim``. Prefix tokens are not merged, so with them it must be ``dim``.
        blocks: Transformer blocks: 3, 2, 1 and 1 for the four exits.
        heads: Attention heads, which divide ``width``.

    Raises:
        UsageError: For a grid that cannot be halved so often, and for numbers that do not go together.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        grid: int,
        prefix_tokens: int = 0,
        merges: int = 1,
        width: int | None = None,
        blocks: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        require("TokenExit", integer(1), dim=dim, grid=grid, blocks=blocks, heads=heads)
        require("TokenExit", integer(2), num_classes=num_classes)
        require("TokenExit", integer(0), prefix_tokens=prefix_tokens, merges=merges)
        require("TokenExit", optional(integer(1)), width=width)
        self.dim, self.num_classes, self.grid, self.prefix_tokens = dim, num_classes, grid, prefix_tokens
        self.merges, self.width, self.blocks, self.heads = merges, dim if width is None else width, blocks, heads
        if grid % 2**merges:
            raise UsageError(f"TokenExit: a grid of {grid} cannot be halved {merges} times", fix="lower merges")
        if self.width != dim and (prefix_tokens or not merges):
            raise UsageError(
                "TokenExit: only merging changes the width, and prefix tokens are not merged",
                expected=f"width={dim}",
                got=f"width={self.width}, merges={merges}, prefix_tokens={prefix_tokens}",
            )
        if self.width % heads:
            raise UsageError("TokenExit: heads must divide the width", got=f"width {self.width}, heads={heads}")
        self.merging = nn.ModuleList(_Merge(self.width if step else dim, self.width) for step in range(merges))
        self.transformer = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    self.width, heads, 4 * self.width, 0.0, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(blocks)
            )
        )
        self.classifier = nn.Linear(self.width, num_classes)
        self.apply(_init)

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Turn tokens (B, N, dim), or a grid (B, H, W, dim) as Swin has it, into logits; ``like`` is not needed."""
        tokens = value.flatten(1, 2) if value.ndim == 4 else value
        count = self.prefix_tokens + self.grid**2
        if tokens.ndim != 3 or tuple(tokens.shape[1:]) != (count, self.dim):
            raise UsageError(
                "TokenExit reads tokens",
                expected=f"(B, {count}, {self.dim}): {self.prefix_tokens} before {self.grid} x {self.grid} patches",
                got=describe(value),
                fix="set grid to the patches along a side, and prefix_tokens to the class tokens",
            )
        prefix, patches = tokens[:, : self.prefix_tokens], tokens[:, self.prefix_tokens :]
        for merge in self.merging:
            patches = merge(patches)
        found = self.transformer(torch.cat([prefix, patches], 1) if self.prefix_tokens else patches)
        logits: Tensor = self.classifier(found[:, 0] if self.prefix_tokens else found.mean(1))
        return logits


class AuxiliaryHead(nn.Module):
    """A second classifier on the features that the student's own reads: dual-head distillation trains it on the teacher's logits.

    It is tapped by ``dict(type='kdhub.ModuleInput', path='fc')``, and no export holds it.

    Args:
        in_features: Width of the pooled features.
        num_classes: Classes of the teacher.
        hidden: ``None`` is one linear layer, the authors' on ImageNet. A number puts a layer of this width, dropout, batch norm and ReLU before
            it; the authors have 200 for pairs of different architectures.
        dropout: Of the hidden layer.

    Raises:
        UsageError: For a batch of one while it trains with a hidden layer, whose batch norm would see one value.
    """

    def __init__(self, in_features: int, num_classes: int, hidden: int | None = None, dropout: float = 0.1) -> None:
        super().__init__()
        require("AuxiliaryHead", integer(1), in_features=in_features)
        require("AuxiliaryHead", integer(2), num_classes=num_classes)
        require("AuxiliaryHead", optional(integer(1)), hidden=hidden)
        require("AuxiliaryHead", number(at_least=0), dropout=dropout)
        self.in_features, self.num_classes, self.hidden, self.dropout = in_features, num_classes, hidden, dropout
        if hidden is None:
            self.layers: nn.Module = nn.Linear(in_features, num_classes)
        else:
            first = nn.Linear(in_features, hidden), nn.Dropout(dropout), nn.BatchNorm1d(hidden), nn.ReLU()
            self.layers = nn.Sequential(*first, nn.Linear(hidden, num_classes))

    def forward(self, value: Tensor, like: Tensor) -> Tensor:
        """Turn features (B, F), or (B, F, 1, 1), into logits (B, num_classes); ``like`` is not needed."""
        features = value.flatten(1)
        if features.shape[1] != self.in_features:
            raise UsageError(
                "AuxiliaryHead reads pooled features",
                expected=f"(B, {self.in_features})",
                got=describe(value),
                fix="tap what the classifier is given: dict(type='kdhub.ModuleInput', path='fc')",
            )
        if self.hidden is not None and self.training and len(features) < 2:
            raise UsageError(
                "AuxiliaryHead has a batch norm, which sees one value in a batch of one",
                fix="drop_last=True in the dataloader, or hidden=None",
            )
        logits: Tensor = self.layers(features)
        return logits


class _Merge(nn.Module):
    """Four neighbouring patches to one."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, width, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        batch, count, dim = patches.shape
        half = math.isqrt(count) // 2
        squares = patches.view(batch, half, 2, half, 2, dim).transpose(2, 3).reshape(batch, half * half, 4 * dim)
        merged: Tensor = self.reduction(self.norm(squares))
        return merged


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """Halve the map: two depth-wise convolutions, each followed by a point-wise one, batch norm and ReLU."""

    def half(stride: int, width: int) -> list[Any]:
        return [
            nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]

    return nn.Sequential(*half(2, in_channels), *half(1, out_channels))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
