"""The student as a config and weights that mmdet's own ``init_detector`` loads, with kdhub not installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kdhub.api import write_library_student


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]) -> str | None:
    """Save a student if it is one of mmdet's detectors.

    Args:
        student: Any student.
        path: Existing empty folder; gets ``config.py`` and ``student.pth``.
        cfg: The run's config.
        metainfo: The training data set's.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if the student is not mmdet's, or was built
        elsewhere than from ``cfg``.
    """
    # a detector's class has imported the module; importing it for everybody else's student would cost seconds
    detectors = sys.modules.get("mmdet.models.detectors")
    if detectors is None or not isinstance(student, detectors.BaseDetector):
        return None
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
