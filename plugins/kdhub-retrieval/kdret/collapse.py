"""Notices an encoder that gives every document the same score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.api import UsageError

_TOLERANCE = 1e-5
"""Relative to the largest score: what rounding leaves between equal embeddings of float32."""
_AT_ONCE = 64


def require_spread(queries: NDArray[Any], documents: NDArray[Any], where: str) -> None:
    """See that for at least one query not all documents have the same score.

    Args:
        queries: ``(Q, D)``.
        documents: ``(N, D)``; a single one cannot differ from others and passes.
        where: Who ranks, for the error.

    Raises:
        UsageError: If all scores tie for every query. Every measure would then only tell the order of the ids.
    """
    if len(documents) < 2:
        return
    for start in range(0, len(queries), _AT_ONCE):  # an encoder that works ends with the first block
        scores = queries[start : start + _AT_ONCE] @ documents.T
        if (np.ptp(scores, axis=1) > _TOLERANCE * np.abs(scores).max(axis=1)).any():
            return
    raise UsageError(
        f"{where}: every document has the same score for every query, so the encoder has collapsed",
        expected="scores that differ",
        got=f"one score for {len(documents)} documents and each of {len(queries)} queries",
        fix="look at the encoder's losses, learning rate and loaded weights; nothing was measured",
    )
