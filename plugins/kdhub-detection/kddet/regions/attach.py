"""Regions of stage B in a batch: a step of the pipeline that attaches them, and the teacher that answers with them (EZAD)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils.data import DataLoader

from kddet.regions.proposals import draw
from kddet.regions.region_files import RegionFiles
from kddet.regions.text_classifier import TextClassifier
from kdhub.api import Teacher, UsageError, integer, require


class AttachRegions(BaseTransform):
    """Puts an image's base boxes and some of its proposals into its sample, moved as the image was.

    It stands behind ``PackDetInputs`` and follows resizing, horizontal flips and padding on the right and below. A pipeline that
    resizes twice or crops is refused. One that turns or shears keeps the image's size: it is refused if ``homography_matrix`` is
    among the ``meta_keys`` of ``PackDetInputs``, as in the recipe. mmdet's ``RandomAffine`` writes none, so it must not be used.
    Proposals are drawn anew for each visit, with replacement.

    Args:
        folder: Folder of the job `kddet.Propose`.
        count: How many proposals to draw.
        first: From how many, best first.

    Raises:
        UsageError: For a folder without regions, images that the job did not see, and images that were moved otherwise.
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
        flip, scale = bool(sample.get("flip")), sample.get("scale_factor", (1, 1))
        if flip and sample.get("flip_direction") != "horizontal":
            raise UsageError(
                "AttachRegions follows horizontal flips alone", where="pipeline", got=sample.get("flip_direction")
            )
        see_that_only_resized(sample.ori_shape, sample.img_shape, scale, flip, sample.get("homography_matrix"))
        regions = self._files.of(sample.img_id)
        base = regions.base.nonzero().squeeze(1)
        others = (~regions.base).nonzero().squeeze(1)
        rows = torch.cat((base, others[draw(len(others), self.count, first=self.first)] if self.count else others[:0]))
        boxes = moved(regions.boxes[rows], sample.ori_shape, scale, flip)
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


def see_that_only_resized(before: Any, after: Any, scale: Any, flip: bool, matrix: Any = None) -> None:
    """See that boxes can be moved as `moved` does.

    Args:
        before: Height and width of the file.
        after: Of the image that the pipeline left.
        scale: Width's and height's factor.
        flip: Whether the image is mirrored.
        matrix: What mmdet's steps wrote of how points ``(x, y, 1)`` move, ``(3, 3)``, if it was kept.

    Raises:
        UsageError: If sizes or corners are off by more than a pixel. Padding may follow a flip or come without one: behind it, a
            flip puts the padding on the left.
    """
    width, height = before[1] * scale[0], before[0] * scale[1]
    right = width + 1 if flip and matrix is None else math.inf
    fits = width - 1 <= after[1] <= right and height - 1 <= after[0]
    if fits and matrix is not None:
        corners = torch.tensor([[0, 0], [before[1], 0], [0, before[0]], [before[1], before[0]]], dtype=torch.float64)
        boxes = torch.cat((corners, corners), 1)
        ours = moved(boxes, before, scale, flip)[:, :2]
        theirs = torch.cat((corners, corners.new_ones(4, 1)), 1) @ torch.as_tensor(matrix, dtype=torch.float64).T
        fits = bool(((theirs[:, :2] / theirs[:, 2:] - ours).abs() <= 1).all())
    if not fits:
        raise UsageError(
            "AttachRegions cannot follow how the image was moved",
            where="train_dataloader.dataset.pipeline",
            expected=f"about {height:.0f} x {width:.0f}, the file's size by its scale_factor, or padding at right and below",
            got=f"{after[0]} x {after[1]}" + ("" if matrix is None else ", and a homography_matrix"),
            fix="leave out steps that crop, turn or resize a second time; pad after a flip, with meta_keys that hold"
            " 'homography_matrix'",
        )


class RegionTeacher(Teacher):
    """Answers with the embeddings of the regions that `AttachRegions` put into the batch.

    Its answers are ``embeddings`` ``(N, D)``, in the order in which `RegionRoIHead` embeds the same regions.

    Args:
        folder: Folder of the job `kddet.Propose`, the same as that of `AttachRegions`.

    Attributes:
        files: The regions.

    Raises:
        UsageError: If there are no regions.
    """

    batch = "student"

    def __init__(self, folder: str) -> None:
        self.files = RegionFiles(Path(folder))

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

    def prepare(self, model: Any, name: str, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> None:
        """See that the data set's classes are the detector's names, in their order."""
        classes: Sequence[str] = (getattr(loader.dataset, "metainfo", None) or {}).get("classes") or ()
        for module in model.modules():
            if classes and isinstance(module, TextClassifier):
                module.names.see_that_labels(classes)

    def fingerprint(self) -> str:
        """Identify the regions."""
        return self.files.fingerprint()
