"""Tiny real models for tests of plugins and of kdhub itself: small enough that a training step takes milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional


class ToySegmentor(BaseModel):
    """A convolutional segmentor: ``backbone`` gives ``(B, width, H/stride, W/stride)``, ``head`` gives logits.

    Args:
        width: Channels of the backbone.
        classes: Classes C of the head.
        stride: Down-sampling of the backbone.
        inplace: Whether the ReLU after the backbone's convolution rewrites its input.
        dropout: Dropout before the head, to tell train from eval mode.
    """

    def __init__(
        self, width: int = 8, classes: int = 4, stride: int = 2, inplace: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, width, 3, stride, 1), nn.ReLU(inplace=inplace), nn.Conv2d(width, width, 3, 1, 1)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        """Run on ``inputs`` (B, 3, H, W) with ``labels`` (B, H, W), 255 ignored."""
        logits = self.head(self.dropout(self.backbone(inputs)))
        if mode == "tensor":
            return logits
        logits = functional.interpolate(logits, size=inputs.shape[-2:], mode="bilinear", align_corners=False)
        if mode == "predict":
            return logits.argmax(1)
        if labels is None:
            raise ValueError("mode 'loss' needs labels (B, H, W)")
        return {"loss_ce": functional.cross_entropy(logits, labels, ignore_index=255)}


class ToyEncoder(BaseModel):
    """A two-column encoder: ``embed`` is called once per column and gives ``(B, width)``; ``score`` gives ``(B, B)``.

    Args:
        width: Embedding width D.
        features: Input width.
    """

    def __init__(self, width: int = 6, features: int = 5) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, width))

    def embed(self, column: Tensor) -> Tensor:
        """Embed one column ``(B, features)`` as unit vectors ``(B, width)``."""
        return functional.normalize(self.encoder(column), dim=-1)

    def score(self, query: Tensor, document: Tensor) -> Tensor:
        """Compare every query with every document: ``(B, B)``."""
        return query @ document.T

    def forward(self, query: Tensor, document: Tensor, mode: str = "tensor", **_fields: Any) -> Any:
        """Run on two columns ``(B, features)``; it has no loss of its own, and leaves other fields to objectives."""
        scores = self.score(self.embed(query), self.embed(document))
        return {} if mode == "loss" else {"scores": scores}


def segmentation_batch(size: int = 2, side: int = 16, classes: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Make random images ``(size, 3, side, side)`` and labels ``(size, side, side)``."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "inputs": torch.rand(size, 3, side, side, generator=generator),
        "labels": torch.randint(0, classes, (size, side, side), generator=generator),
    }


def pair_batch(size: int = 8, features: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """Make two random columns ``(size, features)``."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(size, features, generator=generator) for name in ("query", "document")}
