"""What the losses on logits share: two sides of one shape, classes that are left out, and labels that are classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdhub.api import MaskedLoss, UsageError, describe, integer, masked_mean, require, to_float32

OUT = -1e30
"""Logit of a class that is left out: probability 0, and neither its product with 0 nor its difference from itself is NaN."""


class Compared(NamedTuple):
    """Two sides that can be compared.

    Attributes:
        student: Logits (B, C), float32 or wider; -1e30 where a class is left out, 0 in rows that do not count.
        teacher: The same without gradient.
        classes: Which classes are there, bool (B, C).
        rows: Which samples count, bool (B,); ``None`` for all.
        labels: Class of each sample (B,), int64; 0 in rows that do not count. Empty (0,) if the loss takes none.
    """

    student: Tensor
    teacher: Tensor
    classes: Tensor
    rows: Tensor | None
    labels: Tensor


class LogitLoss(MaskedLoss):
    """Base of the losses on logits (B, C): sees to shapes, types, masks and labels, and takes the mean over samples.

    Args:
        reduction: ``'positions'`` averages over the samples that count, ``'samples'`` over all of them; they differ only with
            a mask or with labels that are ``ignore_index``.
        ignore_index: Label of a sample that has none; it does not count.
    """

    def __init__(self, reduction: str = "positions", ignore_index: int = -100) -> None:
        super().__init__(reduction)
        require(type(self).__name__, integer(), ignore_index=ignore_index)
        self.ignore_index = ignore_index
        self._looked_at_labels = False

    def compared(self, student: Tensor, teacher: Tensor, mask: Tensor | None, labels: Tensor | None = None) -> Compared:
        """Bring both sides into the form in which every loss reads them.

        Args:
            student: Logits (B, C), any float type. -∞ on both sides leaves a class out, as ``mask`` does.
            teacher: The student's shape.
            mask: Bool or integer, not zero where something counts: (B,) for samples; (B, C) or (1, C) for classes, such as a
                vocabulary that is padded.
            labels: Integers (B,).

        Raises:
            UsageError: For sides of another shape, fewer than 2 classes, a mask of another shape, and labels that are soft, of
                another number, no class of the list, or a class that is left out.
        """
        owner = type(self).__name__
        if student.ndim != 2 or student.shape != teacher.shape:
            raise UsageError(
                f"{owner} compares logits of the same samples over the same classes",
                expected="student and teacher (B, C)",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="take a teacher of the student's classes, and tap the layer that gives the logits",
            )
        if student.shape[1] < 2:
            raise UsageError(
                f"{owner} needs at least 2 classes: over one the softmax is constant, and loss and gradient would be 0",
                got=f"logits {tuple(student.shape)}",
            )
        student, teacher = to_float32(student), to_float32(teacher).detach()
        rows, classes = self._counted(mask, student)
        out = student.isneginf() & teacher.isneginf()
        classes = ~out if classes is None else classes & ~out
        if labels is None:
            labels = torch.empty(0, dtype=torch.long, device=student.device)
        else:
            labels = self._hard(labels, student)
            with_label = labels != self.ignore_index
            rows = with_label if rows is None else rows & with_label
            labels = labels.masked_fill(~rows, 0)
            self._look_at(labels, classes, rows)
        student, teacher = (side.masked_fill(~classes, OUT) for side in (student, teacher))
        if rows is not None:
            student, teacher = (side.masked_fill(~rows.unsqueeze(1), 0.0) for side in (student, teacher))
        return Compared(student, teacher, classes, rows, labels)

    def mean(self, values: Tensor, compared: Compared) -> Tensor:
        """Average one value a sample (B,) over the samples that count."""
        return masked_mean(values, compared.rows, self.reduction)

    def _counted(self, mask: Any, student: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if mask is None:
            return None, None
        samples, classes = student.shape
        fits = isinstance(mask, Tensor) and tuple(mask.shape) in ((samples,), (samples, classes), (1, classes))
        if not fits or mask.is_floating_point():
            raise UsageError(
                f"{type(self).__name__} cannot lay the mask over the logits",
                expected=f"bool or integer, ({samples},) for samples, ({samples}, {classes}) or (1, {classes}) for classes",
                got=describe(mask),
            )
        return (mask != 0, None) if mask.ndim == 1 else (None, (mask != 0).expand_as(student))

    def _hard(self, labels: Any, student: Tensor) -> Tensor:
        owner = type(self).__name__
        if isinstance(labels, Tensor) and (labels.is_floating_point() or labels.shape == student.shape):
            raise UsageError(
                f"{owner} needs one class a sample, and these labels are soft, as mixup makes them",
                expected=f"integers ({len(student)},)",
                got=describe(labels),
                fix="leave mixup out, or take a loss without labels: kdhub.TemperatureKL or kdcls.RescaledKL",
            )
        if not isinstance(labels, Tensor) or labels.dtype == torch.bool or labels.shape != student.shape[:1]:
            raise UsageError(
                f"{owner} cannot read the labels", expected=f"integers ({len(student)},)", got=describe(labels)
            )
        return labels.long()

    def _look_at(self, labels: Tensor, classes: Tensor, rows: Tensor | None) -> None:
        """See that labels are classes: in each batch on the CPU, in the first elsewhere, where reading makes the device wait."""
        if self._looked_at_labels and not labels.is_cpu:
            return
        self._looked_at_labels = True
        count = classes.shape[1]
        outside = labels[(labels < 0) | (labels >= count)]
        if outside.numel():
            raise UsageError(
                f"{type(self).__name__}: labels that are no class of the student",
                expected=f"0 to {count - 1}, or {self.ignore_index} for a sample without a label",
                got=", ".join(map(str, outside.unique().tolist()[:8])),
                fix="compare the number of classes of the model with that of the data",
            )
        there = classes.gather(1, labels.unsqueeze(1)).squeeze(1)
        left_out = labels[~there if rows is None else ~there & rows]
        if left_out.numel():
            raise UsageError(
                f"{type(self).__name__}: the label of a sample is a class that the mask, or -inf, leaves out",
                got=", ".join(map(str, left_out.unique().tolist()[:8])),
                fix="mask only what can be no answer",
            )


def kl(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """Return KL(softmax(teacher) ‖ softmax(student)) of each row: (B, C) to (B,)."""
    log_p, log_q = teacher_logits.log_softmax(1), student_logits.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)
