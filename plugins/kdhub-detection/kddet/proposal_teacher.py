"""A two-stage teacher whose second stage judges the student's proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.api import AfterStudent, ModelTeacher, Teacher, UsageError


class ProposalTeacher(Teacher):
    """Answers what its second stage makes of the boxes that the student has just looked at.

    Of two detectors each proposes other boxes, so that the outputs of their second stages cannot be compared. This teacher
    computes features of its own, and reads them at the student's boxes of this step: those that the student samples for its
    own loss, positive and negative.

    Its answers are ``scores`` ``(N, C+1)``, ``boxes`` ``(N, 4C)`` or ``(N, 4)``, in the order of the outputs of the student's
    ``roi_head.bbox_head``.

    Args:
        model: As of `kdhub.ModelTeacher`; a two-stage detector of mmdet.
        student: The student; kdhub gives it.
        checkpoint: As of `kdhub.ModelTeacher`.
        class_names: As of `kdhub.ModelTeacher`.
        own_weights: As of `kdhub.ModelTeacher`.
        extractor: Path of the module of the student that is given the boxes.

    Raises:
        UsageError: If the teacher has no second stage, or the student no such module.
    """

    batch = "after_student"

    def __init__(
        self,
        model: Mapping[str, Any] | str | Any,
        student: nn.Module,
        checkpoint: str | None = None,
        class_names: Sequence[str] | None = None,
        own_weights: bool = False,
        extractor: str = "roi_head.bbox_roi_extractor",
    ) -> None:
        self._teacher = ModelTeacher(model, checkpoint, class_names=class_names, own_weights=own_weights)
        self.class_names = self._teacher.class_names
        head = getattr(self._teacher.model, "roi_head", None)
        if not hasattr(head, "_bbox_forward"):
            raise UsageError(
                "ProposalTeacher: the teacher has no second stage",
                expected="a two-stage detector of mmdet",
                got=type(self._teacher.model).__name__,
            )
        try:
            module = student.get_submodule(extractor)
        except AttributeError:
            raise UsageError(
                "ProposalTeacher: the student has no such module",
                got=extractor,
                fix="set extractor, or take kdhub.ModelTeacher",
            ) from None
        self._boxes: Tensor | None = None
        module.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._boxes = (given[1] if len(given) > 1 else named["rois"]).detach()

    def preprocess(self, raw: Any, training: bool) -> Any:
        """Give the teacher its own view of the collated batch."""
        return self._teacher.preprocess(raw, training)

    def answers(self, batch: AfterStudent) -> dict[str, Tensor]:
        """Judge the boxes of the student's last pass."""
        if self._boxes is None:
            raise UsageError("ProposalTeacher: the student has looked at no boxes yet")
        boxes = self._boxes
        detector = self._teacher.model
        device_type = boxes.device.type
        with torch.no_grad(), torch.autocast(device_type, enabled=False):
            features = detector.extract_feat(batch.batch["inputs"])
            results = detector.roi_head._bbox_forward(features, boxes.float())
        return {"scores": results["cls_score"], "boxes": results["bbox_pred"]}

    def fingerprint(self) -> str:
        """Identify it by weights and config."""
        return f"proposals-{self._teacher.fingerprint()}"

    def facts(self) -> dict[str, Any]:
        """Describe the model that answers."""
        return self._teacher.facts()

    def to(self, device: torch.device) -> None:
        """Move to the student's device."""
        self._teacher.to(device)
