"""LELP: few classes, each split along the directions in which the teacher's embeddings of it differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, number, require, to_float32
from kdlm.projections import Projections


class LELP(nn.Module):
    """Cross-entropy with the teacher's classes, each split into S pseudo-classes along directions of its embeddings.

    With ``u_{c,s} = v_{c,s} · (h − μ_c) / σ_c``, ``q(s|c) = softmax_s(u_{c,s} / β)`` and ``p(c,s) = softmax_c(z^T / τ) q(s|c)``:
    ``L = −mean_B Σ_{c,s} p(c,s) log softmax(z^S)_{c,s}``. A class is predicted by the sum over its pseudo-classes, as
    `kdlm.SubclassModel` does.

    Args:
        projections: File that the job `kdlm.fit_projections` wrote, or built `kdlm.projections.Projections`.
        temperature: τ, of the teacher's classes alone; 1.0, the default. The method's grid is 1, 2 and 4.
        subclass_temperature: β; 1.0, the default. The grid is 0.5, 1, 2 and 5, on directions that were scaled. Large: all pseudo-classes of a class
            alike, which is plain distillation with a wider head.

    Inputs:
        student: Logits (B, C·S), those of a class together; any float type, raised to float32.
        teacher: Logits (B, C); takes no gradient.
        teacher_embedding: Input (B, D) of the linear layer that made them; takes no gradient.

    References:
        - Loo, Iliopoulos, Hu and Vee, "LELP: Linear Projections of Teacher Embeddings for Few-Class Distillation", arXiv 2409.20449. No code was
          released; the scaling by σ_c is this card's choice.

    Requirements:
        Projections of this teacher. The student's own cross-entropy has weight 0 in the paper: ``task_weight=0.0``.

    Relations:
        - With S = 1 it is the cross-entropy with the teacher's softened classes.

    Example:
        ::

            objectives=dict(
                subclasses=dict(
                    loss=dict(type='kdlm.LELP', projections='@projections/projections.safetensors'),
                    student='classifier',
                    teacher=dict(
                        teacher='classifier', teacher_embedding=dict(type='kdhub.ModuleInput', path='classifier'))))
    """

    def __init__(
        self,
        projections: str | Projections | Mapping[str, Any],
        temperature: float = 1.0,
        subclass_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        require("LELP", number(above=0), temperature=temperature, subclass_temperature=subclass_temperature)
        self.temperature = temperature
        self.subclass_temperature = subclass_temperature
        read = Projections.read(projections) if isinstance(projections, str) else projections
        if not isinstance(read, Projections):
            raise UsageError("LELP: bad projections", expected="a file, or Projections", got=type(read).__name__)
        for name, value in read._asdict().items():
            self.register_buffer(name, value)

    def forward(self, student: Tensor, teacher: Tensor, teacher_embedding: Tensor) -> Tensor:
        """Compare logits of the student with the split classes; see the class for the inputs.

        Raises:
            UsageError: For other numbers of classes, pseudo-classes or channels than the projections have.
        """
        own = Projections(**{name: getattr(self, name) for name in Projections._fields})
        classes, subclasses, width = own.directions.shape
        shapes = tuple(student.shape[1:]), tuple(teacher.shape[1:]), tuple(teacher_embedding.shape[1:])
        if shapes != ((classes * subclasses,), (classes,), (width,)):
            raise UsageError(
                "LELP: other sizes than those of the projections",
                expected=f"student (B, {classes * subclasses}), teacher (B, {classes}), teacher_embedding (B, {width})",
                got=f"(B, {', '.join(map(str, shapes[0]))}), (B, {', '.join(map(str, shapes[1]))}),"
                f" (B, {', '.join(map(str, shapes[2]))})",
                fix=f"give the student num_labels={classes * subclasses}, and fit the projections on this teacher's classifier",
            )
        target = lelp_target(
            to_float32(teacher).detach(),
            to_float32(teacher_embedding).detach(),
            own,
            self.temperature,
            self.subclass_temperature,
        )
        return -(target.flatten(1) * to_float32(student).log_softmax(1)).sum(1).mean()


def lelp_target(
    logits: Tensor, embeddings: Tensor, projections: Projections, temperature: float, subclass_temperature: float
) -> Tensor:
    """Split the teacher's class probabilities: (B, C) and (B, D) to (B, C, S), which sums to 1 over both.

    Args:
        logits: The teacher's.
        embeddings: Input of its classifier.
        projections: Of this teacher.
        temperature: τ.
        subclass_temperature: β.
    """
    along = projections.along(embeddings) / subclass_temperature
    inside = along.masked_fill(~projections.kept, -torch.inf).softmax(2)
    return (logits / temperature).softmax(1).unsqueeze(2) * inside


def marginal_logits(logits: Tensor, subclasses: int) -> Tensor:
    """Logits of the classes out of those of their pseudo-classes: (..., C·S) to (..., C), by the logarithm of the sum of exponentials.

    Raises:
        UsageError: If the number of logits is no multiple of S.
    """
    if logits.shape[-1] % subclasses:
        raise UsageError(
            "logits that do not part into pseudo-classes",
            expected=f"a multiple of {subclasses}",
            got=str(logits.shape[-1]),
            fix="give the student num_labels=classes * subclasses",
        )
    return logits.unflatten(-1, (-1, subclasses)).logsumexp(-1)
