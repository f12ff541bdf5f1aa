"""How a loss averages over what counts, and what that means for a batch that is split over processes or steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kdhub.distill.arguments import choice, require

REDUCTIONS = ("positions", "samples")


class MaskedLoss(nn.Module):
    """Base of losses that leave entries out of their mean, by a mask or by void labels.

    Args:
        reduction: ``'positions'`` averages over all entries that count. So the weight of a sample depends on what else is in
            the batch, and gradients that are accumulated, or averaged over processes, are not those of the whole batch.
            ``'samples'`` averages within each sample and then over all samples, of which one without anything that counts
            adds 0: however the batch is split into equal parts, the gradient is the same.
        choices: The reductions that the loss has.

    Raises:
        UsageError: For a reduction that the loss does not have.
    """

    def __init__(self, reduction: str, choices: Iterable[str] = REDUCTIONS) -> None:
        super().__init__()
        require(type(self).__name__, choice(choices), reduction=reduction)
        self.reduction = reduction

    @property
    def depends_on_split(self) -> str:
        """Whether the mean over equal parts of a batch is another than that of the whole, for a run's warning."""
        return "" if self.reduction == "samples" else "count"


def masked_mean(values: Tensor, mask: Tensor | None, reduction: str = "positions") -> Tensor:
    """Average the entries that count; exactly 0, with the graph kept, when none does.

    Args:
        values: ``(B, ...)``. Entries that do not count must be finite, or their gradients would not be.
        mask: Boolean, broadcastable to ``values``; ``None`` counts all.
        reduction: As for `MaskedLoss`.

    Returns:
        Scalar.
    """
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    mask = mask.expand_as(values)
    values = torch.where(mask, values, 0.0)
    if reduction == "samples":
        rows = len(values), math.prod(values.shape[1:])
        means = values.reshape(rows).sum(1) / mask.reshape(rows).sum(1).clamp(min=1)
        return means.sum() / max(len(means), 1)
    return values.sum() / mask.sum().clamp(min=1)
