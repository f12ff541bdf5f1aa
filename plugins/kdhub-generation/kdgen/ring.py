"""A ring of Gaussians: data, their exact score and what generated samples are measured against."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kdgen.noise import NoiseSchedule
from kdhub.api import UsageError, build, choice, integer, number, require


class Ring:
    """A mixture of equal Gaussians on a circle; mode k belongs to class k modulo ``classes``.

    Args:
        modes: Number of Gaussians M.
        radius: Radius of the circle.
        std: Standard deviation of each Gaussian in both directions.
        classes: Number of classes K, for ``labels``; 0 for none. With 8 modes and 4 classes each class is a pair of opposite modes.

    Attributes:
        means: Centres (M, 2).
    """

    def __init__(self, modes: int = 8, radius: float = 2.0, std: float = 0.15, classes: int = 0) -> None:
        require("Ring", integer(1), modes=modes)
        require("Ring", number(above=0), radius=radius, std=std)
        require("Ring", integer(0), classes=classes)
        if classes > modes:
            raise UsageError(
                "more classes than modes", where="Ring.classes", expected=f"up to {modes}", got=str(classes)
            )
        self.std, self.classes = std, classes
        angles = torch.arange(modes) * (2 * math.pi / modes)
        self.means = radius * torch.stack((angles.cos(), angles.sin()), dim=1)
        self.class_of_mode = torch.arange(modes) % max(classes, 1)

    def allowed(self, labels: Tensor | None, count: int) -> Tensor:
        """Return which modes (count, M) samples of these labels (count,) may be of; label K, or none at all, allows all."""
        if labels is None or not self.classes:
            return torch.ones(count, len(self.means), dtype=torch.bool)
        return (labels[:, None] == self.class_of_mode.to(labels.device)) | (labels[:, None] == self.classes)

    def sample(self, count: int, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw points (count, 2)."""
        modes = torch.multinomial(self.allowed(labels, count).float(), 1, generator=generator)[:, 0]
        return self.means[modes] + self.std * torch.randn(count, 2, generator=generator)


class RingScore(nn.Module):
    """The exact prediction for a `Ring`: a teacher without weights. Called as diffusers' networks are.

    Args:
        noise: The schedule, which must be that of the `kdgen.Denoiser` around it.
        modes: As in `Ring`.
        radius: As in `Ring`.
        std: As in `Ring`.
        classes: As in `Ring`.
        pred_type: ``eps``, or ``x0``, which is exact at pure noise too.
    """

    _means: Tensor

    def __init__(
        self,
        noise: Any,
        modes: int = 8,
        radius: float = 2.0,
        std: float = 0.15,
        classes: int = 0,
        pred_type: str = "eps",
    ) -> None:
        super().__init__()
        require("RingScore", choice(("eps", "x0")), pred_type=pred_type)
        self.pred_type = pred_type
        self.noise: NoiseSchedule = build("model", noise, where="RingScore.noise")
        self.ring = Ring(modes, radius, std, classes)
        self.register_buffer("_means", self.ring.means, persistent=False)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict noise or samples (B, 2) from points (B, 2) at times (B,), for labels (B,)."""
        alpha, sigma = self.noise.alpha(t)[:, None], self.noise.sigma(t)[:, None]
        away = x[:, None] - alpha[..., None] * self._means
        variance = (alpha * self.ring.std) ** 2 + sigma**2
        closeness = -away.square().sum(-1) / (2 * variance)
        closeness = closeness.masked_fill(~self.ring.allowed(labels, len(x)).to(x.device), -math.inf)
        shares = closeness.softmax(dim=1)[..., None]
        gap = (shares * away).sum(dim=1)
        if self.pred_type == "eps":
            return sigma / variance * gap
        return (shares * self._means).sum(dim=1) + alpha * self.ring.std**2 / variance * gap


class RingData(Dataset[dict[str, Tensor]]):
    """Points of a `Ring`, in chunks; join them with ``collate_fn=dict(type='kdgen.join')``.

    Args:
        chunks: Number of chunks.
        chunk: Points in each.
        seed: Seed of the points.
        modes: As in `Ring`.
        radius: As in `Ring`.
        std: As in `Ring`.
        classes: As in `Ring`.
    """

    def __init__(
        self,
        chunks: int = 64,
        chunk: int = 256,
        seed: int = 0,
        modes: int = 8,
        radius: float = 2.0,
        std: float = 0.15,
        classes: int = 0,
    ) -> None:
        require("RingData", integer(1), chunks=chunks, chunk=chunk)
        require("RingData", integer(0), seed=seed)
        ring = Ring(modes, radius, std, classes)
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(max(classes, 1), (chunks * chunk,), generator=generator)
        points = ring.sample(len(labels), labels, generator)
        self._points, self._labels = points.reshape(chunks, chunk, 2), labels.reshape(chunks, chunk)
        self._classes = classes

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._points)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one chunk: ``inputs`` (chunk, 2) and, with classes, ``labels`` (chunk,)."""
        item = {"inputs": self._points[index]}
        return {**item, "labels": self._labels[index]} if self._classes else item
