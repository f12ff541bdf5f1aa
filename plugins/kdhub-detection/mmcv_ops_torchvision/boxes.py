"""Suppression of boxes: ``nms``, ``softnms``, ``nms_match``."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2
"""Methods of soft-NMS, as mmcv numbers them."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Suppress each box that overlaps a better one.

    Args:
        boxes: ``(N, 4)``, x1, y1, x2, y2; any float type, compared in float32 or wider.
        scores: ``(N,)``.
        iou_threshold: Boxes above it are suppressed.
        offset: 1 if a box from pixel 3 to pixel 5 is 3 wide; 0 if it is 2 wide.

    Returns:
        Indices ``(K,)`` of the boxes that are left, best first.
    """
    boxes = _wide(boxes)
    if offset:
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), 1)
    return torchvision.ops.nms(boxes, scores.to(boxes), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of boxes that overlap a better one, instead of dropping them.

    mmcv calls it with tensors on the CPU, wherever the boxes are.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        dets: ``(N, 5)``; its first K rows are filled with box and lowered score, best first.
        iou_threshold: Overlap from which on `NAIVE` and `LINEAR` lower a score.
        sigma: Width of the `GAUSSIAN`.
        min_score: A box whose score falls below is dropped.
        method: `NAIVE` sets the score to 0, `LINEAR` multiplies it by ``1 - IoU``, `GAUSSIAN` by ``exp(-IoU²/sigma)``.
        offset: As of `nms`.

    Returns:
        Indices ``(K,)`` of the boxes that are left.
    """
    left = torch.arange(len(boxes), device=boxes.device)
    boxes, scores = _wide(boxes), _wide(scores)
    kept = []
    while len(left):
        best = int(scores.argmax())
        dets[len(kept)] = torch.cat((boxes[best], scores[best : best + 1])).to(dets)
        kept.append(left[best])
        overlap = _overlap(boxes[best], boxes, offset)
        if method == GAUSSIAN:
            scores = scores * torch.exp(-overlap.square() / sigma)
        else:
            lowered = torch.zeros_like(overlap) if method == NAIVE else 1 - overlap
            scores = torch.where(overlap >= iou_threshold, scores * lowered, scores)
        stay = scores >= min_score
        stay[best] = False
        left, boxes, scores = left[stay], boxes[stay], scores[stay]
    return torch.stack(kept) if kept else left


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the better box that suppresses them.

    Args:
        dets: ``(N, 5)``, box and score.
        iou_threshold: Boxes at or above it are suppressed.

    Returns:
        For each box that is left, best first: its index, and then those it suppresses, best first.
    """
    dets = _wide(dets)
    left = dets[:, 4].argsort(descending=True, stable=True)
    groups = []
    while len(left):
        matched = _overlap(dets[left[0], :4], dets[left, :4], 0) >= iou_threshold
        matched[0] = True  # a box without area does not overlap itself
        groups.append(left[matched].tolist())
        left = left[~matched]
    return groups


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _overlap(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """Return the intersection over union of one box with others; no number for two boxes without area."""
    sides = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2]) + offset).clamp(min=0)
    common = sides.prod(1)
    area, areas = (box[2:] - box[:2] + offset).prod(), (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    return common / (area + areas - common)
