"""IoU near the true class boundaries and away from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor
from torch.nn import functional

from kdhub.api import UsageError, integer, require


class TrimapIoU(BaseMetric):
    """Mean IoU in bands around the true class boundaries, and in the bodies between them.

    A pixel lies in the band of width ``d`` if a pixel of another true class is at most ``d`` pixels away in the chessboard
    distance (the larger of the two offsets). A straight boundary so marks ``d`` pixels on each of its sides, and bands of
    larger widths contain those of smaller ones. Void pixels never count, and make no boundary: classes on the two sides of a
    void strip are a boundary only where the strip is narrower than the width. Pixels in no band are the body.

    Over the pixels of a band, summed over all images, ``IoU_c = |predicted c and truly c| / |predicted c or truly c|``,
    averaged over the classes that occur there in truth or prediction, in percent: what mmseg's ``IoUMetric`` calls mIoU, if
    every other pixel were void. Not rounded, so that differences of seeds survive. NaN where no pixel counts.

    Reported as ``mIoU_edge<width>`` and ``mIoU_body``, so by default ``trimap/mIoU_edge1``, ``trimap/mIoU_edge3``,
    ``trimap/mIoU_edge5``, ``trimap/mIoU_body``.

    Args:
        widths: Widths of the bands, in pixels of the truth's size. At 1 an annotator's tremble counts as much as the model's
            mistakes; with a wide band small objects leave nothing to the body.
        ignore_index: Label of void pixels.
        prefix: Stands before each name in the log.
        collect_device: As in mmengine.

    Example:
        Truth ``0 0 0 0 1 1 1 1`` and prediction ``0 0 0 1 1 1 1 0`` in one row. In the band of width 1 are the two middle
        pixels, of which class 0 loses its only one: IoU 0 and 1/2, mean 25. In the body of ``widths=[1]`` are three pixels a
        side: ``0 0 0`` all found, ``1 1 1`` found but for the last: IoU 3/4 and 2/3, mean 70.83.
    """

    default_prefix = "trimap"

    def __init__(
        self,
        widths: Sequence[int] = (1, 3, 5),
        ignore_index: int = 255,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        for width in widths:
            require("TrimapIoU", integer(1), width=width)
        require("TrimapIoU", integer(), ignore_index=ignore_index)
        if not widths or len(set(widths)) < len(widths):
            raise UsageError("TrimapIoU: bad widths", expected="at least one, each once", got=str(list(widths)))
        self.widths = tuple(sorted(widths))
        self.ignore_index = ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the counts of each image: ``(rings, 3, C)`` integers, whatever its size."""
        classes = self._class_count()
        for sample in data_samples:
            if "gt_sem_seg" not in sample:
                raise UsageError("TrimapIoU: the data set gives no truth", fix="use a split with labels")
            truth, prediction = (_label_map(sample[key]["data"]) for key in ("gt_sem_seg", "pred_sem_seg"))
            prediction = prediction.to(truth.device)
            _require_one_size(prediction, truth)
            rings = boundary_rings(truth, self.widths, self.ignore_index)
            counted = truth != self.ignore_index
            prediction, truth, rings = prediction[counted], truth[counted], rings[counted]
            _require_classes("prediction", prediction, classes)
            _require_classes("truth", truth, classes)
            self.results.append(_count(prediction, truth, rings, classes, len(self.widths) + 1).cpu())

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        """Add up the images.

        Args:
            results: ``(rings, 3, C)`` counts of every image; rings from the boundary outwards, the body last.
        """
        rings = torch.stack(results).sum(0)
        bands = rings[:-1].cumsum(0)
        found = {f"mIoU_edge{width}": _mean_iou(band) for width, band in zip(self.widths, bands, strict=True)}
        return found | {"mIoU_body": _mean_iou(rings[-1])}

    def _class_count(self) -> int:
        meta = self.dataset_meta or {}
        if "classes" not in meta:
            raise UsageError(
                "TrimapIoU: the data set names no classes",
                expected="metainfo with classes",
                got=f"metainfo with {', '.join(meta) or 'nothing'}",
            )
        return len(meta["classes"])


def boundary_rings(truth: Tensor, widths: Sequence[int], ignore_index: int = 255) -> Tensor:
    """Say in which band each pixel lies first.

    Args:
        truth: Labels ``(H, W)``.
        widths: Widths of the bands in pixels, ascending; see `TrimapIoU` for the distance.
        ignore_index: Label of void pixels.

    Returns:
        ``(H, W)`` integers: the index of the narrowest band that holds the pixel, ``len(widths)`` for the body. Void pixels
        get one too; it means nothing.
    """
    void = truth == ignore_index
    # highest and lowest label of a window: they differ where it holds two classes, and then one of them is another than
    # the pixel's. −∞ leaves void out, as max_pool2d itself does beyond the frame.
    extremes = torch.stack([truth, -truth]).float().masked_fill(void, -torch.inf)
    rings = torch.full_like(truth, len(widths), dtype=torch.long)
    for reached, width in pairwise((0, *widths)):  # windows of windows are wider windows
        extremes = _window_maximum(extremes, width - reached)
        rings -= (extremes.sum(0) > 0).long()
    return rings


def _window_maximum(maps: Tensor, radius: int) -> Tensor:
    """Return the maximum within a chessboard distance, along one axis after the other."""
    side = 2 * radius + 1
    maps = functional.max_pool2d(maps, (side, 1), stride=1, padding=(radius, 0))
    return functional.max_pool2d(maps, (1, side), stride=1, padding=(0, radius))


def _count(prediction: Tensor, truth: Tensor, rings: Tensor, classes: int, n_rings: int) -> Tensor:
    """Count hits, predictions and truths by ring and class: ``(n_rings, 3, C)``, from the pixels that count, ``(N,)``."""
    predicted, true = prediction + rings * classes, truth + rings * classes
    counts = [
        torch.bincount(cells, minlength=n_rings * classes) for cells in (true[predicted == true], predicted, true)
    ]
    return torch.stack(counts).view(3, n_rings, classes).transpose(0, 1)


def _mean_iou(counts: Tensor) -> float:
    """Average the IoU in percent over the classes that occur; ``counts`` is ``(3, C)``, as `_count` gives it."""
    hits, predicted, true = counts.double()
    union = predicted + true - hits
    return float(100 * (hits / union)[union > 0].mean())


def _label_map(labels: Tensor) -> Tensor:
    """Take the leading axis of 1 away and leave ``(H, W)`` of long."""
    return labels.reshape(labels.shape[-2:]).long()


def _require_one_size(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:
        raise UsageError(
            "TrimapIoU compares pixel by pixel, and prediction and truth differ in size",
            expected=f"a prediction of {tuple(truth.shape)}, as the truth",
            got=str(tuple(prediction.shape)),
            fix="load the annotations after Resize in the test pipeline: mmseg predicts at the image's original size",
        )


def _require_classes(name: str, labels: Tensor, classes: int) -> None:
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise UsageError(
            f"TrimapIoU: the {name} holds a label that is no class",
            expected=f"0 to {classes - 1}",
            got=str(int(outside[0])),
            fix="see the data set's classes and reduce_zero_label, and the head's num_classes",
        )
