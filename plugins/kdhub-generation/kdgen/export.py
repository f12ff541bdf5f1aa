"""A student of diffusers as a folder that diffusers loads with kdhub not installed."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn


def export_student(student: nn.Module, path: Path) -> str | None:
    """Save a network of diffusers.

    Args:
        student: Any student.
        path: Existing empty folder.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if it is no model of diffusers.
    """
    library = sys.modules.get("diffusers")  # importing it for everybody else's student would cost seconds
    if library is None or not isinstance(student, library.ModelMixin):
        return None
    student.save_pretrained(path, safe_serialization=True)
    return f"diffusers.{type(student).__name__}.from_pretrained('student')"
