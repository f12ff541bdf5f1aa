"""What the losses on feature maps ask of their inputs."""

from __future__ import annotations

from torch import Tensor

from kdhub.api import UsageError, to_float32


def require_maps(loss: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two maps to float32, the teacher's without gradient.

    Args:
        loss: Name of the loss, for errors.
        student: ``(B, C, h, w)``.
        teacher: The student's shape.

    Raises:
        UsageError: For anything but maps of one shape; torch would broadcast them to a plausible-looking loss.
    """
    if student.ndim != 4 or student.shape != teacher.shape:
        raise UsageError(
            f"{loss} compares feature maps of one shape",
            expected="student and teacher (B, C, h, w)",
            got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
            fix="set `adapter` in the objective: kdhub.Conv1x1 for another width, kdhub.EachLevel around it for a pyramid",
        )
    return to_float32(student), to_float32(teacher).detach()
