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
    split: Callable[[Any, int], Answers] | None = None,
) -> Answers:
    """Search deeper where a tie straddles rank k, for FAISS cuts a tie at an arbitrary place.

    Only the queries with such a tie are asked again.

    Args:
        index: FAISS's index.
        queries: ``(Q, D)``.
        k: From 1 to the number of documents.
        limit: Deepest search that the device allows, at least k unless ``split`` is given.
        split: From queries and k to their answers, where a deeper search would be needed; without it a tie at the limit stays as
            it is.

    Returns:
        At least k answers of each query; `ordered` puts them in order.
    """
    depth = min(k + 1, index.ntotal)
    if limit is not None and depth > limit:
        return split(queries, k) if split else index.search(queries, limit)
    scores, rows = index.search(queries, depth)
    width, parted = depth, np.flatnonzero(_parted(scores, rows, k))
    while len(parted) and depth < index.ntotal:
        depth = min(2 * depth, index.ntotal)
        asked = queries[parted]
        if limit is not None and depth > limit:
            found, places = split(asked, width) if split else index.search(asked, limit)
            left = parted[:0]
        else:
            found, places = index.search(asked, depth)
            left = parted[_parted(found, places, k)]
        scores[parted], rows[parted] = ordered(found, places, width)
        parted = left
    return scores, rows


def ordered(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> Answers:
    """Order answers by score, then by row, and keep the best k.

    Args:
        scores: ``(Q, ≥ k)``; changed in place where they are not in order. FAISS gives them in order but for ties.
        rows: The same; −1 for none, whose score is −∞.
        k: How many.
    """
    mixed = np.flatnonzero((scores[:, 1:] >= scores[:, :-1]).any(axis=1))
    if len(mixed):
        order = np.lexsort((rows[mixed], -scores[mixed]), axis=1)
        scores[mixed] = np.take_along_axis(scores[mixed], order, 1)
        rows[mixed] = np.take_along_axis(rows[mixed], order, 1)
    return scores[:, :k], rows[:, :k]


def _parted(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Tell which queries have a tie that goes beyond the last answer; a row −1, with which an approximate index fills up, ties with nothing."""
    found: NDArray[np.bool_] = (scores[:, k - 1] == scores[:, -1]) & (rows[:, -1] >= 0)
    return found


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
        scores, rows = ordered(scores, rows, k)
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
