"""Scores of every query against every document of a batch, which several processes may share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdhub.api import UsageError, gathered

EMBEDDINGS = "dict(type='kdhub.MethodOutput', path='embed', call='all')"
"""The tap that gives both embeddings of a batch."""


def in_batch_scores(loss: str, value: Tensor | Sequence[Tensor], gather: bool) -> Tensor:
    """Take scores as they are, or compute them as dot products of embeddings.

    Args:
        loss: Name of the loss, for errors.
        value: Scores of one process, ``(B, B·K)``; or the embeddings of queries ``(B, D)`` and documents ``(B·K, D)``, those
            of one query together.
        gather: Whether the batch is that of all processes together: W processes give ``(W·B, W·B·K)``, the same in each.
            The gradient is gathered too: averaged over processes, as DDP does, it is that of one process with the whole
            batch. All processes must call this together, each with as many texts.

    Returns:
        Scores in at least float32.

    Raises:
        UsageError: If ``gather`` is given scores, which say nothing of other processes' documents; if the two embeddings do
            not fit; or if processes have different numbers of texts.
    """
    if isinstance(value, Tensor):
        if gather:
            raise UsageError(
                f"{loss}: gather=True needs embeddings, and got scores of one process",
                expected="[queries (B, D), documents (B·K, D)]",
                got=str(tuple(value.shape)),
                fix=f"tap {EMBEDDINGS}",
            )
        return _raised(value)
    if len(value) != 2 or any(one.ndim != 2 for one in value) or value[0].shape[1] != value[1].shape[1]:
        raise UsageError(
            f"{loss} wants scores, or the embeddings of queries and documents",
            expected="(B, B·K), or [(B, D), (B·K, D)]",
            got=", ".join(str(tuple(one.shape)) for one in value),
            fix="tap 'similarity', or a batch with the columns query and document",
        )
    query, document = map(_raised, value)
    if gather:
        query, document = gathered(loss, "texts", queries=query, documents=document)
    # under autocast, as around a student's own loss, the product would be taken in half precision
    with torch.autocast(query.device.type, enabled=False):
        return query @ document.T


def _raised(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))
