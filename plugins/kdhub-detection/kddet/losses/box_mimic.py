"""Imitation of a feature pyramid where the objects are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kddet.losses._maps import require_maps
from kdhub.api import MaskedLoss, UsageError, masked_mean, number, require


class BoxMimic(MaskedLoss):
    """Mean squared difference of features inside the true boxes, and a share of it outside.

    A position belongs to an object if its centre lies in one of the image's boxes; a box that holds no centre takes the position
    that its own centre lies in, so that small objects count at coarse levels too.
    ``L = mean_inside (s − t)² + background · mean_outside (s − t)²``, each mean over positions and channels.

    Args:
        background: Weight of the mean outside the boxes. 0, the default, leaves the background out: it is most of an image, and
            imitating all of it drowns the objects. DeFeat finds it useful at a smaller weight.
        reduction: ``'positions'``, the default, averages over the positions of the whole batch; ``'samples'`` image by image
            first, so that an image with small objects counts as much as one with large ones, and however the batch is split.

    Inputs:
        student: ``(B, C, h, w)``; any float type, raised to float32. A feature pyramid is compared level by level.
        teacher: The student's shape; takes no gradient.
        boxes: The true boxes of each image, ``(n, 4)`` x1, y1, x2, y2 in pixels of ``images``; a list of B, or one tensor
            ``(B, n, 4)``. An image without boxes is all background. Found in mmdet's batch.
        images: ``(B, 3, H, W)``, what the student sees, for the stride of the level. Found in mmdet's batch.

    References:
        - Wang et al., "Distilling Object Detectors with Fine-grained Feature Imitation", arXiv 1906.03609 (its masks are
          anchors near the objects, of which these boxes are the simplest form).
        - Guo et al., "Distilling Object Detectors via Decoupled Features" (DeFeat), arXiv 2103.14475, for the two means.

    Requirements:
        Equal shapes: where widths differ, give the objective an adapter. Boxes must have gone through the same resize and flip
        as the images, as mmdet's pipelines see to.

    Relations:
        - `kdhub.MSE` is the same with ``background`` as large as the background.
        - `PKD` and `ChannelWise` need no boxes, and do not imitate the scale.

    Example:
        Objects of a Faster R-CNN's pyramid::

            objects=dict(
                loss=dict(type='kddet.BoxMimic', background=0.1),
                student='neck',
                teacher='neck',
                weight=2.0)
    """

    def __init__(self, background: float = 0.0, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("BoxMimic", number(at_least=0), background=background)
        self.background = background

    def forward(self, student: Tensor, teacher: Tensor, boxes: Sequence[Tensor] | Tensor, images: Tensor) -> Tensor:
        """Compare maps of one shape; see the class for the inputs."""
        student, teacher = require_maps("BoxMimic", student, teacher)
        if len(boxes) != len(student):
            raise UsageError(
                "BoxMimic needs the boxes of each image", expected=f"{len(student)} entries", got=str(len(boxes))
            )
        inside = torch.stack([box_mask(one, student.shape[-2:], images.shape[-2:]) for one in boxes])
        squares = (student - teacher).square().mean(1)
        loss = masked_mean(squares, inside, self.reduction)
        return loss + self.background * masked_mean(squares, ~inside, self.reduction) if self.background else loss


def box_mask(boxes: Tensor, size: Sequence[int], image: Sequence[int]) -> Tensor:
    """Say which positions of a map lie in a box.

    Args:
        boxes: ``(n, 4)``, x1, y1, x2, y2 in pixels; parts outside the image, and boxes without area, do no harm.
        size: ``(h, w)`` of the map.
        image: ``(H, W)`` of the image, padding included.

    Returns:
        Boolean ``(h, w)``: position ``i`` covers the pixels from ``i·H/h`` on, and its centre lies half a position further.
    """
    boxes = boxes.detach().float()
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    axes = []
    for axis in (1, 0):  # y, then x
        scale = size[1 - axis] / image[1 - axis]
        start, end = boxes[:, axis] * scale, boxes[:, axis + 2] * scale
        centres = torch.arange(size[1 - axis], device=boxes.device) + 0.5
        inside = (centres >= start.unsqueeze(1)) & (centres <= end.unsqueeze(1))
        own = ((start + end) / 2).floor().clamp(0, size[1 - axis] - 1)
        axes.append(inside | (~inside.any(1, keepdim=True) & (centres.floor() == own.unsqueeze(1))))
    rows, columns = axes
    return ((rows & real.unsqueeze(1)).unsqueeze(2) & columns.unsqueeze(1)).any(0)
