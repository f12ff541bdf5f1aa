"""Questions about boxes: a branch of mmdet's box head that answers them, and the answers in the batch (MaKD for detection)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmcv.transforms import BaseTransform
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn

from kddet.aspects import QuestionBank, with_aspects, without_aspects
from kddet.questions.answers import read_answers
from kddet.regions.attach import moved, see_that_only_resized
from kddet.regions.crops import Boxes
from kddet.regions.roi_head import for_classes
from kdhub.api import Teacher, UsageError, student_as_it_stands


class AspectRoIHead(StandardRoIHead):
    """A `StandardRoIHead` whose last layer for classes also answers questions about the true boxes, while it trains.

    The tap ``roi_head.box_aspects`` reads ``(N, C+1+Q)`` of the batch's N true boxes: logits of the C classes and background, then of the Q
    questions, for `MultiAspectLoss` with ``class_weight=0``. Losses and predictions are those of the `StandardRoIHead`, and so is the
    exported student, without the questions.

    Args:
        questions: File with one question a line; the number of a line is the number of an output.
        options: As of `StandardRoIHead`.

    Raises:
        UsageError: If the file holds anything but questions, or the last layer is no linear one.
    """

    def __init__(self, questions: str, **options: Any) -> None:
        super().__init__(**options)
        with_aspects(self, "bbox_head.fc_cls", len(QuestionBank.read(questions)))

    def loss(self, x: Sequence[Tensor], rpn_results_list: Any, batch_data_samples: Sequence[Any]) -> dict[str, Any]:
        """Answer about the true boxes, and compute mmdet's own losses."""
        self.box_aspects(x, [sample.gt_instances.bboxes for sample in batch_data_samples])
        losses: dict[str, Any] = super().loss(x, rpn_results_list, batch_data_samples)
        return losses

    def box_aspects(self, features: Sequence[Tensor], boxes: Sequence[Any]) -> Tensor:
        """Return class and aspect logits ``(N, C+1+Q)`` of boxes of each image, ``(n, 4)`` in its pixels."""
        extractor = self.bbox_roi_extractor
        plain = [getattr(one, "tensor", one) for one in boxes]
        pooled = extractor(features[: extractor.num_inputs], bbox2roi(plain))
        logits: Tensor = self.bbox_head.fc_cls.wide(for_classes(self.bbox_head, pooled))
        return logits


class AttachAspects(BaseTransform):
    """Puts the answers about an image's true boxes into its sample, as ``gt_instances.aspects`` ``(n, Q)``.

    It stands behind ``PackDetInputs`` and follows the image as `AttachRegions` does. A true box that nobody was asked about has NaN, and
    is left out of the loss.

    Args:
        folder: Folder of the job `kddet.Ask` or `kddet.ClassAttributes`, whose data are `kddet.BoxCrops` of the next two with ``flip=False``.
        ann_file: As of `kddet.BoxCrops`.
        names: As of `kddet.BoxCrops`.

    Raises:
        UsageError: If the job is not finished, its images are not these boxes, an image of training is not in ``ann_file``, or it was
            moved otherwise.
    """

    def __init__(self, folder: str, ann_file: str, names: Sequence[str]) -> None:
        self._ann_file, self._boxes = ann_file, Boxes(ann_file, names)
        index, self._table = read_answers(folder)
        self._first: dict[Any, int] = {}
        count = 0
        for image in self._boxes.images:
            self._first[image] = count
            count += len(self._boxes.of(image)[0])
        if count != index["images"]:
            raise UsageError(
                "the answers are about other boxes",
                where=folder,
                expected=f"{index['images']} boxes",
                got=f"{count} of {len(names)} classes in {ann_file}",
                fix="give the ann_file and the names of the job's kddet.BoxCrops",
            )

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Attach the answers."""
        sample = results["data_samples"]
        flip, scale = bool(sample.get("flip")), sample.get("scale_factor", (1, 1))
        if flip and sample.get("flip_direction") != "horizontal":
            raise UsageError(
                "AttachAspects follows horizontal flips alone", where="pipeline", got=sample.get("flip_direction")
            )
        see_that_only_resized(sample.ori_shape, sample.img_shape, scale, flip, sample.get("homography_matrix"))
        if sample.img_id not in self._boxes.images:
            raise UsageError(
                "training has an image that the answers do not know",
                where="train_dataloader.dataset.ann_file",
                expected=f"images of {self._ann_file}, whose boxes were asked about",
                got=f"image {sample.img_id!r} ({sample.get('img_path', 'of an unknown file')})",
                fix="train on that annotation file, or run the job on the one of training",
            )
        truth = getattr(sample.gt_instances.bboxes, "tensor", sample.gt_instances.bboxes)
        aspects = torch.full((len(truth), self._table.shape[1]), float("nan"))
        asked = moved(self._boxes.of(sample.img_id)[0], sample.ori_shape, scale, flip)
        if len(asked) and len(truth):
            away, nearest = (truth[:, None] - asked[None]).abs().amax(2).min(1)
            known = away <= 1
            aspects[known] = self._table[self._first[sample.img_id] + nearest[known]]
        sample.gt_instances.aspects = aspects
        return results


class BoxAspectTeacher(Teacher):
    """Answers with what `AttachAspects` put into the batch, for `AspectRoIHead`.

    Its answer is ``aspects`` ``(N, Q)`` of the N true boxes of the batch.

    Args:
        folder: Folder of the job, the same as that of `AttachAspects`.

    Raises:
        UsageError: If the job is not finished, or the batch has no answers.
    """

    batch = "student"

    def __init__(self, folder: str) -> None:
        index, _ = read_answers(folder)
        self._identity = str(index["answers"])[:16]

    def answers(self, batch: Any) -> Mapping[str, Any]:
        """Join the answers about all images of a batch."""
        samples = batch["data_samples"]
        if not all("aspects" in sample.gt_instances for sample in samples):
            raise UsageError(
                "the batch has no answers",
                where="train_dataloader.dataset.pipeline",
                fix="end it with kddet.AttachAspects",
            )
        return {"aspects": torch.cat([sample.gt_instances.aspects for sample in samples])}

    def fingerprint(self) -> str:
        """Identify the answers."""
        return f"box-aspects-{self._identity}"


def without_questions(student: nn.Module, cfg: Mapping[str, Any]) -> tuple[nn.Module, Mapping[str, Any]]:
    """Return a detector and its config with a plain `StandardRoIHead` in the place of an `AspectRoIHead`; others as they are."""
    head = getattr(student, "roi_head", None)
    alone = student_as_it_stands(cfg)
    if not isinstance(head, AspectRoIHead) or not isinstance(alone["model"], Mapping):
        return student, cfg
    model = copy.deepcopy(dict(alone["model"]))
    model["roi_head"] = {**model["roi_head"], "type": "StandardRoIHead"}
    del model["roi_head"]["questions"]
    return without_aspects(copy.deepcopy(student)), {**cfg, "model": model}
