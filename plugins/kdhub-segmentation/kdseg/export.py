"""The student as a config and weights that mmseg's own ``init_model`` loads, with kdhub not installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from kdhub.api import write_library_student


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]) -> str | None:
    """Save a student if it is one of mmseg's segmentors.

    Args:
        student: Any student.
        path: Existing empty folder; gets ``config.py`` and ``student.pth``.
        cfg: The run's config.
        metainfo: The training data set's.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if the student is not mmseg's, or was built
        elsewhere than from ``cfg``.
    """
    # a segmentor's class has imported the module; importing it for everybody else's student would cost seconds
    models = sys.modules.get("mmseg.models")
    if models is None or not isinstance(student, models.BaseSegmentor):
        return None
    written = write_library_student(
        student,
        path,
        cfg,
        metainfo,
        scope="mmseg",
        pack="PackSegInputs",
        around=lambda pipeline: {"test_pipeline": pipeline},
        training_only=("init_cfg", "checkpoint_path", "batch_augments", "train_cfg"),
    )
    return "mmseg.apis.init_model('student/config.py', 'student/student.pth', device='cpu')" if written else None
