"""The student as a folder that transformers loads with kdhub not installed, tokenizer included."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn


def export_student(student: nn.Module, path: Path, metainfo: Mapping[str, Any]) -> str | None:
    """Save a student that was trained on texts of kdlm.

    Args:
        student: Any student.
        path: Existing empty folder.
        metainfo: The training data set's; its ``tokenizer`` says that the data are kdlm's.

    Returns:
        The line of Python that loads it from the run's folder, or ``None`` if the student is not one of ours.
    """
    name = metainfo.get("tokenizer")
    # importing transformers for everybody else's student would cost seconds
    library, peft = sys.modules.get("transformers"), sys.modules.get("peft")
    if name is None or library is None:
        return None
    if peft is not None and isinstance(student, peft.PeftModel):
        student = copy.deepcopy(student).merge_and_unload()
    if not isinstance(student, library.PreTrainedModel):
        return None
    from kdlm.tokenizer import load_tokenizer

    student.save_pretrained(path)
    load_tokenizer(name).save_pretrained(path)
    return f"transformers.{type(student).__name__}.from_pretrained('student')"
