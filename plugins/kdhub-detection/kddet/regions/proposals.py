"""Regions that an image-text model finds worth teaching: anchors, scored by how sure it is of a name (EZAD, stage B)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

STRIDE = 32
SCALES = (1, 2, 4, 8, 16)
RATIOS = (0.5, 1.0, 2.0)


def anchors(
    height: int, width: int, *, stride: int = STRIDE, scales: Sequence[float] = SCALES, ratios: Sequence[float] = RATIOS
) -> Tensor:
    """Lay boxes of several sizes and shapes around a grid of points.

    Args:
        height: Of the image.
        width: Of the image.
        stride: Distance of the points, and side of a box of scale 1.
        scales: Sides of the boxes in strides.
        ratios: Height over width.

    Returns:
        ``(n, 4)``, x1, y1, x2, y2, point by point along the rows; ``ceil(height/stride) · ceil(width/stride)`` points of 15
        boxes with the defaults. They may leave the image.
    """
    ratio, scale = (
        values.flatten()
        for values in torch.meshgrid(torch.tensor([*ratios]).float(), torch.tensor([*scales]).float(), indexing="ij")
    )
    sides = torch.stack((scale / ratio.sqrt(), scale * ratio.sqrt()), 1) * stride
    cells = torch.cat((-sides / 2, sides / 2), 1)
    rows, columns = (torch.arange(math.ceil(size / stride)) * stride for size in (height, width))
    y, x = (values.flatten() for values in torch.meshgrid(rows, columns, indexing="ij"))
    points = torch.stack((x, y, x, y), 1).unsqueeze(1)
    return (points + cells).flatten(0, 1).float()


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut boxes ``(n, 4)`` at the borders of the image."""
    limit = boxes.new_tensor((width, height, width, height))
    return boxes.clamp(min=0).minimum(limit)


def confidence(probabilities: Tensor) -> Tensor:
    """Score how sure a model is of one name: ``ln C − H(q)``, 0 for a uniform ``q`` and ``ln C`` for a certain one.

    Args:
        probabilities: ``(n, C)``, rows that sum to one; raised to float32 or wider.

    Returns:
        ``(n,)``.
    """
    q = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
    logarithm = torch.where(q == 0, 1e-5, q).log()
    return math.log(q.shape[1]) + (q * logarithm).sum(1)


def propose(
    boxes: Tensor, scores: Tensor, height: int, width: int, *, iou_threshold: float = 0.7, limit: int = 1000
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes that do not overlap a better one, whatever their names.

    Args:
        boxes: ``(n, 4)``; cut at the borders first. Those without area are dropped.
        scores: ``(n,)``.
        height: Of the image.
        width: Of the image.
        iou_threshold: Boxes above it are dropped.
        limit: The most to keep.

    Returns:
        Boxes ``(k, 4)`` and their places in ``boxes`` ``(k,)``, best first.
    """
    cut = clip(boxes, height, width)
    real = ((cut[:, 2:] > cut[:, :2]).all(1) & scores.isfinite()).nonzero().squeeze(1)
    kept = real[nms(cut[real], scores[real].float(), iou_threshold)[:limit]]
    return cut[kept], kept


def away_from(boxes: Tensor, base_boxes: Tensor, iou_threshold: float = 0.3) -> Tensor:
    """Say which proposals are no object with a label: overlap with every base box below the threshold.

    Give it the boxes of base classes only. With boxes of novel classes, which the released code takes, proposals on novel
    objects would be dropped by annotations that zero-annotation detection does not have.

    Args:
        boxes: ``(n, 4)``.
        base_boxes: ``(g, 4)``, g from 0.
        iou_threshold: Overlap from which on a proposal is dropped.

    Returns:
        Boolean ``(n,)``.
    """
    if not len(base_boxes):
        return torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    return (box_iou(boxes, base_boxes.to(boxes)) < iou_threshold).all(1)


def crop_box(box: Sequence[float], height: int, width: int, *, enlarge: float = 1.0, least: int = 0) -> tuple[int, ...]:
    """Return the pixels that a crop of a box takes.

    Args:
        box: x1, y1, x2, y2.
        height: Of the image.
        width: Of the image.
        enlarge: Factor about the box's centre: 1 to score proposals, 1.2 for stored features.
        least: Least side in pixels, as far as the image reaches: 10 for stored features.

    Returns:
        x1, y1, x2, y2, whole numbers from 0 to the image's last pixel.
    """
    result = []
    for start, end, size in ((box[0], box[2], width), (box[1], box[3], height)):
        middle, half = (start + end) / 2, (end - start) / 2 * enlarge
        first, last = max(0, math.floor(middle - half)), min(size - 1, math.ceil(middle + half))
        first, last = min(first, size - 1), max(last, 0)
        if last - first < least:
            first = max(0, min(first, size - 1 - least))
            last = min(size - 1, first + least)
        result.append((first, last))
    (x1, x2), (y1, y2) = result
    return x1, y1, x2, y2


def draw(count: int, size: int = 200, *, first: int = 200, generator: torch.Generator | None = None) -> Tensor:
    """Draw an image's proposals for one visit, with replacement, from its first ones.

    Args:
        count: How many the image has; with none, none are drawn.
        size: How many to draw.
        first: How many of the image's proposals, best first, to draw from.
        generator: Source of randomness.

    Returns:
        Indices ``(size,)``, or ``(0,)``.
    """
    if not count:
        return torch.zeros(0, dtype=torch.long)
    return torch.randint(min(count, first), (size,), generator=generator)
