"""Margin-MSE: the student learns how much better one document is than another, not their scores."""

from __future__ import annotations

from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from torch import Tensor, nn

from kdhub.api import UsageError
from kdret.losses.scores import given_scores, list_scores, warn_out_of_reach


class MarginMSE(nn.Module):
    """Mean squared error between score margins of student and teacher.

    ``L = mean over queries b and negatives n of [(s_b0 − s_bn) − (t_b0 − t_bn)]²``, the relevant document at index 0.
    A constant added to all scores of a query changes nothing, so student and teacher keep their own offsets; a factor
    does, so their scales must fit.

    The arithmetic is sentence-transformers' ``MarginMSELoss``. That class wants embeddings and a similarity function; a
    student of kdhub may have none (late interaction, a cross-encoder), so it is given score columns and a similarity
    that hands them through.

    Args:
        pairs: ``'first'`` compares index 0 with every other candidate, as the paper and sentence-transformers do.
            ``'all'`` compares every two candidates, for lists without a known relevant document; the mean counts each
            document against itself too, as (1/K²) ΣΣ does.

    Inputs:
        student: Scores ``(B, K)``, K ≥ 2: index 0 relevant for ``pairs='first'``. Dot products, not cosines, unless the
            teacher's are cosines too.
        teacher: Scores ``(B, K)`` of a live teacher, or:
        labels: Cached scores out of the batch. With N = K − 1 negatives either raw scores ``(B, 1 + N)`` or margins
            ``(B, N)``; for N = 1 also ``(B,)``. The number of candidates decides, never the width alone.

    References:
        Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
        arXiv 2010.02666. The mean over several negatives is sentence-transformers'.

    Requirements:
        Scores without NaN. A negative teacher margin is kept: it corrects a mislabelled pair.

    Relations:
        - `ListwiseKL` matches a distribution over the list and saturates where one document wins by far.
        - `RankNet` keeps the order and drops the size of the margin.

    Example:
        Scores mined once, a student on its own::

            margins=dict(
                loss=dict(type='kdret.MarginMSE'),
                student='score',
                batch=dict(labels='labels'))
    """

    def __init__(self, pairs: str = "first") -> None:
        super().__init__()
        if pairs not in ("first", "all"):
            raise UsageError("MarginMSE: bad pairs", expected="'first' or 'all'", got=repr(pairs))
        self.pairs = pairs
        self._by_column = MarginMSELoss(model=None, similarity_fct=_score_as_given)
        self._warned = False

    def forward(self, student: Tensor, teacher: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Return the loss as a scalar; see the class for the inputs.

        Raises:
            UsageError: For scores of a width that fits neither layout, NaN, or teacher scores from two places.
        """
        student = list_scores("MarginMSE", student)
        scores = given_scores("MarginMSE", student, teacher, labels)
        candidates = student.shape[1]
        raw = scores.shape[1:] == (candidates,)
        margins = scores.shape[1:] == (candidates - 1,) or (scores.ndim == 1 and candidates == 2)
        if not raw and not (margins and self.pairs == "first"):
            raise UsageError(
                f"MarginMSE: teacher scores do not fit lists of {candidates}",
                expected=f"raw scores (B, {candidates})"
                + (f" or margins (B, {candidates - 1})" if self.pairs == "first" else " for pairs='all'"),
                got=str(tuple(scores.shape)),
            )
        if not self._warned:
            self._warned = True
            warn_out_of_reach("MarginMSE", student, scores[:, :1] - scores[:, 1:] if raw else scores, limit=2.0)
        if self.pairs == "all":
            return (_differences(student) - _differences(scores)).square().mean()
        return self._by_column.compute_loss_from_embeddings([student[:, 0], *student.unbind(1)], scores)


def _score_as_given(query: Tensor, score: Tensor) -> Tensor:
    """Stand where sentence-transformers computes a similarity: the score is there already."""
    return score


def _differences(scores: Tensor) -> Tensor:
    """``(B, K)`` to ``(B, K, K)``: every score minus every other."""
    return scores.unsqueeze(2) - scores.unsqueeze(1)
