"""Kullback-Leibler divergence between softened class or candidate distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from kdhub.distill.arguments import integer, number, optional, require
from kdhub.distill.losses._inputs import aligned_mask, entry_by_entry, feature_axis
from kdhub.distill.losses.reduction import REDUCTIONS, MaskedLoss, masked_mean
from kdhub.errors import UsageError

_REDUCTIONS = (*REDUCTIONS, "batchmean")


class TemperatureKL(MaskedLoss):
    """Divergence of the student's softmax from the teacher's, both softened by a temperature.

    With ``p = softmax(t/τ_T)`` and ``q = softmax(s/τ_S)`` over the classes (of a pixel, token or image) or over the
    candidates (of a query): ``L = τ_S² · mean Σ_k p_k (log p_k − log q_k)``. The factor keeps the size of the gradient
    about the same when the temperature changes; with two temperatures it is the student's that counts.

    Args:
        temperature: Divides both sides before the softmax. 1.0, the default, leaves the models' own probabilities, and the
            loss is a plain KL; image classification is often trained with 2 to 4. Too high, and all classes look alike:
            the loss tends to a mean squared error of centred logits. Too low, and only the teacher's top class is left.
        student_temperature: The student's, if it is another one. For bounded scores such as cosines 0.02 to 0.05, or their
            softmax is nearly uniform and cannot follow the teacher's. The loss shrinks with its square: raise the
            objective's weight in return. With two temperatures the minimum lies where ``s/τ_S`` and ``t/τ_T`` differ by a
            constant, no longer at equal scores. ``None`` means ``temperature``.
        teacher_temperature: The teacher's, if it is another one. Where a row's scores divided by it span more than about
            100, the lowest probabilities are 0 in float32 and teach only "never". ``None`` means ``temperature``.
        class_axis: The axis that sums to one. ``None`` means axis 1 for ``(B, C)`` and ``(B, C, H, W)``, as in torch's
            cross entropy, and must be given for three axes: -1 for tokens ``(B, N, C)``. A wrong axis gives a plausible
            loss that trains nonsense.
        reduction: What the sum over classes is averaged over. ``'positions'``: every position that counts, so the loss
            does not grow with the image; ``'batchmean'``: torch's reduction of that name, which adds up the pixels of a
            sample. They differ only beyond two axes, by the number of pixels or tokens; weights from papers that use
            torch's need the latter. ``'samples'``: first within each sample, then over all samples of the batch, also those
            of which the mask leaves nothing. It is the only one by which accumulated gradients, and those of several
            processes, are the gradient of the whole batch when there is a mask; a short text then counts as much as a
            long one.

    Inputs:
        student: Logits or scores, ``(B, C)``, ``(B, K)``, ``(B, N, C)`` or ``(B, C, H, W)``; any float type; raised to
            float32. At least 2 along the class axis.
        teacher: The student's shape; takes no gradient. −∞ says "never": probability 0, which the student is still
            taught; not for all of a row. Where the student says −∞ too, as with a mask over a vocabulary, the class adds 0.
            Where the student alone says so, the divergence is infinite: mask the same classes on both sides.
        mask: Optional, boolean or integer, not zero where something counts. Of the student's shape it leaves single
            candidates out of both softmaxes (ragged lists); without the class axis, whole positions (``(B, H, W)``,
            ``(B, N)``). A position with fewer than 2 candidates left has nothing to tell and is not counted.

    References:
        - Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2.
        - For lists of candidates: Lin et al., "Distilling Dense Representations for Ranking using Tightly-Coupled
          Teachers", arXiv 2010.11386; same value as sentence-transformers' ``DistillKLDivLoss``.

    Requirements:
        The same classes, or candidates, in the same order on both sides: kdhub compares class names where it knows them.
        Raw scores, not probabilities.

    Relations:
        - `MSE` on logits also matches their offset, which softmax ignores; it is the limit of high temperature when both
          are centred.
        - Margin-MSE (kdhub-retrieval) keeps the size of score differences where a softmax saturates.

    Example:
        Pixel-wise distillation of a segmentation head, its temperature falling over 20,000 iterations::

            logits=dict(
                loss=dict(
                    type='kdhub.TemperatureKL',
                    temperature=dict(type='kdhub.LinearSchedule', start=4.0, end=1.0, steps=20000)),
                student='decode_head.conv_seg',
                teacher='decode_head.conv_seg',
                weight=1.0)
    """

    def __init__(
        self,
        temperature: float = 1.0,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
        class_axis: int | None = None,
        reduction: str = "positions",
    ) -> None:
        super().__init__(reduction, _REDUCTIONS)
        require("TemperatureKL", number(above=0), temperature=temperature)
        own = {"student_temperature": student_temperature, "teacher_temperature": teacher_temperature}
        require("TemperatureKL", optional(number(above=0)), **own)
        self.temperature = temperature
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        require("TemperatureKL", optional(integer()), class_axis=class_axis)
        self.class_axis = class_axis

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits or scores of one shape; see the class for the inputs."""
        return temperature_kl(
            student,
            teacher,
            mask,
            student_temperature=self.temperature if self.student_temperature is None else self.student_temperature,
            teacher_temperature=self.temperature if self.teacher_temperature is None else self.teacher_temperature,
            class_axis=self.class_axis,
            reduction=self.reduction,
        )


