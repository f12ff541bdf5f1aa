"""Margins over the batch: each query's relevant document against the documents of the other queries, as in TAS-B."""

from __future__ import annotations

from torch import Tensor, nn

from kdhub.api import UsageError, to_float32
from kdret.losses.scores import warn_out_of_reach


class InBatchMarginMSE(nn.Module):
    """Mean squared error between in-batch margins of student and teacher.

    With S_k[i, j] the score of query i and the k-th document of query j, and C_k the teacher's, index 0 relevant:

    ``L = mean over k < K and i ≠ j of [(S_0[i,i] − S_k[i,j]) − (C_0[i,i] − C_k[i,j])]²``

    With K = 2 this is ``½ (L_in⁺ + L_in⁻)`` of TAS-B. A query's own other documents are left to `MarginMSE`, whose scores come
    from another teacher there: ``L = L_pair + 0.75 · ½ (L_in⁺ + L_in⁻)``.

    Args:
        None: the weight is the objective's.

    Inputs:
        student: ``(B, B·K)``: every query against every document of the batch, the K of one query together.
        teacher: ``(B, B·K)``, likewise. Which pairs there are is known once the batch is there, so the teacher is a live one.

    References:
        Hofstätter et al. 2021, "Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling", arXiv
        2104.06967, and its released code, whose weighting this is; card retrieval_losses.md, section 3.4.

    Requirements:
        Batches of queries on one topic (`kdret.TopicBatches`): between topics a margin says little. A batch of one query has
        nothing to compare, and a loss of 0.

    Relations:
        - `ListwiseKL` on the same tap compares distributions over the batch instead of margins.
        - `InBatchCrossEntropy` is the same comparison without a teacher.

    Example:
        ::

            topic=dict(loss=dict(type='kdret.InBatchMarginMSE'), student='similarity', teacher='similarity', weight=0.75)
    """

    depends_on_split = "samples"

    def __init__(self) -> None:
        super().__init__()
        self._warned = False

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss as a scalar; see the class for the inputs.

        Raises:
            UsageError: If the scores are not those of one batch.
        """
        student, teacher = to_float32(student), to_float32(teacher.detach()).to(student.device)
        queries = len(student)
        if student.ndim != 2 or not queries or student.shape[1] % queries or student.shape != teacher.shape:
            raise UsageError(
                "InBatchMarginMSE wants every query against every document of the batch, of student and teacher",
                expected="(B, B·K) twice",
                got=f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}",
                fix="tap 'similarity' of both",
            )
        if not self._warned:
            self._warned = True
            warn_out_of_reach("InBatchMarginMSE", student, _margins(teacher), limit=2.0)
        errors = (_margins(student) - _margins(teacher)).square()
        # all margins of a query with itself were taken out, so the mean is over the others
        return errors.sum() / max(queries * (queries - 1) * (student.shape[1] // queries), 1)


def _margins(scores: Tensor) -> Tensor:
    """``(B, B·K)`` to ``(B, B, K)``: margins of the own first document over the documents of each query; 0 over its own."""
    by_query = scores.unflatten(1, (len(scores), -1))
    first = by_query[:, :, 0].diagonal()
    margins: Tensor = first[:, None, None] - by_query
    own = margins.new_ones(len(scores), len(scores)).fill_diagonal_(0)
    return margins * own.unsqueeze(2)
