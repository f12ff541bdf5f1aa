"""mmdet's second stage, which also embeds regions that were chosen beforehand (EZAD, stage C)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch import Tensor

from kddet.regions.text_classifier import TextClassifier
from kdhub.api import UsageError


class RegionRoIHead(StandardRoIHead):
    """A `StandardRoIHead` that runs its head on the regions of `AttachRegions` too, for `RegionEmbeddingKD` to compare.

    The tap ``roi_head.region_embeddings`` reads ``(N, D)``. Its box head must have a `TextClassifier`. Losses and
    predictions are those of the `StandardRoIHead`, and so is the exported student.

    Raises:
        UsageError: If the box head has no `TextClassifier`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(self.bbox_head.fc_cls, TextClassifier):
            raise UsageError(
                "RegionRoIHead embeds regions by a text classifier",
                expected="bbox_head.cls_predictor_cfg=dict(type='kddet.TextClassifier', names=...)",
                got=type(self.bbox_head.fc_cls).__name__,
            )

    def loss(self, x: Sequence[Tensor], rpn_results_list: Any, batch_data_samples: Sequence[Any]) -> dict[str, Any]:
        """Embed the regions of the batch, if it has any attached, and compute mmdet's own losses."""
        if all("regions" in sample for sample in batch_data_samples):
            self.region_embeddings(x, [sample.regions.bboxes for sample in batch_data_samples])
        losses: dict[str, Any] = super().loss(x, rpn_results_list, batch_data_samples)
        return losses

    def region_embeddings(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Embed boxes of each image, ``(n, 4)`` in its pixels, as ``(N, D)`` of unit length."""
        extractor = self.bbox_roi_extractor
        pooled = extractor(features[: extractor.num_inputs], bbox2roi(list(boxes)))
        embeddings: Tensor = self.bbox_head.fc_cls.region_embeddings(for_classes(self.bbox_head, pooled))
        return embeddings


def for_classes(head: Any, x: Tensor) -> Tensor:
    """Return what a `ConvFCBBoxHead` gives its last layer for classes."""
    for convolution in head.shared_convs:
        x = convolution(x)
    if head.num_shared_fcs > 0:
        x = (head.avg_pool(x) if head.with_avg_pool else x).flatten(1)
        for layer in head.shared_fcs:
            x = head.relu(layer(x))
    for convolution in head.cls_convs:
        x = convolution(x)
    if x.dim() > 2:
        x = (head.avg_pool(x) if head.with_avg_pool else x).flatten(1)
    for layer in head.cls_fcs:
        x = head.relu(layer(x))
    return x