def temperature_kl(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    class_axis: int | None = None,
    reduction: str = "positions",
) -> Tensor:
    """Compute the loss of `TemperatureKL` as a scalar.

    Raises:
        UsageError: For fewer than 2 classes, a temperature that is not positive, unequal shapes, a mask that fits nothing;
            for teacher scores that make no distribution (NaN, +∞, all of a row −∞) and for a student that rules out (−∞)
            what the teacher does not, naming the row, when the tensors are on the CPU. Elsewhere reading them would stall
            the device, and the run's guard of non-finite terms speaks.
    """
    require(
        "TemperatureKL",
        number(above=0),
        student_temperature=student_temperature,
        teacher_temperature=teacher_temperature,
    )
    student, teacher, _ = entry_by_entry("TemperatureKL", student, teacher)
    axis = feature_axis("TemperatureKL", "class_axis", class_axis, student.ndim)
    if student.shape[axis] < 2:
        raise UsageError(
            "TemperatureKL needs at least 2 classes or candidates: over one the softmax is constant, and loss and gradient"
            " would be 0",
            expected="2 or more along the class axis",
            got=f"{tuple(student.shape)}, class axis {axis}",
        )
    counted = None
    if mask is not None:
        candidates = aligned_mask("TemperatureKL", "class_axis", mask, student.shape, class_axis)
        counted = candidates.expand_as(student).sum(axis, keepdim=True) >= 2
        # a position that does not count keeps all its candidates, at 0: its softmax, and so its gradient, stays finite
        excluded = ~candidates & counted
        student, teacher = (
            value.masked_fill(~counted, 0.0).masked_fill(excluded, -torch.inf) for value in (student, teacher)
        )

    log_q = torch.log_softmax(student / student_temperature, axis)
    log_p = torch.log_softmax(teacher / teacher_temperature, axis)
    p = log_p.exp()
    # where p is 0 its logarithm may be −∞, and so may the student's: 0 · −∞ is NaN, and the limit is 0
    never = p == 0
    divergence = (p * (log_p.masked_fill_(never, 0.0) - log_q.masked_fill(never, 0.0))).sum(axis)

    loss = _reduce(divergence, None if counted is None else counted.squeeze(axis), reduction)
    if loss.device.type == "cpu" and not loss.isfinite():
        _require_distributions(teacher, axis)
        _require_support(student, p, axis)
    return loss * student_temperature**2


def _reduce(divergence: Tensor, counted: Tensor | None, reduction: str) -> Tensor:
    if reduction != "batchmean":
        return masked_mean(divergence, counted, reduction)
    if counted is None:
        return divergence.sum() / max(len(divergence), 1)
    samples = counted.reshape(len(counted), -1).any(1).sum()
    return torch.where(counted, divergence, 0.0).sum() / samples.clamp(min=1)


def _require_distributions(teacher: Tensor, axis: int) -> None:
    """Raise, naming the first position at which the teacher's scores have no softmax."""
    scores = teacher.movedim(axis, -1)
    reasons = {
        "NaN": scores.isnan().any(-1),
        "+inf": scores.isposinf().any(-1),
        "-inf for every candidate": scores.isneginf().all(-1),
    }
    for reason, rows in reasons.items():
        if rows.any():
            row = rows.nonzero()[0].tolist()
            raise UsageError(
                f"TemperatureKL: teacher scores of row {row[0] if len(row) == 1 else tuple(row)} have no softmax",
                expected="finite scores; -inf for a candidate to be ruled out, not for all of a row",
                got=reason,
                fix="mend the stored scores, or leave the row out with `mask`",
            )


def _require_support(student: Tensor, p: Tensor, axis: int) -> None:
    """Raise, naming the first position at which the student rules out what the teacher does not."""
    ruled_out = (student.isneginf() & (p > 0)).movedim(axis, -1)
    if ruled_out.any():
        *row, entry = ruled_out.nonzero()[0].tolist()
        raise UsageError(
            f"TemperatureKL: the student rules out (-inf) class or candidate {entry} of row"
            f" {row[0] if len(row) == 1 else tuple(row)} and the teacher does not: the divergence is infinite",
            expected="-inf at the same entries on both sides",
            fix="mask the teacher's logits as the student's, tap both sides before the mask, or leave the entry out with"
            " `mask`",
        )
