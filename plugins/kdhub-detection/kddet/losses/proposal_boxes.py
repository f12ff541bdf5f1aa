"""Localisation distillation: where the teacher's second stage would move the student's own proposals."""

from __future__ import annotations

from torch import Tensor, nn

from kdhub.api import UsageError, to_float32


class ProposalBoxes(nn.Module):
    """Distance of the student's box corrections from the teacher's, on the student's proposals.

    For proposal i let ``c`` be the class that the teacher finds likeliest apart from background, and ``w_i`` its probability
    that there is an object: ``L = Σ_i w_i · mean_4 |s_{i,c} − t_{i,c}| / Σ_i w_i``. What the teacher holds for background has
    no box to teach.

    Args:
        There are none.

    Inputs:
        student: ``(N, 4C)``, or ``(N, 4)`` of a head that corrects boxes of all classes alike; any float type, raised to float32.
        teacher: Of the same proposals, with the same coding of boxes; the student's shape; takes no gradient.
        teacher_scores: ``(N, C+1)``, logits, background last; take no gradient.

    References:
        - Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation", NeurIPS 2017, section 3.3, has
          the teacher's regression as an upper bound beside the labels; this loss needs no labels.
        - Zheng et al., "Localization Distillation for Dense Object Detection", arXiv 2102.12252, for why localisation is
          worth a term of its own. Its distributions over box edges are those of GFL heads, and not of these.

    Requirements:
        The same classes in the same order, and the same target means and deviations of the box coder. The proposals are the
        student's: `ProposalTeacher`.

    Relations:
        - `kdhub.TemperatureKL` on the scores of the same proposals is the other half of the second stage.
        - `kdhub.SmoothL1` on all corrections would teach those of classes that are not there.

    Example:
        The second stage of a Faster R-CNN on its own proposals::

            boxes=dict(
                loss=dict(type='kddet.ProposalBoxes'),
                student=dict(type='kdhub.ModuleOutput', path='roi_head.bbox_head', key=1),
                teacher=dict(teacher='boxes', teacher_scores='scores'),
                weight=1.0)
    """

    depends_on_split = "count"  # weights are balanced over the proposals of one process

    def forward(self, student: Tensor, teacher: Tensor, teacher_scores: Tensor) -> Tensor:
        """Compare corrections of the same proposals; see the class for the inputs."""
        classes = teacher_scores.shape[-1] - 1
        if student.ndim != 2 or student.shape != teacher.shape or student.shape[1] not in (4, 4 * classes):
            raise UsageError(
                "ProposalBoxes compares box corrections of the same proposals and classes",
                expected=f"student and teacher (N, 4) or (N, {4 * classes})",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="take a teacher with the student's classes and its reg_class_agnostic",
            )
        student, teacher = to_float32(student), to_float32(teacher).detach()
        probabilities = to_float32(teacher_scores).detach().softmax(1)
        weight = 1 - probabilities[:, -1]
        distance = (student - teacher).abs().unflatten(1, (-1, 4)).mean(2)
        if distance.shape[1] > 1:
            distance = distance.gather(1, probabilities[:, :-1].argmax(1, keepdim=True))
        # without proposals, or with background alone, exactly 0
        return (weight * distance.squeeze(1)).sum() / weight.sum().clamp(min=1e-6)
