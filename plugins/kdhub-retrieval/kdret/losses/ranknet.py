"""RankNet: the order of two documents, weighted by the teacher's margin or not."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor, nn

from kdhub.api import UsageError
from kdret.losses.scores import given_scores, list_scores


class RankNet(nn.Module):
    """Logistic loss of the student's margin, each pair weighted by the teacher's.

    ``L = mean over b, n of w_bn · softplus(−(s_b0 − s_bn))`` with ``w_bn = t_b0 − t_bn``. A negative weight, for a pair
    that the teacher takes to be mislabelled, pushes the other way, as in the released code of the Margin-MSE paper; such
    a term has no lower bound, so mind pairs with a large one.

    Args:
        weighted: ``False`` sets every weight to 1: plain RankNet on the labels' order, the paper's "no teacher" row.

    Inputs:
        student: Scores ``(B, K)``, K ≥ 2, index 0 relevant.
        teacher: Scores ``(B, K)`` of a live teacher, or:
        labels: Cached scores ``(B, K)`` out of the batch. Not looked at with ``weighted=False``, and neither needed.

    References:
        Burges et al., "Learning to Rank using Gradient Descent", ICML 2005; the weighting: Hofstätter et al., arXiv
        2010.02666, released code.

    Requirements:
        A known relevant document at index 0. Scores without NaN.

    Relations:
        - `MarginMSE` also matches the size of the margin, and has its minimum where the teacher has it.

    Example:
        ::

            order=dict(loss=dict(type='kdret.RankNet'), student='score', batch=dict(labels='labels'))
    """

    def __init__(self, weighted: bool = True) -> None:
        super().__init__()
        self.weighted = weighted

    def forward(self, student: Tensor, teacher: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Return the loss as a scalar; see the class for the inputs.

        Raises:
            UsageError: For scores of another shape, or teacher scores from two places.
        """
        student = list_scores("RankNet", student)
        penalties = F.softplus(student[:, 1:] - student[:, :1])
        if not self.weighted:
            return penalties.mean()
        scores = given_scores("RankNet", student, teacher, labels)
        if scores.shape != student.shape:
            raise UsageError(
                "RankNet: one teacher score for each candidate",
                expected=str(tuple(student.shape)),
                got=str(tuple(scores.shape)),
            )
        return ((scores[:, :1] - scores[:, 1:]) * penalties).mean()
