"""Bring the two networks' maps, and the labels, into a form in which they can be compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdhub.api import UsageError, describe
from kdseg.memory import TensorMemory

VOID = 255
"""The label of pixels that belong to no class, in mmseg and most data sets."""

_answered = TensorMemory()
"""Labels whose values were found good, for a number of classes and an ``ignore_index``."""


def aligned_logits(loss: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both networks' logits to float32 and to the student's size.

    Args:
        loss: Name of the loss, for errors.
        student: Student logits ``(B, C, h, w)``, any float type.
        teacher: Teacher logits ``(B, C, H, W)`` of the same images; resized bilinearly where ``H, W`` is not ``h, w``.

    Returns:
        Student ``(B, C, h, w)``; teacher ``(B, C, h, w)`` without gradient. Both in float32.

    Raises:
        UsageError: For maps without four axes, of another batch or class list, or of another aspect ratio: then the two
            networks saw different crops, and resizing would compare different places.
    """
    for side, value in (("student", student), ("teacher", teacher)):
        if value.ndim != 4:
            raise UsageError(
                f"{loss} compares maps of logits",
                expected=f"{side} (B, C, h, w)",
                got=f"{side} {tuple(value.shape)}",
                fix="tap the last classifier convolution, 'decode_head.conv_seg'",
            )
    require_same_crops(loss, student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise UsageError(
            f"{loss}: student and teacher have different class lists",
            expected=f"as many teacher classes as the student's {student.shape[1]}",
            got=str(teacher.shape[1]),
            fix="take a teacher trained on the student's classes; num_classes of the two decode heads must agree",
        )
    teacher = teacher.detach().float()
    if teacher.shape != student.shape:
        # a class that is ruled out stays out: −∞ times a weight of 0 would be NaN
        teacher = functional.interpolate(
            teacher.clamp_min(-1e30), size=student.shape[-2:], mode="bilinear", align_corners=False
        )
    return student.float(), teacher


def require_same_crops(loss: str, student: Tensor, teacher: Tensor) -> None:
    """See that two maps show the same places of the same images, whatever their sizes and channels.

    Args:
        loss: Name of the loss, for errors.
        student: ``(B, C, h, w)``.
        teacher: ``(B, D, H, W)``.

    Raises:
        UsageError: If they are of another batch or aspect ratio.
    """
    if len(student) != len(teacher):
        raise UsageError(
            f"{loss}: student and teacher saw different batches",
            expected=f"{len(student)} images from the teacher",
            got=str(len(teacher)),
        )
    size = student.shape[-2:]
    if not _same_aspect(size, teacher.shape[-2:]):
        raise UsageError(
            f"{loss}: student and teacher maps differ in aspect ratio, so the networks saw different crops or padding",
            expected=f"a teacher map of the shape of {_by(size)}",
            got=_by(teacher.shape[-2:]),
            fix="batch='student' in ModelTeacher gives the teacher exactly what the student sees",
        )


def aligned_labels(
    loss: str, labels: Any, student: Tensor, *, ignore_index: int = VOID, check_values: bool = True
) -> Tensor:
    """Bring labels to ``(B, H, W)`` and see that they belong to the student's maps.

    Args:
        loss: Name of the loss, for errors.
        labels: Integers ``(B, H, W)``, or ``(B, 1, H, W)`` as mmseg stores them.
        student: Student logits or features ``(B, C, h, w)`` of the same images.
        ignore_index: Label of pixels without a class.
        check_values: Whether to look at the values too. That reads the tensor: cheap on the CPU, and on a GPU a wait for
            all the work before it. So losses ask for it on every batch on the CPU and on a module's first batch
            elsewhere, where a wrong label map already shows. (``torch._assert_async`` would not wait, but it kills the
            process's CUDA context with a message that names no value.)

    Returns:
        Labels ``(B, H, W)``, int64, at their own size.

    Raises:
        UsageError: For labels of unequal size, of floating type, or that do not fit ``student``; for values that are
            neither ``0..C-1`` nor ``ignore_index``, naming them.
    """
    if not isinstance(labels, Tensor):
        raise UsageError(
            f"{loss} needs the labels of a batch as one tensor; images of different size cannot be stacked",
            expected="integers (B, H, W) or (B, 1, H, W)",
            got=describe(labels),
            fix="crop or pad the images to one size: `size` in the model's data_preprocessor",
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UsageError(f"{loss} takes class numbers as labels", expected="integers", got=describe(labels))
    given = labels
    if labels.ndim == 4 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.ndim != 3 or len(labels) != len(student):
        raise UsageError(
            f"{loss} cannot read the labels",
            expected=f"({len(student)}, H, W) or ({len(student)}, 1, H, W), one map for each image",
            got=str(tuple(given.shape)),
        )
    if not _same_aspect(student.shape[-2:], labels.shape[-2:]):
        raise UsageError(
            f"{loss}: masks of another size than the image: labels and maps differ in aspect ratio",
            expected=f"labels of the shape of {_by(student.shape[-2:])}",
            got=_by(labels.shape[-2:]),
            fix="the labels must go through the same resize, crop and padding as the image",
        )
    labels = labels.long()
    question = (student.shape[1], ignore_index)
    if check_values and question not in _answered.of(given):
        require_classes(loss, labels, *question)
        _answered.of(given)[question] = True
    return labels


def labels_at_cells(labels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Give each cell of a coarser map the label of the pixel at its centre.

    Args:
        labels: ``(B, H, W)``.
        size: ``(h, w)`` of the map.

    Returns:
        ``(B, h, w)``, int64.
    """
    rows, columns = (
        (2 * torch.arange(cells, device=labels.device) + 1) * pixels // (2 * cells)
        for cells, pixels in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows.unsqueeze(1), columns]


def require_classes(loss: str, labels: Tensor, num_classes: int, ignore_index: int) -> None:
    """See that every label is ``0..num_classes-1`` or ``ignore_index``; reads the tensor, see `aligned_labels`.

    Raises:
        UsageError: If one is not, naming the values.
    """
    if not labels.numel():
        return
    lowest, highest = (int(value) for value in labels.aminmax())
    if lowest >= 0 and (
        highest < num_classes or (highest == ignore_index == VOID and _only_void_above(labels, num_classes))
    ):
        return
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != ignore_index)]
    if not wrong.numel():
        return
    values = wrong.unique().tolist()
    raise UsageError(
        f"{loss}: labels that are no class of the student",
        expected=f"0 to {num_classes - 1}, or {ignore_index} for pixels without a class",
        got=", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else ""),
        fix=f"set reduce_zero_label=True if 0 stands for 'no class', and turn other void labels into {ignore_index}",
    )


def _only_void_above(labels: Tensor, num_classes: int) -> bool:
    """Whether no label from ``num_classes`` to 254 occurs, for labels from 0 to 255.

    In bytes, which takes a fifth of the time of comparing 64-bit labels: less ``num_classes`` the classes wrap around to the
    highest numbers, void stands below them, and what is neither below void.
    """
    return num_classes > VOID or int((labels.to(torch.uint8) - num_classes).min()) >= VOID - num_classes


def _same_aspect(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    """Whether two maps can show the same picture, each side rounded by its stride: to one cell of the coarser map."""
    coarse, fine = sorted((one, two), key=lambda size: size[0] * size[1])
    short = 0 if coarse[0] <= coarse[1] else 1
    return abs(coarse[1 - short] * fine[short] / max(fine[1 - short], 1) - coarse[short]) <= 1


def _by(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
