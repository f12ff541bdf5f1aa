"""How much of the truth an approximate index finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    def prepare(queries: NDArray[np.float32], own: NDArray[np.int64], vectors: NDArray[Any]) -> Sample:
        """Search exactly, once.

        Args:
            queries: ``(Q, D)``.
            own: ``(Q,)``: row of the document that a query is; −1 for real queries.
            vectors: ``(N, D)``.
        """
        k = max(1, min(_DEPTH, len(vectors) - bool((own >= 0).any())))
        scores, rows = by_pieces(queries, vectors, min(k + 1, len(vectors)))
        others = np.where(rows == own[:, None], -np.inf, scores)
        least = -np.sort(-others, axis=1)[:, k - 1]
        return Sample(queries, own, k, least)


class Sample(NamedTuple):
    """Queries with the score of their true k-th answer."""

    queries: NDArray[np.float32]
    own: NDArray[np.int64]
    k: int
    least: NDArray[np.float32]

    def measured(self, search: Callable[[NDArray[np.float32], int], Answers], vectors: NDArray[Any]) -> Recall:
        """Measure an index.

        Args:
            search: ``(queries, k)`` to scores and rows, unordered; −1 is no row.
            vectors: ``(N, D)``.
        """
        themselves = bool((self.own >= 0).any())
        scores, rows = search(self.queries, min(self.k + themselves, len(vectors)))
        shares = []
        for query, own, least, found, order in zip(
            self.queries, self.own, self.least, rows, np.argsort(-scores, axis=1, kind="stable"), strict=True
        ):
            best = [row for row in found[order] if row not in (own, -1)][: self.k]
            true = np.asarray(vectors[best], np.float32) @ query if best else np.empty(0)
            if least == -np.inf:  # a single document, which is the query
                shares.append(1.0)
                continue
            hits = int((true >= least - _TOLERANCE * max(1.0, abs(float(least)))).sum())
            shares.append(hits / self.k)
        return Recall(float(np.mean(shares)), self.k, len(shares), "documents" if themselves else "queries")


def recall_at(k: int, found: list[list[Any]], true: list[list[Any]]) -> float:
    """Return the mean share of the true best k among the found best k."""
    return float(np.mean([len(set(one[:k]) & set(other[:k])) / k for one, other in zip(found, true, strict=True)]))


def sample_rows(vectors: NDArray[Any], queries: Any, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Draw what is asked: of the queries if there are any, else of the documents, with their rows."""
    source = vectors if queries is None else np.asarray(queries)
    rows = np.sort(np.random.default_rng(seed).permutation(len(source))[:_QUERIES])
    return source[rows], rows if queries is None else np.full(len(rows), -1)
