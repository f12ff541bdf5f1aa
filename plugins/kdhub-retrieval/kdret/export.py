"""The student as a folder that sentence-transformers loads, with kdhub not installed."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn


def export_student(student: nn.Module, path: Path) -> str | None:
    """Save a student if it is one of kdret's models.

    Args:
        student: Any student.
        path: Existing empty folder.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if the student is not one of ours.
    """
    # a student of ours has imported the module; importing it for everybody else's would cost seconds
    module = sys.modules.get("kdret.text_model")
    if module is None or not isinstance(student, module.TextModel):
        return None
    from kdret.quiet import no_progress_bars

    with no_progress_bars():
        # sentence-transformers' own model card asks the hub about the base model
        student.encoder.save(str(path), create_model_card=False)
    return f"sentence_transformers.{student.model_class.__name__}('student')"
