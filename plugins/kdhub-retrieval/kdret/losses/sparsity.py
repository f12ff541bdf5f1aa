"""Regularisers that keep a sparse encoder's vectors sparse: FLOPS and L1."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, gathered, integer, optional, require
from kdret.collapse import all_active, none_active

_LOOK_EVERY = 50
"""Batches between two looks: each reads a number from the device, which has to finish for it."""
_PATIENCE = 40
"""Looks after which vectors that were dense all the time are named: a masked language model begins dense, and the weight rises."""
_DENSE = 0.99


class _SparsityLoss(nn.Module):
    """What the two have in common: which rows count, and a look at whether any, or all, words are active."""

    def __init__(self, threshold: int | None) -> None:
        super().__init__()
        require(type(self).__name__, optional(integer(0)), threshold=threshold)
        self.threshold = threshold
        self._batches = 0
        self._dense = 0

    def forward(self, student: Tensor) -> Tensor:
        """Return the loss as a scalar; see the class for the input.

        Raises:
            UsageError: For anything but ``(N, V)``, for NaN (on the CPU; elsewhere the run's guard speaks), or if no word of
                the batch has a weight.
        """
        if student.layout != torch.strided or student.ndim != 2 or not len(student):
            raise UsageError(
                f"{type(self).__name__} wants the vectors of one column, in a dense layout",
                expected="(N, V), N >= 1",
                got=f"{tuple(student.shape)} of layout {str(student.layout).removeprefix('torch.')}",
                fix="tap dict(type='kdhub.MethodOutput', path='embed', call=0) for queries, call=1 for documents",
            )
        weights = student.to(torch.promote_types(student.dtype, torch.float32)).abs()
        self._look(weights.detach())
        if self.threshold is not None:
            weights = weights * ((weights != 0).sum(1, keepdim=True) > self.threshold)
        return self.of(weights)

    @abstractmethod
    def of(self, weights: Tensor) -> Tensor:
        """Compute the loss of weights from 0, ``(N, V)``."""

    def _look(self, weights: Tensor) -> None:
        looks, self._batches = self._batches % _LOOK_EVERY == 0, self._batches + 1
        owner = type(self).__name__
        if weights.device.type == "cpu" and weights.isnan().any():
            row = weights.isnan().any(1).nonzero()[0].item()
            raise UsageError(
                f"{owner}: vector {row} holds NaN", fix="look at the learning rate and at the score losses"
            )
        if not looks:
            return
        active = (weights != 0).sum(1).float().mean().item()
        if not active:
            raise none_active(owner, f"any of the {len(weights)} vectors of the batch")
        self._dense = self._dense + 1 if active >= _DENSE * weights.shape[1] else 0
        if self._dense == _PATIENCE:
            what = f"{owner}: after {self._batches} batches the vectors"
            warnings.warn(all_active(what, active, weights.shape[1]), stacklevel=3)


class FLOPS(_SparsityLoss):
    """Expected number of multiplications of a search: the squared mean weight of each word, summed over words.

    ``L = Σ_v (mean over texts n of |w_nv|)²``. A word that many texts have costs more than one that few have, so the
    vectors become sparse in a balanced way, where L1 would rather empty the rare words.

    Query and document weights are those of two objectives, as queries can be much sparser than documents. Let both rise
    quadratically from 0: sparsity must not come before there is something to keep.

    Args:
        threshold: Texts with at most this many active words are left out (counted as zeros). ``None``, the default, counts
            all; a number protects short texts from being emptied.
        gather: Whether the mean is over the texts of all processes. ``False``, the default, takes each process's own share,
            which gives a larger value, as the square of a mean over fewer texts does.

    Inputs:
        student: ``(N, V)``: the vectors of one column in a dense layout.

    References:
        Paria et al. 2020, "Minimizing FLOPs to Learn Efficient Sparse Representations", arXiv 2004.05665; Formal et al.,
        "SPLADE v2", arXiv 2109.10086; the threshold: arXiv 2504.14839. Card retrieval_losses.md, 3.3.

    Requirements:
        Beside a loss on scores: alone its minimum is an encoder that says nothing. Vectors that are all 0 are an error. A
        warning names vectors that stay dense over some 2000 batches. A batch that is accumulated from smaller ones has another
        value than the batch as a whole.

    Relations:
        - `L1` does not couple texts; efficient SPLADE uses it for queries.
        - sentence-transformers has ``SpladeLoss``, which adds this to a loss on scores; here each is an objective.
        - Its weight has the scale of the loss on scores: SPLADE v2 takes 0.5 for queries and 0.4 for documents with
          Margin-MSE, and 3e-4 and 1e-4 with a cross-entropy.

    Example:
        ::

            flops_query=dict(
                loss=dict(type='kdret.FLOPS'),
                student=dict(type='kdhub.MethodOutput', path='embed', call=0),
                weight=dict(type='kdhub.WarmupSchedule', value=0.5, steps=50000, power=2)),
            flops_document=dict(
                loss=dict(type='kdret.FLOPS'),
                student=dict(type='kdhub.MethodOutput', path='embed', call=1),
                weight=dict(type='kdhub.WarmupSchedule', value=0.4, steps=50000, power=2))
    """

    depends_on_split = "samples"

    def __init__(self, threshold: int | None = None, gather: bool = False) -> None:
        super().__init__(threshold)
        self.gather = gather

    def of(self, weights: Tensor) -> Tensor:
        """Compute the loss of weights from 0, ``(N, V)``."""
        mean = weights.mean(0, keepdim=True)
        if self.gather:
            (mean,) = gathered("FLOPS", "vectors", means=mean)
        return mean.mean(0).square().sum()


class L1(_SparsityLoss):
    """Mean length of a sparse vector: the sum of a text's weights, averaged over texts.

    ``L = mean over texts n of Σ_v |w_nv|``.

    Args:
        threshold: Texts with at most this many active words are left out (counted as zeros). ``None`` counts all.

    Inputs:
        student: ``(N, V)``: the vectors of one column in a dense layout.

    References:
        Lassance and Clinchant 2022, "An Efficiency Study for SPLADE Models", arXiv 2207.03834, for queries; card
        retrieval_losses.md, 3.3.

    Requirements:
        As `FLOPS`, but for the split of a batch: the mean over equal parts is that of the whole.

    Relations:
        `FLOPS` charges a word by how many texts of the batch have it.

    Example:
        ::

            l1_query=dict(
                loss=dict(type='kdret.L1'),
                student=dict(type='kdhub.MethodOutput', path='embed', call=0),
                weight=dict(type='kdhub.WarmupSchedule', value=1e-3, steps=50000, power=2))
    """

    def __init__(self, threshold: int | None = None) -> None:
        super().__init__(threshold)

    def of(self, weights: Tensor) -> Tensor:
        """Compute the loss of weights from 0, ``(N, V)``."""
        return weights.sum(1).mean()
