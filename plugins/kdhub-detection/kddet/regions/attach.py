"""Regions of stage B in a batch: a step of the pipeline that attaches them, and the teacher that answers with them (EZAD)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData
from torch import Tensor

from kddet.regions.proposals import draw
from kddet.regions.region_files import RegionFiles
from kdhub.api import Teacher, UsageError, integer, require


class AttachRegions(BaseTransform):
    """Puts an image's base boxes and some of its proposals into its sample, moved as the image was.

    It stands behind ``PackDetInputs`` and follows resizing and horizontal flips; a pipeline that crops or turns images is refused
    where the sample says so, and must not be used. Proposals are drawn anew for each visit, with replacement.

    Args:
        folder: Folder of the job `kddet.Propose`.
        count: How many proposals to draw.
        first: From how many, best first.

    Raises:
        UsageError: For a folder without regions, and images that the job did not see.
    """

    def __init__(self, folder: str, count: int = 200, first: int = 200) -> None:
        require("AttachRegions", integer(0), count=count)
        require("AttachRegions", integer(1), first=first)
        self.count = count
        self.first = first
        self._files = RegionFiles(folder)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Attach ``regions``: ``bboxes``, ``embeddings``, ``weights``."""
        sample = results["data_samples"]
        if sample.get("flip") and sample.get("flip_direction") != "horizontal":
            raise UsageError(
                "AttachRegions follows horizontal flips alone", where="pipeline", got=sample.get("flip_direction")
            )
        regions = self._files.of(sample.img_id)
        base = regions.base.nonzero().squeeze(1)
        others = (~regions.base).nonzero().squeeze(1)
        rows = torch.cat((base, others[draw(len(others), self.count, first=self.first)] if self.count else others[:0]))
        boxes = moved(
            regions.boxes[rows], sample.ori_shape, sample.get("scale_factor", (1, 1)), bool(sample.get("flip"))
        )
        embeddings, weights = regions.embeddings[rows], regions.weights[rows]
        real = (boxes[:, 2:] > boxes[:, :2]).all(1) & (weights > 0) & (embeddings.abs().amax(1) > 0)
        sample.regions = InstanceData(bboxes=boxes[real], embeddings=embeddings[real], weights=weights[real])
        return results


def moved(boxes: Tensor, shape: Any, scale: Any, flip: bool) -> Tensor:
    """Move boxes ``(n, 4)`` of a file of ``shape`` (height, width) as its image was resized and flipped."""
    boxes = boxes * boxes.new_tensor([scale[0], scale[1]] * 2)
    if flip:
        width = shape[1] * scale[0]
        boxes = torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), 1)
    return boxes


class RegionTeacher(Teacher):
    """Answers with the embeddings of the regions that `AttachRegions` put into the batch.

    Its answers are ``embeddings`` ``(N, D)``, in the order in which `RegionRoIHead` embeds the same regions.

    Args:
        folder: Folder of the job `kddet.Propose`, the same as that of `AttachRegions`.

    Raises:
        UsageError: If there are no regions.
    """

    batch = "student"

    def __init__(self, folder: str) -> None:
        self._files = RegionFiles(Path(folder))

    def answers(self, batch: Any) -> Mapping[str, Any]:
        """Join the regions of all images of a batch."""
        samples = batch["data_samples"]
        if not all("regions" in sample for sample in samples):
            raise UsageError(
                "the batch has no regions",
                where="train_dataloader.dataset.pipeline",
                fix="end it with kddet.AttachRegions",
            )
        return {"embeddings": torch.cat([sample.regions.embeddings for sample in samples])}

    def fingerprint(self) -> str:
        """Identify the regions."""
        return self._files.fingerprint()
