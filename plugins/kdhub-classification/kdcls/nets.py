"""Nets small enough to train in seconds on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DigitNet(nn.Module):
    """Two convolutions and a linear classifier, for images (B, 1, 8, 8).

    Args:
        width: Channels of the first convolution; the second has twice as many.
        noise: Standard deviation of the Gaussian noise that is added to the images in training.
        shift: Pixels by which an image is moved at most in training, drawn for each batch.
        dropout: Dropout before the classifier.
        num_classes: Classes.
    """

    def __init__(
        self, width: int = 8, noise: float = 0.0, shift: int = 0, dropout: float = 0.0, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.noise = noise
        self.shift = shift
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * width * 16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes)."""
        if self.training and self.shift:
            down, right = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
            images = images.roll((down, right), dims=(2, 3))
        if self.training and self.noise:
            images = images + self.noise * torch.randn_like(images)
        logits: Tensor = self.classifier(self.dropout(self.features(images).flatten(1)))
        return logits
