"""`MLP`: a network for points, which trains in seconds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdhub.api import FLAG, integer, number, optional, require


class MLP(nn.Module):
    """Predicts vectors from vectors, a time and a class; called as diffusers' networks are, ``net(x, t, labels)``.

    Args:
        features: Width of a vector; 2 for points.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        classes: Number of classes K; label K stands for none. 0 for a network without classes.
        max_time: The largest time it is given, such as 999 for a discrete schedule: times are divided by it.
        frequencies: Pairs of sine and cosine by which it sees the time.
        residual: Whether a hidden layer adds to what it is given.
        outputs: Width of what it says; ``None`` for that of a vector. 1 for a discriminator.
    """

    _frequencies: Tensor

    def __init__(
        self,
        features: int = 2,
        width: int = 192,
        depth: int = 3,
        classes: int = 0,
        max_time: float = 1.0,
        frequencies: int = 4,
        residual: bool = False,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        require("MLP", integer(1), features=features, width=width, depth=depth, frequencies=frequencies)
        require("MLP", integer(0), classes=classes)
        require("MLP", number(above=0), max_time=max_time)
        require("MLP", FLAG, residual=residual)
        require("MLP", optional(integer(1)), outputs=outputs)
        self.max_time, self.residual = max_time, residual
        self.register_buffer("_frequencies", math.pi / 2 * 2.0 ** torch.arange(frequencies), persistent=False)
        self.labels = nn.Embedding(classes + 1, width) if classes else None
        self.time = nn.Linear(2 * frequencies + 1, width)
        self.first = nn.Linear(features, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.last = nn.Linear(width, outputs or features)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict (B, outputs) from points (B, features), times (B,) and labels (B,)."""
        time = (t / self.max_time).reshape(-1, 1).to(x.dtype)
        angles = time * self._frequencies
        hidden = self.first(x) + self.time(torch.cat((time, angles.sin(), angles.cos()), dim=1))
        if self.labels is not None and labels is not None:
            hidden = hidden + self.labels(labels)
        hidden = nn.functional.silu(hidden)
        for layer in self.hidden:
            hidden = hidden + layer(nn.functional.silu(hidden)) if self.residual else nn.functional.silu(layer(hidden))
        return self.last(hidden)
