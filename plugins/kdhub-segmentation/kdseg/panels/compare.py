"""Which of two predictions is right where, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kdseg.metrics.trimap import boundary_rings

IGNORED = 255

Labels = NDArray[np.integer]
"""Class numbers ``(H, W)``."""
Mask = NDArray[np.bool_]
"""Yes or no for each pixel, ``(H, W)``."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where exactly one of two predictions is right; void pixels are in neither.

    Attributes:
        gained: Only the first is right.
        lost: Only the second is right.
    """

    gained: Mask
    lost: Mask

    @property
    def pixels(self) -> int:
        """Number of pixels in which exactly one is right."""
        return int(self.gained.sum() + self.lost.sum())


def difference(truth: Labels, first: Labels, second: Labels) -> Difference:
    """Compare two predictions of one image."""
    counted = truth != IGNORED
    first_right, second_right = (prediction == truth for prediction in (first, second))
    return Difference(gained=counted & first_right & ~second_right, lost=counted & second_right & ~first_right)


def edge_band(truth: Labels, width: int) -> Mask:
    """Mark the pixels at most ``width`` pixels from another true class, as `kdseg.metrics.trimap.TrimapIoU` does."""
    band = boundary_rings(torch.from_numpy(np.asarray(truth, dtype=np.int64)), (width,), IGNORED) == 0
    return band.numpy() & (truth != IGNORED)


def right(truth: Labels, prediction: Labels, where: Mask | None = None) -> float:
    """Return the percentage of pixels with the true class; NaN where no pixel counts.

    Args:
        truth: Labels, 255 for void.
        prediction: Labels.
        where: Pixels to look at; all by default.
    """
    counted = truth != IGNORED
    if where is not None:
        counted &= where
    return float(100 * (prediction == truth)[counted].mean()) if counted.any() else float("nan")
