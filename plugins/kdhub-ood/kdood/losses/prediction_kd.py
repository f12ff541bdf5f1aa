"""Prediction-layer distillation of MLKD: the teacher's distribution of the next token, at every real token."""

from __future__ import annotations

from torch import Tensor

from kdhub.api import MaskedLoss, UsageError, integer, number, optional, require, temperature_kl


class PredictionKD(MaskedLoss):
    """KL divergence of the student's next-token distribution from the teacher's, over the real tokens of a batch.

    With ``p = softmax(t/τ)`` and ``q = softmax(s/τ)``: ``L = (1/A) Σ_{b,i: m=1} Σ_v p_v (log p_v − log q_v)``, A the number of
    tokens with mask 1. Nothing is shifted, as both sides predict the same next token. There is no factor τ².

    Args:
        temperature: τ, divides both sides. 1.0, the default, is the authors' but for SST (0.5). Without the factor τ² the gradient
            shrinks as it grows.
        vocabulary: How many tokens both sides know, from 0. Set it where one side's logits are padded to a rounder size: the rest
            is left out of both softmaxes. ``None`` demands equal sizes.
        reduction: ``'positions'``, the default and the authors': mean over all real tokens. ``'samples'``: first within each text,
            then over texts, so that accumulated gradients are the whole batch's.

    Inputs:
        student: Logits (B, L, V), any float type, raised to float32.
        teacher: Logits (B, L, V) of the same tokens; takes no gradient.
        mask: Optional (B, L), not zero at real tokens; in a run it is the batch's ``inputs.attention_mask``.

    References:
        - Wu et al., "Multi-Level Knowledge Distillation for Out-of-Distribution Detection in Text", ACL 2023, arXiv 2211.11300;
          authors' code microsoft/KC, papers/MLKD_OOD.

    Requirements:
        One tokenizer on both sides. A vocabulary of equal size and other tokens gives a plausible loss that trains nonsense.

    Relations:
        - `kdhub.TemperatureKL` with ``class_axis=-1`` is the same times τ².
        - `AdaptiveLayerKD` is added to it, with weight 1, in MLKD.

    Example:
        ::

            objectives=dict(
                prediction=dict(loss=dict(type='kdood.PredictionKD'), student='lm_head', teacher='lm_head'))
    """

    def __init__(self, temperature: float = 1.0, vocabulary: int | None = None, reduction: str = "positions") -> None:
        super().__init__(reduction)
        require("PredictionKD", number(above=0), temperature=temperature)
        require("PredictionKD", optional(integer(2)), vocabulary=vocabulary)
        self.temperature = temperature
        self.vocabulary = vocabulary

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare logits of the same tokens; see the class for the inputs.

        Raises:
            UsageError: For logits of other tokens, or of another vocabulary.
        """
        student, teacher = self._cut(student, teacher)
        if mask is not None and self.reduction == "positions" and mask.shape == student.shape[:2]:
            # padding never enters a softmax, which is most of the work
            student, teacher, mask = student[mask != 0], teacher[mask != 0], None
        loss = temperature_kl(
            student,
            teacher,
            mask,
            student_temperature=self.temperature,
            teacher_temperature=self.temperature,
            class_axis=-1,
            reduction=self.reduction,
        )
        return loss / self.temperature**2

    def _cut(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if student.ndim != 3 or teacher.ndim != 3 or student.shape[:2] != teacher.shape[:2]:
            raise UsageError(
                "PredictionKD compares next-token logits of the same tokens",
                expected="student and teacher (B, L, V)",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix='give the teacher batch="student", so that both see the same tokens',
            )
        sizes = student.shape[2], teacher.shape[2]
        if self.vocabulary is None and sizes[0] != sizes[1]:
            raise UsageError(
                "PredictionKD: vocabularies of different sizes",
                expected="one vocabulary on both sides",
                got=f"student {sizes[0]}, teacher {sizes[1]} tokens",
                fix=f"if they are one, padded differently, set vocabulary={min(sizes)} or less; otherwise take one tokenizer",
            )
        if self.vocabulary is not None and self.vocabulary > min(sizes):
            raise UsageError(
                "PredictionKD: fewer logits than the vocabulary has tokens",
                expected=f"vocabulary up to {min(sizes)}",
                got=str(self.vocabulary),
            )
        return student[..., : self.vocabulary], teacher[..., : self.vocabulary]
