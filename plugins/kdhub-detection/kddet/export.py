"""The student as a config and weights that mmdet's own ``init_detector`` loads, with kdhub not installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdhub.api import student_as_it_stands, write_library_student


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]) -> str | None:
    """Save a student if it is one of mmdet's detectors, or an image-text model that was adapted.

    Args:
        student: Any student.
        path: Existing empty folder; gets ``config.py`` and ``student.pth``.
        cfg: The run's config.
        metainfo: The training data set's.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if the student is not mmdet's, or was built
        elsewhere than from ``cfg``.
    """
    adapting = sys.modules.get("kddet.regions.crop_classifier")
    if adapting is not None and isinstance(student, adapting.CropClassifier):
        line: str = student.model.save(path)
        return line
    # a detector's class has imported the module; importing it for everybody else's student would cost seconds
    detectors = sys.modules.get("mmdet.models.detectors")
    detector = detectors is not None and isinstance(student, detectors.BaseDetector)
    widening = sys.modules.get("kddet.questions.widened")
    if (
        widening is not None
        and not detector
        and (without := widening.export_without_aspects(student, path, cfg)) is not None
    ):
        return str(without)
    if not detector:
        return None
    if (asking := sys.modules.get("kddet.box_aspects")) is not None:
        student, cfg = asking.without_questions(student, cfg)
    head = getattr(getattr(student, "roi_head", None), "bbox_head", None)
    names = sys.modules.get("kddet.regions.text_classifier")
    if names is not None and isinstance(getattr(head, "fc_cls", None), names.TextClassifier):
        student, cfg, metainfo = _baked(student, head, path, cfg, metainfo)
    written = write_library_student(
        student,
        path,
        cfg,
        metainfo,
        scope="mmdet",
        pack="PackDetInputs",
        # where inference_detector looks for the steps, and init_detector for the colours
        around=lambda pipeline: {"test_dataloader": {"dataset": {"type": "CocoDataset", "pipeline": pipeline}}},
        # not train_cfg, in which two-stage detectors keep more than assigners
        training_only=("init_cfg", "checkpoint_path", "batch_augments"),
    )
    return "mmdet.apis.init_detector('student/config.py', 'student/student.pth', device='cpu')" if written else None


def _baked(
    student: nn.Module, head: Any, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any], Mapping[str, Any]]:
    """Turn a detector of names into a plain one, and write beside it what other names need.

    Raises:
        UsageError: If the data set has the names in another order.
    """
    from kddet.regions.baked import baked_config, baked_weights, write_open

    alone = student_as_it_stands(cfg)
    if not isinstance(alone["model"], Mapping):
        return student, cfg, metainfo
    if classes := metainfo.get("classes"):
        head.fc_cls.names.see_that_labels(classes)
    write_open(path, head, head.fc_cls.names)
    weights = baked_weights(student.state_dict(), head)
    plain = {**cfg, "model": baked_config(alone["model"], head)}
    return _Weights(weights), plain, {**metainfo, "classes": head.fc_cls.names.names}


class _Weights:
    """Weights that were changed on the way out, where a model would be written."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def state_dict(self) -> Mapping[str, Tensor]:
        return self._weights
