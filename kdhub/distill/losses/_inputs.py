"""What the losses ask of their inputs, and the one mean that all of them take."""

from __future__ import annotations

import torch
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.values import to_float32


def entry_by_entry(
    loss: str, student: Tensor, teacher: Tensor, mask: Tensor | None = None, axis: int | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Make two values comparable entry by entry.

    Args:
        loss: Name of the loss, for errors.
        student: Any shape.
        teacher: The student's shape.
        mask: As `aligned_mask` takes it, or ``None``.
        axis: The feature axis as configured; looked at only when the mask lacks it.

    Returns:
        Student in float32; teacher in float32 and without gradient; the mask with as many axes as they have. Both values
        are 0 where the mask is, so that padding of any content, even NaN, leaves value and gradient alone.

    Raises:
        UsageError: If the shapes differ; torch would broadcast them to a plausible-looking loss.
    """
    if student.shape != teacher.shape:
        raise UsageError(
            f"{loss} compares entry by entry, and student and teacher differ in shape",
            expected=f"teacher {tuple(student.shape)} as the student",
            got=f"teacher {tuple(teacher.shape)}",
            fix="set `adapter` in the objective",
        )
    student, teacher = to_float32(student), to_float32(teacher).detach()
    if mask is None:
        return student, teacher, None
    mask = aligned_mask(loss, "axis", mask, student.shape, axis)
    return student.masked_fill(~mask, 0.0), teacher.masked_fill(~mask, 0.0), mask


def feature_axis(loss: str, argument: str, axis: int | None, rank: int) -> int:
    """Say along which axis one vector (of classes, of features) lies.

    Args:
        loss: Name of the loss, for errors.
        argument: Name of its constructor argument, for errors.
        axis: The axis asked for; ``None`` takes axis 1, as torch's own losses do, where that is not a guess: for
            ``(B, C)`` and from four axes on, as in ``(B, C, H, W)``.
        rank: Number of axes of the value.

    Returns:
        The axis, from 1 on.

    Raises:
        UsageError: For ``None`` with three axes, where ``(B, N, C)`` tokens and ``(B, C, L)`` sequences look alike; for
            the batch axis; for an axis that the value does not have.
    """
    if axis is None:
        if rank == 2 or rank >= 4:
            return 1
        raise UsageError(
            f"{loss} cannot tell {argument} of a value with {rank} axes",
            fix=f"set {argument}=-1 for tokens (B, N, C), {argument}=1 for channels first (B, C, L)",
        )
    if not -rank < axis < rank or axis == 0:
        raise UsageError(
            f"{loss} has no such {argument}",
            expected=f"1 to {rank - 1}, or -{rank - 1} to -1; axis 0 is the batch"
            if rank > 1
            else "more than one axis",
            got=str(axis) if rank > 1 else "a value of shape (B,)",
        )
    return axis % rank


def aligned_mask(loss: str, argument: str, mask: Tensor, shape: torch.Size, axis: int | None) -> Tensor:
    """Give a mask as many axes as the value it belongs to.

    Args:
        loss: Name of the loss, for errors.
        argument: Name of the constructor argument for ``axis``, for errors.
        mask: Boolean or integer, not zero where an entry counts. Either with as many axes as the value, each of the
            value's size or 1; or of the value's shape without the feature axis.
        shape: Shape of the value.
        axis: The feature axis as configured; looked at only when the mask lacks it.

    Returns:
        Boolean mask that broadcasts to ``shape`` without adding axes.

    Raises:
        UsageError: For a mask of another shape or of floating type.
    """
    if mask.is_floating_point():
        raise UsageError(f"{loss} takes a mask, not weights", expected="bool or integer", got=str(mask.dtype))
    mask = mask != 0
    if mask.ndim == len(shape) and all(size in (1, full) for size, full in zip(mask.shape, shape, strict=True)):
        return mask
    if mask.ndim == len(shape) - 1:
        axis = feature_axis(loss, argument, axis, len(shape))
        if mask.shape == shape[:axis] + shape[axis + 1 :]:
            return mask.unsqueeze(axis)
    raise UsageError(
        f"{loss} cannot lay the mask over the values",
        expected=f"{tuple(shape)}, the same with some sizes 1, or that without its feature axis",
        got=str(tuple(mask.shape)),
    )
