"""Multi-aspect distillation (MaKD): a student that also answers yes/no questions about its images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError, masked_mean, number, require, to_float32


class MultiAspectLoss(nn.Module):
    """Cross entropy on the classes, and binary cross entropy of each aspect with a teacher's probability of "yes".

    The student's C+Q outputs are its C class logits and then Q aspect logits ``a``; ``t`` is the probability with which a
    multimodal language model says that question q is true of the image:
    ``L_CE = mean_b −log softmax(o)_y``, ``L_MaKD = mean_{b,q} [−t log σ(a) − (1−t) log(1 − σ(a))]``;
    ``L = class_weight · L_CE + aspect_weight · L_MaKD``, returned as the terms ``classes`` and ``aspects``.

    Args:
        aspect_weight: α. 4.0 is that of the authors' config for Oxford Pets. A mean over questions gives each of them α/Q.
        class_weight: Weight of the cross entropy. 0 where the student's own loss has it already.

    Inputs:
        student_logits: ``(B, C+Q)``, classes first, such as the output of `AspectHead`'s ``wide``; any float type, raised to float32.
        labels: ``(B,)`` class numbers; not looked at with ``class_weight=0``.
        teacher_aspects: ``(B, Q)``, from 0 to 1; takes no gradient. NaN stands for a question that nobody answered, which is left out of
            the mean. Q = 0 is plain training.

    References:
        - Lee et al., "Multi-aspect Knowledge Distillation with Large Language Model", arXiv 2501.13341.
        - The authors' code (taegyeong-lee/MaKD, mdistiller/distillers/MaKD.py), which this follows.

    Requirements:
        The order of the questions is that of the outputs: keep the file of questions with the checkpoint. The same answers serve
        every augmented view, so a question about left and right goes wrong under flips.

    Relations:
        - `kdhub.TemperatureKL` asks a teacher which class; this loss asks one that need not know the classes.
        - Its least value is the mean entropy of the answers, not 0: `answer_entropy` gives it.

    Example:
        Answers from a teacher's store; the student's own cross entropy stays as it is::

            aspects=dict(
                loss=dict(type='kddet.MultiAspectLoss', class_weight=0.0),
                student='fc.wide',
                teacher='aspects',
                weight=1.0)
    """

    depends_on_split = "count"  # answers that are missing

    def __init__(self, aspect_weight: float = 4.0, class_weight: float = 1.0) -> None:
        super().__init__()
        require("MultiAspectLoss", number(at_least=0), aspect_weight=aspect_weight, class_weight=class_weight)
        self.aspect_weight = aspect_weight
        self.class_weight = class_weight

    def forward(
        self, student_logits: Tensor, teacher_aspects: Tensor, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute both terms, weighted; see the class for the inputs."""
        logits, aspects = to_float32(student_logits), to_float32(teacher_aspects).detach()
        if logits.ndim != 2 or aspects.ndim != 2 or len(aspects) != len(logits) or aspects.shape[1] >= logits.shape[1]:
            raise UsageError(
                "MultiAspectLoss: the answers do not go with the outputs",
                expected="student_logits (B, C+Q) and teacher_aspects (B, Q), C at least 1",
                got=f"{tuple(logits.shape)} and {tuple(aspects.shape)}",
                fix="widen the classifier by the number of questions: kddet.AspectHead",
            )
        classes = logits.shape[1] - aspects.shape[1]
        terms = {"aspects": self.aspect_weight * aspect_cross_entropy(logits[:, classes:], aspects)}
        if not self.class_weight:
            return terms
        if labels is None:
            raise UsageError(
                "MultiAspectLoss has no labels for its cross entropy", fix="give them, or set class_weight=0"
            )
        return {"classes": self.class_weight * functional.cross_entropy(logits[:, :classes], labels), **terms}


def aspect_cross_entropy(logits: Tensor, aspects: Tensor) -> Tensor:
    """Average the binary cross entropy of aspect logits ``(B, Q)`` over the answers that are there.

    Raises:
        UsageError: For answers outside 0 to 1, where looking costs no wait for the device.
    """
    answered = ~aspects.isnan()
    targets = torch.where(answered, aspects, 0.0)
    if targets.is_cpu and ((targets < 0) | (targets > 1)).any():
        wrong = targets[(targets < 0) | (targets > 1)][0].item()
        raise UsageError(
            "MultiAspectLoss: an answer is no probability",
            expected="0 to 1, or NaN where nobody answered",
            got=f"{wrong:g}",
            fix="store sigmoid(yes - no) of the two logits",
        )
    values = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return masked_mean(values, answered)


def answer_entropy(aspects: Tensor) -> Tensor:
    """Return the least value that `aspect_cross_entropy` can have with these answers ``(B, Q)``."""
    answered = ~aspects.isnan()
    t = torch.where(answered, to_float32(aspects), 0.0)
    return masked_mean(-(torch.xlogy(t, t) + torch.xlogy(1 - t, 1 - t)), answered)


def yes_probability(yes: Tensor, no: Tensor) -> Tensor:
    """Return the probability of "yes" against "no" from the logits of the two answer tokens, in float32."""
    return (yes.float() - no.float()).sigmoid()
