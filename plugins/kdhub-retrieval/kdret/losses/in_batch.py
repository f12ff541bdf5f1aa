"""In-batch cross-entropy: the supervised loss beside which retrieval students are distilled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own habit)
from torch import Tensor, nn

from kdhub.api import UsageError, number, require
from kdret.losses.in_batch_scores import in_batch_scores


class InBatchCrossEntropy(nn.Module):
    """Cross-entropy of each query's own first document against the other documents of the batch.

    ``L = mean over queries of −log softmax(s / temperature)[own first document]``.

    Args:
        temperature: Divides the scores. 0.05, the default, is for cosines (sentence-transformers' ``scale=20``); dot
            products take 1.0.
        own_negatives: Whether a query's own other documents count as wrong. ``True`` is sentence-transformers'
            ``MultipleNegativesRankingLoss``. ``False`` is ColBERTv2, which leaves them to its distillation loss.
        other_positives: Whether the relevant documents of other queries count as wrong too. ``False`` is DiSCo, which compares
            with all negatives of the batch and nothing else.
        gather: Whether the batch is that of all processes together. ``False``, the default, lets each process compare within
            its own share: W processes with B queries each train on an easier task than one with W·B. With ``True`` value and
            gradient are those of one process. It needs embeddings as input, and exchanges them in each step.

    Inputs:
        student: ``(B, B·K)``: every query against every document, the K of one query together, its relevant one first. Or
            the embeddings of queries ``(B, D)`` and documents ``(B·K, D)`` in a list; the scores are then dot products,
            without the encoder's ``score_scale``.

    References:
        - Henderson et al., "Efficient Natural Language Response Suggestion for Smart Reply", arXiv 1705.00652.
        - ``own_negatives=False``: Santhanam et al., "ColBERTv2", arXiv 2112.01488, released code.
        - ``other_positives=False``: Lupart et al., "DiSCo", arXiv 2410.14609, released code; card disco.md, section 3.2.

    Requirements:
        No document that is relevant to two queries of one batch. Something to compare with: at least 2 queries. A batch that is accumulated from smaller
        ones has another gradient than the batch as a whole, also with ``gather``.

    Relations:
        - `ListwiseKL` on the same tap asks for the teacher's ranking of the batch instead of the labels'.
        - ``task_loss='in-batch'`` of `kdret.SentenceEncoder` is this loss, for a student without a `Distiller`.

    Example:
        ::

            labels=dict(loss=dict(type='kdret.InBatchCrossEntropy'), student='similarity', weight=0.5)

        On several processes, as one process with the whole batch::

            labels=dict(
                loss=dict(type='kdret.InBatchCrossEntropy', gather=True),
                student=dict(type='kdhub.MethodOutput', path='embed', call='all'),
                weight=0.5)
    """

    depends_on_split = "samples"

    def __init__(
        self,
        temperature: float = 0.05,
        own_negatives: bool = True,
        gather: bool = False,
        other_positives: bool = True,
    ) -> None:
        super().__init__()
        require("InBatchCrossEntropy", number(above=0), temperature=temperature)
        self.temperature = temperature
        self.own_negatives = own_negatives
        self.other_positives = other_positives
        self.gather = gather

    def forward(self, student: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss as a scalar; see the class for the input."""
        scores = in_batch_scores("InBatchCrossEntropy", student, self.gather)
        return in_batch_cross_entropy(scores, self.temperature, self.own_negatives, self.other_positives)


def in_batch_cross_entropy(
    scores: Tensor, temperature: float, own_negatives: bool = True, other_positives: bool = True
) -> Tensor:
    """Compute the loss of `InBatchCrossEntropy` as a scalar.

    Raises:
        UsageError: If the scores are not ``(B, B·K)``, or the temperature is not positive.
    """
    queries, documents = scores.shape if scores.ndim == 2 else (0, 0)
    if not queries or documents % queries:
        raise UsageError(
            "InBatchCrossEntropy wants every query against every document of the batch",
            expected="(B, B·K)",
            got=str(tuple(scores.shape)),
            fix="tap 'similarity' of the encoder, or its embeddings of queries and documents",
        )
    require("InBatchCrossEntropy", number(above=0), temperature=temperature)
    logits = scores.to(torch.promote_types(scores.dtype, torch.float32)) / temperature
    own = torch.arange(queries, device=scores.device)
    first = own * (documents // queries)
    column = torch.arange(documents, device=scores.device)
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    if not own_negatives:
        excluded |= column // (documents // queries) == own.unsqueeze(1)
    if not other_positives:
        excluded |= column % (documents // queries) == 0
    logits = logits.masked_fill(excluded.scatter(1, first.unsqueeze(1), value=False), -torch.inf)
    return F.cross_entropy(logits, first)
