"""One collated batch, seen by the student and by every teacher through their own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseModel
from torch import nn

from kdhub.distill.teachers import Teacher
from kdhub.errors import UsageError

SAMPLE_KEYS = "sample_keys"
"""Where a batch says which samples it holds, if a stored teacher needs to know."""


class DistillPreprocessor(nn.Module):
    """Gives ``dict(student=..., teachers={name: ...})`` from the collated batch.

    It stands where mmengine calls a model's ``data_preprocessor``, so the raw batch reaches every teacher under
    plain and distributed training alike. It owns no parameters: models are held outside the module tree.

    Args:
        student: The student; its own ``data_preprocessor`` is used.
        teachers: Teachers by name.

    Raises:
        UsageError: If the student mixes images in its preprocessor while a teacher is stored or reads the raw batch: the
            two would see different images.
    """

    def __init__(self, student: BaseModel, teachers: Mapping[str, Teacher]) -> None:
        super().__init__()
        self._student = (student,)
        self._teachers = dict(teachers)
        if getattr(student.data_preprocessor, "batch_augments", None):
            for name, teacher in self._teachers.items():
                if teacher.batch == "keys":
                    raise UsageError(
                        f"the student's data_preprocessor has batch_augments, and teacher {name!r} is stored: no store has"
                        " the mixed images",
                        fix="remove batch_augments, or use the live teacher with batch='student'",
                    )
                if teacher.batch == "raw":
                    raise UsageError(
                        f"the student's data_preprocessor has batch_augments, and teacher {name!r} reads the raw batch: they"
                        " would see different images",
                        fix=f"set batch='student' on teacher {name!r}, or remove batch_augments",
                    )

    def forward(self, data: Any, training: bool = False) -> dict[str, Any]:
        """Preprocess for everybody.

        Args:
            data: The collated batch.
            training: Whether preprocessing pads, and the student's augments, as in training; teachers never augment.
        """
        keys = None
        if isinstance(data, Mapping) and SAMPLE_KEYS in data:
            keys = data[SAMPLE_KEYS]
            data = {name: value for name, value in data.items() if name != SAMPLE_KEYS}
        # the student's preprocessor may write into the samples, so whoever wants the raw batch goes first
        own = {
            name: teacher.preprocess(keys if teacher.batch == "keys" else data, training)
            for name, teacher in self._teachers.items()
            if teacher.batch != "student"
        }
        student = self._student[0].data_preprocessor(data, training)
        return {"student": student, "teachers": {name: own.get(name, student) for name in self._teachers}}
