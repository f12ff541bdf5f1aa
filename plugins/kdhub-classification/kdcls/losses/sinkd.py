"""Sinkhorn distillation: the cost of carrying the student's predictions of a batch over to the teacher's."""

from __future__ import annotations

import torch
from torch import Tensor

from kdcls.losses._logits import LogitLoss
from kdhub.api import UsageError, choice, integer, number, require


class SinKD(LogitLoss):
    """Entropic optimal transport between the two clouds of predictions of a batch.

    With P, Q the softmax of s/τ and t/τ, ``W_ij = Σ_c |P_ic − Q_jc|`` and K = exp(−W/ε): K is divided by its row sums and by its
    column sums, ``iterations`` times; ``L = Σ_ij K_ij W_ij``. The gradient flows through the plan. Which row of
    the teacher belongs to which of the student plays no part, so a term that compares sample by sample must stand beside it.

    Args:
        temperature: τ of both softmaxes. 2.0, the default, is what the authors' code has, whatever its argument says.
        eps: ε, the blur of the plan. Large, and every student row is carried to every teacher row; small, and the
            iterations do not converge in time.
        iterations: Rounds of normalisation. The last is of columns, so that each teacher row receives mass 1 exactly.
        reduction: ``'sum'``, the default, is the authors': about B times the mean cost, so that a last batch of fewer samples
            weighs less. ``'mean'`` divides by B.

    Inputs:
        student: Logits (B, C), at least 2 classes; any float type, raised to float32. A batch of one has the plan [[1]].
        teacher: Logits (B, C) of the same batch, in any order; takes no gradient.
        mask: Optional, (B,) for samples that belong to the clouds, (B, C) or (1, C) for classes that are there.

    References:
        - Cui et al., "Sinkhorn Distance Minimization for Knowledge Distillation", arXiv 2402.17110 (LREC-COLING 2024); code
          github.com/2018cx/SinKD. Computed in the log domain here; the plain form underflows in half precision.

    Requirements:
        A companion such as `kdhub.TemperatureKL` or the student's own loss. The weight carries the authors' factors: 0.8 · 0.001
        on GLUE, for 'sum'. Their soft cross-entropy has no factor τ²: with `kdhub.TemperatureKL` its weight is α/τ². One logit (a regression) has no distribution and is refused. Each process, and each accumulated
        step, transports its own samples: the run warns of it.

    Relations:
        - `kdhub.Relational` compares similarities within the batch, SinKD distances between the two batches.

    Example:
        ::

            objectives=dict(
                logits=dict(loss=dict(type='kdhub.TemperatureKL', temperature=3.0), student='classifier', teacher='classifier'),
                batch=dict(loss=dict(type='kdcls.SinKD'), student='classifier', teacher='classifier', weight=0.8e-3))
    """

    depends_on_split = "samples"

    def __init__(
        self, temperature: float = 2.0, eps: float = 0.1, iterations: int = 20, reduction: str = "sum"
    ) -> None:
        super().__init__()
        require("SinKD", number(above=0), temperature=temperature, eps=eps)
        require("SinKD", integer(1), iterations=iterations)
        require("SinKD", choice(("sum", "mean")), reduction=reduction)
        self.temperature = temperature
        self.eps = eps
        self.iterations = iterations
        self.reduction = reduction

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the predictions of one batch; see the class for the inputs."""
        require("SinKD", number(above=0), temperature=self.temperature, eps=self.eps)
        both = self.compared(student, teacher, mask)
        ours, theirs = ((side / self.temperature).softmax(1) for side in (both.student, both.teacher))
        if both.rows is not None:
            ours, theirs = ours[both.rows], theirs[both.rows]
        if not len(ours):
            return ours.sum()
        cost = torch.cdist(ours, theirs, p=1.0)
        total = (sinkhorn_plan(cost, self.eps, self.iterations) * cost).sum()
        return total / len(ours) if self.reduction == "mean" else total


def sinkhorn_plan(cost: Tensor, eps: float, iterations: int) -> Tensor:
    """Return the transport plan (B, B) of mass B: its column sums are 1, its row sums nearly so.

    Args:
        cost: (B, B), finite, float32 or wider.
        eps: Blur.
        iterations: Rounds.

    Raises:
        UsageError: If the cost is not square: rows and columns of mass 1 would contradict each other.
    """
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise UsageError("a plan of equal masses is square", expected="(B, B)", got=str(tuple(cost.shape)))
    log_plan = -cost / eps
    for _ in range(iterations):
        log_plan = log_plan - log_plan.logsumexp(1, keepdim=True)
        log_plan = log_plan - log_plan.logsumexp(0, keepdim=True)
    return log_plan.exp()
