"""Listwise KL: the student's distribution over a query's candidates follows the teacher's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from kdhub.api import TemperatureKL, UsageError
from kdret.losses.in_batch_scores import in_batch_scores
from kdret.losses.scores import given_scores, list_scores, warn_out_of_reach


class ListwiseKL(TemperatureKL):
    """Divergence of the student's softmax over a candidate list from the teacher's.

    ``L = τ_S² · mean over queries of Σ_k p_k (log p_k − log q_k)``, ``p = softmax(t/τ_T)``, ``q = softmax(s/τ_S)``.

    The arithmetic is the core's `kdhub.TemperatureKL`; the value is that of sentence-transformers' ``DistillKLDivLoss``,
    to which a test holds it. That class is not used here, because it takes its temperatures once, where a schedule of
    kdhub may drive them, and has no way to leave a candidate out of a ragged list.

    Args:
        temperature: Divides both sides before the softmax; 1.0 as in sentence-transformers' dense class.
        student_temperature: The student's, if it is another one: 0.02 to 0.05 for cosines against raw cross-encoder scores.
        teacher_temperature: The teacher's, if it is another one.
        gather: Whether a list holds the documents of all processes. Only for embeddings as inputs; see
            `InBatchCrossEntropy`.

    Inputs:
        student: Scores ``(B, K)``, K ≥ 2. Or the embeddings of queries ``(B, D)`` and documents ``(B·K, D)`` in a list: each
            query is then compared with all documents of the batch, by dot products without the encoder's ``score_scale``.
        teacher: Scores ``(B, K)`` of a live teacher, or its embeddings in a list, of any width; or:
        labels: Cached scores ``(B, K)`` out of the batch. −∞ leaves a candidate out of both softmaxes; not all of a row.

    References:
        Lin et al., "Distilling Dense Representations for Ranking using Tightly-Coupled Teachers", arXiv 2010.11386.

    Requirements:
        Raw scores, not probabilities. A list with fewer than 2 candidates left has nothing to tell and adds 0 to the mean.

    Relations:
        - `MarginMSE` keeps the size of score differences where a softmax saturates.
        - On the encoder's ``similarity`` tap instead of ``score``, the list is every document of the batch. The gradient then
          depends on how a batch is split among processes, unless they ``gather``, and on accumulation.

    Example:
        Every query against all documents of the batch, both sides cosines::

            ranking=dict(
                loss=dict(type='kdret.ListwiseKL', temperature=0.05),
                student='similarity',
                teacher='similarity')

        The same on several processes, as one process with the whole batch::

            ranking=dict(
                loss=dict(type='kdret.ListwiseKL', temperature=0.05, gather=True),
                student=dict(type='kdhub.MethodOutput', path='embed', call='all'),
                teacher=dict(type='kdhub.MethodOutput', path='embed', call='all'))
    """

    def __init__(
        self,
        temperature: float = 1.0,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, student_temperature, teacher_temperature, class_axis=1)
        self.gather = gather
        self._warned = False

    def depends_on_split(self, taps: Collection[str]) -> str:  # type: ignore[override]  # the tap decides
        """Say whether lists hold other queries' documents: all of the batch, where the tap is one of these."""
        return "samples" if self.gather or {"similarity", "embed"}.intersection(taps) else ""

    def forward(
        self,
        student: Tensor | Sequence[Tensor],
        teacher: Tensor | Sequence[Tensor] | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss as a scalar; see the class for the inputs.

        Raises:
            UsageError: For scores of another shape, NaN, a row that excludes every candidate, or teacher scores from two
                places.
        """
        student = list_scores("ListwiseKL", in_batch_scores("ListwiseKL", student, self.gather))
        teacher = None if teacher is None else in_batch_scores("ListwiseKL", teacher, self.gather)
        scores = given_scores("ListwiseKL", student, teacher, labels, leaves_out=True)
        if scores.shape != student.shape:
            raise UsageError(
                "ListwiseKL: one teacher score for each candidate",
                expected=str(tuple(student.shape)),
                got=str(tuple(scores.shape)),
            )
        kept = ~scores.isneginf()
        if scores.device.type == "cpu" and not kept.any(1).all():
            row = (~kept.any(1)).nonzero()[0].item()
            raise UsageError(f"ListwiseKL: row {row} excludes every candidate", expected="at least 2 finite scores")
        if not self._warned:
            self._warned = True
            warn_out_of_reach("ListwiseKL", self._softened(student), self._spread(scores, kept), limit=5.0)
        # over all lists and not over those that count, so that parts of a batch add up to the whole
        counted = (kept.sum(1) >= 2).to(student.dtype).mean()
        return counted * super().forward(student, scores.masked_fill(~kept, 0.0), mask=kept)

    def _softened(self, student: Tensor) -> Tensor:
        return student / (self.temperature if self.student_temperature is None else self.student_temperature)

    def _spread(self, scores: Tensor, kept: Tensor) -> Tensor:
        """Largest minus smallest score that counts, over the temperature, per row: ``(B,)``."""
        scores = scores / (self.temperature if self.teacher_temperature is None else self.teacher_temperature)
        return scores.masked_fill(~kept, -float("inf")).amax(1) - scores.masked_fill(~kept, float("inf")).amin(1)
