"""Generated samples as one picture: a grid of images, or points on the plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdhub.api import UsageError, describe

_SIDE = 512
"""Pixels of a picture of points."""


def picture(samples: Tensor, reach: float = 3.0) -> Tensor:
    """Draw samples.

    Args:
        samples: Images (N, 1 or 3, H, W) with values from -1 to 1, or points (N, 2).
        reach: Points beyond it, on either axis, are drawn at the edge.

    Returns:
        Pixels (height, width, 3), uint8: images row by row with a frame of 2 pixels, points in black on white.

    Raises:
        UsageError: For samples of another shape.
    """
    if samples.dim() == 2 and samples.shape[1] == 2:
        return _points(samples, reach)
    if samples.dim() != 4 or samples.shape[1] not in (1, 3):
        raise UsageError(
            "samples that are no picture",
            expected="(N, 1 or 3, H, W) or (N, 2)",
            got=describe(samples),
            fix="a latent needs its decoder first",
        )
    pixels = ((samples.clamp(-1, 1) + 1) * 127.5).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    count, height, width, _ = pixels.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = torch.full((rows * (height + 2) + 2, columns * (width + 2) + 2, 3), 255, dtype=torch.uint8)
    for number, one in enumerate(pixels):
        top, left = (number // columns) * (height + 2) + 2, (number % columns) * (width + 2) + 2
        grid[top : top + height, left : left + width] = one
    return grid


def _points(points: Tensor, reach: float) -> Tensor:
    drawn = torch.full((_SIDE, _SIDE, 3), 255, dtype=torch.uint8)
    places = ((points.clamp(-reach, reach) / reach + 1) / 2 * (_SIDE - 2)).round().long()
    columns, rows = places[:, 0], _SIDE - 2 - places[:, 1]
    for down in (0, 1):
        for right in (0, 1):
            drawn[rows + down, columns + right] = 0
    return drawn
