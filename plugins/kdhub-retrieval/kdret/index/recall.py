"""How much of the truth an approximate index finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kdret.index.exact import Answers, by_pieces

_QUERIES = 200
_DEPTH = 10
_TOLERANCE = 1e-6
"""Relative: a document that ties with the last of the true best is none the worse for it."""


class Recall(NamedTuple):
    """Recall@k against exact search.

    Attributes:
        value: Mean over the queries of the share of the true best k that is found.
        k: Depth.
        queries: How many were asked.
        kind: ``'queries'``, or ``'documents'`` that were asked as queries and do not count as their own answer.
    """

    value: float
    k: int
    queries: int
    kind: str

    def line(self) -> str:
        """Write it as text."""
        return f"recall@{self.k} {self.value:.3f} against exact search, on {self.queries} {self.kind}"

    @staticmethod
    def prepare(queries: NDArray[np.float32], own: NDArray[np.int64], vectors: Any) -> Sample:
        """Search exactly, once.

        Args:
            queries: ``(Q, D)``.
            own: ``(Q,)``: row of the document that a query is; −1 for real queries.
            vectors: ``(N, D)``, dense, or a sparse array of scipy.
        """
        total = vectors.shape[0]
        k = max(1, min(_DEPTH, total - bool((own >= 0).any())))
        knn = _sparse_knn if sparse.issparse(vectors) else faiss.knn
        scores, rows = by_pieces(queries, vectors, min(k + 1, total), knn=knn)
        others = np.where(rows == own[:, None], -np.inf, scores)
        least = -np.sort(-others, axis=1)[:, k - 1]
        return Sample(queries, own, k, least)


class Sample(NamedTuple):
    """Queries with the score of their true k-th answer."""

    queries: NDArray[np.float32]
    own: NDArray[np.int64]
    k: int
    least: NDArray[np.float32]

    def measured(self, search: Callable[[NDArray[np.float32], int], Answers], vectors: Any) -> Recall:
        """Measure an index.

        Args:
            search: ``(queries, k)`` to scores and rows, unordered; −1 is no row.
            vectors: ``(N, D)``, as for `Recall.prepare`.
        """
        themselves = bool((self.own >= 0).any())
        scores, rows = search(self.queries, min(self.k + themselves, vectors.shape[0]))
        shares = []
        for query, own, least, found, order in zip(
            self.queries, self.own, self.least, rows, np.argsort(-scores, axis=1, kind="stable"), strict=True
        ):
            best = [row for row in found[order] if row not in (own, -1)][: self.k]
            found_vectors = vectors[best]
            if not sparse.issparse(found_vectors):
                found_vectors = np.asarray(found_vectors, np.float32)
            true = found_vectors @ query if best else np.empty(0)
            if least == -np.inf:  # a single document, which is the query
                shares.append(1.0)
                continue
            hits = int((true >= least - _TOLERANCE * max(1.0, abs(float(least)))).sum())
            shares.append(hits / self.k)
        return Recall(float(np.mean(shares)), self.k, len(shares), "documents" if themselves else "queries")


def sample_rows(vectors: Any, queries: Any, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Draw what is asked: of the queries if there are any, else of the documents, with their rows; as dense vectors."""
    source = vectors if queries is None else queries
    rows = np.sort(np.random.default_rng(seed).permutation(source.shape[0])[:_QUERIES])
    drawn = source[rows]
    drawn = drawn.toarray() if sparse.issparse(drawn) else np.asarray(drawn)
    return drawn, rows if queries is None else np.full(len(rows), -1)


def _sparse_knn(queries: NDArray[np.float32], piece: Any, k: int, metric: int) -> Answers:
    scores = (piece @ queries.T).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, 1), rows
