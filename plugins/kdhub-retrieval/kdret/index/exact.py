"""Exact search: past ties that a cut would part, and over a corpus in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kdret.index.planning import CHUNK

Answers = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and rows, ``(Q, k)`` each."""


def past_ties(
    index: Any,
    queries: NDArray[np.float32],
    k: int,
    limit: int | None = None,
    split: Callable[[int], Answers] | None = None,
) -> Answers:
    """Search deeper until no tie straddles rank k, for FAISS cuts a tie at an arbitrary place.

    Args:
        index: FAISS's index.
        queries: ``(Q, D)``.
        k: From 1 to the number of documents.
        limit: Deepest search that the device allows, at least k unless ``split`` is given.
        split: Answers for k, where a deeper search would be needed; without it a tie at the limit stays as it is.
    """
    depth = min(k + 1, index.ntotal)
    while True:
        if limit is not None and depth > limit:
            return split(k) if split else index.search(queries, limit)
        scores, rows = index.search(queries, depth)
        # an approximate index fills up with row -1, which ties with nothing
        if depth == index.ntotal or not ((scores[:, k - 1] == scores[:, -1]) & (rows[:, -1] >= 0)).any():
            return scores, rows
        depth = min(2 * depth, index.ntotal)


def by_pieces(
    queries: NDArray[np.float32],
    vectors: Any,
    k: int,
    size: int = CHUNK,
    knn: Callable[..., Answers] = faiss.knn,
) -> Answers:
    """Search the pieces of a corpus one after the other and merge their best: equal to one search over all of it.

    Args:
        queries: ``(Q, D)``.
        vectors: ``(N, D)``; may be a memory map, or for a ``knn`` that takes it a sparse array.
        k: How many.
        size: Rows of a piece; ``knn`` is asked for at most so many answers.
        knn: As `faiss.knn`.

    Returns:
        Ordered by score, then by row.
    """
    scores = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, vectors.shape[0], size):
        piece = vectors[start : start + size]
        piece = piece if sparse.issparse(piece) else np.ascontiguousarray(piece, np.float32)
        # one more than k: a tie at the cut of a piece must not decide by chance
        new, found = knn(queries, piece, min(k + 1, piece.shape[0]), metric=faiss.METRIC_INNER_PRODUCT)
        if piece.shape[0] > k + 1:
            new, found = _whole_ties(queries, piece, k, new, found)
        scores = np.concatenate([scores, new], axis=1)
        rows = np.concatenate([rows, np.where(found >= 0, found + start, -1)], axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return scores, rows


def _whole_ties(
    queries: NDArray[np.float32],
    piece: Any,
    k: int,
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> Answers:
    for query in np.flatnonzero(scores[:, k - 1] == scores[:, -1]):
        products = piece @ queries[query]
        order = np.lexsort((np.arange(len(products)), -products))[: k + 1]
        scores[query], rows[query] = products[order], order
    return scores, rows
