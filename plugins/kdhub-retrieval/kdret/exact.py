"""Exact ranking of a split by vectors of any kind: dense, sparse, or several for each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sentence_transformers.util import maxsim

from kdhub.api import UsageError
from kdret.collapse import require_spread
from kdret.index import FlatIndex

_AT_ONCE = 64
"""Queries of which all scores are in memory together."""

Ranking = list[tuple[str, float]]


def exact_rankings(
    queries: Sequence[Any], documents: Sequence[Any], ids: Sequence[str], k: int, similarity: str, where: str
) -> list[Ranking]:
    """Rank documents for each query.

    Args:
        queries: One embedding for each query: a vector ``(D,)``, a sparse row ``(1, V)``, or vectors of tokens ``(T, D)``.
        documents: The same for each document.
        ids: Theirs.
        k: How many documents of each query to return at most.
        similarity: Of dense vectors, ``'cosine'`` or ``'dot'``. Sparse ones are compared by dot products, and vectors of
            tokens by MaxSim: the sum over a query's tokens of the largest dot product with a document's.
        where: Who ranks, for errors.

    Returns:
        For each query ``(id, score)`` from best to worst; equal scores in the order of ``ids``.

    Raises:
        UsageError: If a vector is not finite, dense vectors are no cosines, or all documents have the same score.
    """
    if scipy.sparse.issparse(documents[0]):
        _require_finite([row.data for row in documents], [row.data for row in queries], where)
        return _by_scores(stacked(queries), stacked(documents), ids, k, _dot_products, where)
    if documents[0].ndim == 2:
        _require_finite(documents, queries, where)
        return _by_scores(list(queries), list(documents), ids, k, _late_interaction, where)
    asked, rows = np.stack(queries), np.stack(documents)
    rankings = FlatIndex(similarity).build(rows, ids).search(asked, k)
    require_spread(asked, rows, where)
    return rankings


def stacked(rows: Sequence[Any]) -> Any:
    """Put sparse rows ``(1, V)`` below each other, ``(N, V)``; what is stored as 0 counts for nothing."""
    matrix = scipy.sparse.csr_array(scipy.sparse.vstack(rows))
    matrix.eliminate_zeros()
    return matrix


def _require_finite(documents: Sequence[Any], queries: Sequence[Any], where: str) -> None:
    for what, rows in (("document", documents), ("query", queries)):
        wrong = [row for row, values in enumerate(rows) if not np.isfinite(values).all()]
        if wrong:
            raise UsageError(
                f"{where}: {what} vector {wrong[0]} is not finite",
                expected="numbers",
                got=f"NaN or infinity in {len(wrong)} of {len(rows)} vectors",
                fix="look at the model: its training may have diverged",
            )


def _by_scores(
    queries: Any, documents: Any, ids: Sequence[str], k: int, score: Callable[[Any, Any], NDArray[Any]], where: str
) -> list[Ranking]:
    count = queries.shape[0] if scipy.sparse.issparse(queries) else len(queries)
    rankings: list[Ranking] = []
    for start in range(0, count, _AT_ONCE):
        scores = score(queries[start : start + _AT_ONCE], documents)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rankings += [[(ids[row], float(own[row])) for row in order] for own, order in zip(scores, best, strict=True)]
    require_spread(queries, documents, where, score)
    return rankings


def _dot_products(queries: Any, documents: Any) -> NDArray[Any]:
    found: NDArray[Any] = (queries @ documents.T).toarray()
    return found


def _late_interaction(queries: Sequence[Any], documents: Sequence[Any]) -> NDArray[Any]:
    both = ([torch.from_numpy(one) for one in side] for side in (queries, documents))
    found: NDArray[Any] = maxsim(*both).numpy()
    return found
