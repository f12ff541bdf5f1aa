"""Which adapters would bring a student's value to the teacher's shape: the remedy in the shape probe's error."""

from __future__ import annotations

import math
from typing import Any


def propose_adapter(student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]) -> list[dict[str, Any]] | None:
    """Write the ``adapter`` fragment of an objective.

    Args:
        student_shape: Shape of the student's value, batch axis first.
        teacher_shape: Shape of the teacher's, batch axis first.

    Returns:
        Component dicts to apply in order, or ``None`` where the core has none to offer: equal shapes, different batch sizes
        or numbers of axes, anything but ``(B, D)``, ``(B, N, D)`` and ``(B, C, H, W)``.
    """
    same_kind = len(student_shape) == len(teacher_shape) and student_shape[:1] == teacher_shape[:1]
    if not same_kind or student_shape == teacher_shape or 0 in (*student_shape, *teacher_shape):
        return None
    if len(student_shape) == 2:
        return [_linear(student_shape[-1], teacher_shape[-1])]
    if len(student_shape) == 3:
        return _for_tokens(student_shape, teacher_shape)
    if len(student_shape) == 4:
        return _for_maps(student_shape, teacher_shape)
    return None


def _for_tokens(student: tuple[int, ...], teacher: tuple[int, ...]) -> list[dict[str, Any]]:
    adapters = []
    if student[1] != teacher[1]:
        adapters.append({"type": "kdhub.TokenPool", **_image_tokens(student[1], teacher[1])})
    if student[2] != teacher[2]:
        adapters.append(_linear(student[2], teacher[2]))
    return adapters


def _image_tokens(student: int, teacher: int) -> dict[str, Any]:
    """Recognise square images, with or without a class token: 197 is 14² + 1; otherwise pool in order."""
    for prefix in (0, 1):
        side = math.isqrt(student - prefix)
        if side > 1 and side**2 == student - prefix and math.isqrt(teacher - prefix) ** 2 == teacher - prefix > 0:
            return {"keep_prefix": prefix, "grid": (side, side)} if prefix else {"grid": (side, side)}
    return {}


def _for_maps(student: tuple[int, ...], teacher: tuple[int, ...]) -> list[dict[str, Any]]:
    """Resize and project; the two commute, so the projection goes where the map is smaller."""
    adapters: list[dict[str, Any]] = []
    if student[2:] != teacher[2:]:
        adapters.append({"type": "kdhub.SpatialResize"})
    if student[1] != teacher[1]:
        projection = {"type": "kdhub.Conv1x1", "in_channels": student[1], "out_channels": teacher[1]}
        enlarged = math.prod(teacher[2:]) > math.prod(student[2:])
        adapters.insert(0 if enlarged else len(adapters), projection)
    return adapters


def _linear(student: int, teacher: int) -> dict[str, Any]:
    return {"type": "kdhub.Linear", "in_features": student, "out_features": teacher}
