"""Lower bounds of the mutual information between teacher and student states of a batch, from the scores of all pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdhub.api import UsageError


def mi_alpha(scores: Tensor, log_baseline: Tensor, alpha: float) -> Tensor:
    """The interpolated bound I_α of one batch, with the leave-one-out estimate of the partition function.

    ``M_ij = log( 1/(K−1) Σ_{k≠j} e^{F_ik} )``, ``A_ij = log( α e^{M_ij} + (1−α) q_i )`` and
    ``I_α = 1 + mean_{i≠j} (F_ii − A_ij) − mean_{i≠j} e^{F_ij − A_ii}``.

    Args:
        scores: F (K, K), float32 or wider; the critic's score of each pair, true pairs on the diagonal.
        log_baseline: log q (K,), one for each row.
        alpha: From 0 to 1. At 1 the value is at most log(K − 1), and the baseline takes no part; at 0 the others of the batch take none in
            the partition function.

    Returns:
        Scalar in nats; 0, with the graph kept, for fewer than 2 samples.

    Raises:
        UsageError: For scores that are not square.
    """
    size = len(scores)
    if scores.ndim != 2 or scores.shape[1] != size or log_baseline.shape != (size,):
        raise UsageError(
            "mi_alpha needs the score of each pair of a batch",
            expected="scores (K, K) and log_baseline (K,)",
            got=f"{tuple(scores.shape)} and {tuple(log_baseline.shape)}",
        )
    if size < 2:
        return 0.0 * (scores.sum() + log_baseline.sum())
    same = torch.eye(size, dtype=torch.bool, device=scores.device)
    partition = _partition(scores, log_baseline, alpha, same)
    others = ~same
    joint = (scores.diagonal().unsqueeze(1) - partition)[others].mean()
    marginal = (scores - partition.diagonal().unsqueeze(1))[others].exp().mean()
    return 1 + joint - marginal


def _partition(scores: Tensor, log_baseline: Tensor, alpha: float, same: Tensor) -> Tensor:
    """Return A (K, K); the part that α leaves out is not computed, so that no gradient reaches it."""
    size = len(scores)
    own = log_baseline.unsqueeze(1).expand_as(scores)
    if alpha == 0:
        return own
    # (K, K, K): row i without sample j; exact, where a difference of sums would cancel
    left = scores.unsqueeze(1).masked_fill(same.unsqueeze(0), -math.inf).logsumexp(2) - math.log(size - 1)
    if alpha == 1:
        return left
    return torch.logaddexp(left + math.log(alpha), own + math.log1p(-alpha))
