"""Notices an encoder that has collapsed: one score for every document, no word with a weight, or all words with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.api import UsageError

_TOLERANCE = 1e-5
"""Relative to the largest score: what rounding leaves between equal embeddings of float32."""
_AT_ONCE = 64


def require_spread(
    queries: Any, documents: Any, where: str, score: Callable[[Any, Any], NDArray[Any]] | None = None
) -> None:
    """See that for at least one query not all documents have the same score.

    Args:
        queries: ``(Q, D)``, or what else ``score`` takes some of.
        documents: ``(N, D)``; a single one cannot differ from others and passes.
        where: Who ranks, for the error.
        score: From some queries and all documents to ``(Q, N)``; ``None`` takes dot products.

    Raises:
        UsageError: If all scores tie for every query. Every measure would then only tell the order of the ids.
    """
    count, others = _count(queries), _count(documents)
    if others < 2:
        return
    for start in range(0, count, _AT_ONCE):  # an encoder that works ends with the first block
        some = queries[start : start + _AT_ONCE]
        scores = some @ documents.T if score is None else score(some, documents)
        if (np.ptp(scores, axis=1) > _TOLERANCE * np.abs(scores).max(axis=1)).any():
            return
    raise UsageError(
        f"{where}: every document has the same score for every query, so the encoder has collapsed",
        expected="scores that differ",
        got=f"one score for {others} documents and each of {count} queries",
        fix="look at the encoder's losses, learning rate and loaded weights; nothing was measured",
    )


def none_active(where: str, what: str) -> UsageError:
    """Make the error of an encoder whose vectors are all 0: its ReLUs are dead, and no gradient brings them back."""
    return UsageError(
        f"{where}: no word has a weight in {what}: the encoder has collapsed",
        expected="some words above 0 in each text",
        got="vectors of zeros",
        fix="lower the weight of the sparsity regulariser, let it rise more slowly (dict(type='kdhub.WarmupSchedule',"
        " value=..., steps=..., power=2)), or lower the learning rate; then start again from a model that is alive",
    )


def all_active(what: str, active: float, words: int) -> str:
    """Say that an encoder is not sparse at all."""
    return (
        f"{what} have {active:.0f} of {words} words active, so they are not sparse and a search gains nothing from them;"
        " raise the weight of the sparsity regulariser (kdret.FLOPS), or train longer with it"
    )


def _count(rows: Any) -> int:
    return int(rows.shape[0]) if hasattr(rows, "shape") else len(rows)
