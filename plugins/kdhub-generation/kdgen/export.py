"""A student of diffusers as a folder that diffusers loads with kdhub not installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from kdhub.api import config_text, student_as_it_stands


def export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any]) -> str | None:
    """Save a network of diffusers, and beside it ``model.py``, the config of the denoiser around it: a teacher's ``model``.

    Args:
        student: Any student.
        path: Existing empty folder.
        cfg: The run's config.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if it is no model of diffusers.
    """
    library = sys.modules.get("diffusers")  # importing it for everybody else's student would cost seconds
    if library is None or not isinstance(student, library.ModelMixin):
        return None
    student.save_pretrained(path, safe_serialization=True)
    alone = student_as_it_stands(cfg)
    if isinstance(alone["model"], Mapping):
        (path / "model.py").write_text(config_text(Config(alone)), encoding="utf-8")
    return f"diffusers.{type(student).__name__}.from_pretrained('student')"
