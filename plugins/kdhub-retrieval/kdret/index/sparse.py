"""Exact search over sparse vectors, such as SPLADE's, by inverted lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import saxpy

from kdhub.api import UsageError, data_size, number, optional, require
from kdret.index.base import Index, Ranking, batches
from kdret.index.planning import CHUNK, budget_of
from kdret.index.vectors import checked_ids, checked_sparse
from kdret.log import tell

_OFTEN = 16
"""A term in more than one of so many documents is kept as a column: its list would be longer to walk than all documents."""
_BLOCK = 64
_UNIT = 2.0**-24
_FILES = (
    "rows_at",
    "row_terms",
    "row_weights",
    "lists_at",
    "list_rows",
    "list_weights",
    "columns",
    "column_of",
    "largest",
)


class SparseIndex(Index):
    """Exact inner-product search over sparse vectors: the ranking is that of the dense product in float64.

    A query touches only the lists of its own terms. Terms that most documents have are kept as whole columns, since adding a
    column costs less than walking a long list. Where rounding in float32 may have decided an order, scores are taken again in
    float64, so neither the order of sums nor the split into lists and columns shows in a ranking.

    Args:
        similarity: ``'dot'``, or ``'cosine'``, which demands rows of length 1.
        memory: GiB that the index and its building may use, besides the vectors given; ``None`` takes 80 % of what is free.

    Explicit zeros are dropped, and repeated entries are added up. Negative weights are allowed.

    Raises:
        UsageError: For a value that makes no sense.

    Source: card faiss_indexing.md, section 4.
    """

    kind = "sparse"

    def __init__(self, similarity: str = "dot", memory: float | None = None) -> None:
        super().__init__(similarity)
        require("SparseIndex", optional(number(above=0)), memory=memory)
        self.memory = memory
        self._parts: dict[str, NDArray[Any]] = {}
        self._signed = False

    def build(self, vectors: Any, ids: Sequence[Any], queries: Any = None) -> SparseIndex:
        """Index vectors: scipy's sparse matrices, or arrays; see `Index.build`. It is exact, so queries are not needed."""
        rows = checked_sparse(vectors, "SparseIndex", "document", self.similarity)
        names = checked_ids(ids, rows.shape[0], "SparseIndex")
        found = np.zeros(rows.shape[1], np.int64)
        for part in batches(rows.nnz, CHUNK):  # counting makes 8 bytes of each
            found += np.bincount(rows.indices[part], minlength=rows.shape[1])
        often = np.flatnonzero(found * _OFTEN > rows.shape[0])
        self._require_memory(rows, len(often), int(found[often].sum()))
        self._parts = {}  # what was built before goes first
        lists = rows.tocsc()
        largest = _largest(lists)
        columns = np.zeros((len(often), rows.shape[0]), np.float32)
        column_of = np.full(rows.shape[1], -1, np.int32)
        column_of[often] = np.arange(len(often), dtype=np.int32)
        for column, term in zip(columns, often.tolist(), strict=True):
            own = slice(lists.indptr[term], lists.indptr[term + 1])
            column[lists.indices[own]] = lists.data[own]
        if len(often):  # long lists stand in columns and need no second place; one array goes before the next one comes
            seldom = np.repeat(column_of < 0, found)
            lists.indices = lists.indices[seldom]
            lists.data = lists.data[seldom]
        self._parts = {
            "rows_at": rows.indptr.astype(np.int64),
            "row_terms": rows.indices.astype(np.int32, copy=False),
            "row_weights": rows.data,
            "lists_at": np.concatenate([[0], np.cumsum(np.where(column_of < 0, found, 0))]),
            "list_rows": lists.indices.astype(np.int32, copy=False),
            "list_weights": lists.data,
            "columns": columns,
            "column_of": column_of,
            "largest": largest,
        }
        self._signed = bool((rows.data < 0).any())
        self.ids = names
        return self

    def search(self, vectors: Any, k: int) -> list[Ranking]:
        """Find the best k documents of each query; see `Index.search`. Documents without a common term score 0."""
        k = self._require_built(k)
        queries = checked_sparse(vectors, "SparseIndex", "query", self.similarity)
        self._require_width(queries.shape[1], len(self._parts["column_of"]))
        found: list[Ranking] = []
        dense = np.zeros(queries.shape[1], np.float32)  # one query, its weights where its terms are
        for query in range(queries.shape[0]):
            own = slice(queries.indptr[query], queries.indptr[query + 1])
            terms, weights = queries.indices[own], queries.data[own]
            dense[terms] = weights
            rows, scores = self._best(terms, weights, dense, k)
            found.append(list(zip(map(self.ids.__getitem__, rows), scores, strict=True)))
            dense[terms] = 0.0
        return found

    def _best(
        self, terms: NDArray[Any], weights: NDArray[np.float32], dense: NDArray[np.float32], k: int
    ) -> tuple[list[int], list[float]]:
        """Return the rows of the best k and their scores, in order."""
        rough = self._rough(terms, weights)
        # what rounding may have moved a score by, in the worst case
        error = (len(terms) + 2) * _UNIT * float(np.abs(weights) @ self._parts["largest"][terms])
        rows = self._candidates(rough, error, k, bool((weights < 0).any()))
        rows = rows[np.lexsort((rows, -rough[rows]))]
        scores = rough[rows].astype(np.float64)
        # neighbours that are too close to tell apart
        close = -np.diff(scores) <= 2 * error
        unsure = np.append(close, False) | np.append(False, close)
        if unsure.any():
            scores[unsure] = self._scores(dense, rows[unsure])
        order = np.lexsort((rows, -scores))[:k]
        return rows[order].tolist(), scores[order].tolist()

    def _rough(self, terms: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        parts, total = self._parts, len(self.ids)
        rough = np.zeros(total, np.float32)
        columns = parts["column_of"][terms]
        for column, weight in zip(columns, weights, strict=True):
            if column >= 0:
                saxpy(parts["columns"][column], rough, a=weight)
        starts, ends = parts["lists_at"][terms], parts["lists_at"][terms + 1]
        for start, end, weight in zip(starts, ends, weights, strict=True):
            if end > start:
                np.add.at(rough, parts["list_rows"][start:end], weight * parts["list_weights"][start:end])
        return rough

    def _candidates(self, rough: NDArray[np.float32], error: float, k: int, signed: bool) -> NDArray[np.int64]:
        if k >= len(rough):
            return np.arange(len(rough))
        least = _at_least(rough, k) - 2 * error
        if least > 0 or self._signed or signed:
            return np.flatnonzero(rough >= least)
        # without negative weights 0 means no common term, and of those the first ones are as good as any
        return np.concatenate([np.flatnonzero(rough > 0), np.flatnonzero(rough == 0)[:k]])

    def _scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        parts = self._parts
        starts = parts["rows_at"][rows]
        lengths = parts["rows_at"][rows + 1] - starts
        ends = np.cumsum(lengths)
        # places of all their entries, one row after the other
        places = np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
        products = query[parts["row_terms"][places]].astype(np.float64) * parts["row_weights"][places]
        # an empty row has no sum of its own: reduceat would give it the next entry
        scores = np.zeros(len(rows))
        filled = lengths > 0
        if filled.any():
            scores[filled] = np.add.reduceat(products, (ends - lengths)[filled])
        return scores

    def _require_memory(self, rows: Any, columns: int, in_columns: int) -> None:
        in_lists = rows.nnz - in_columns
        size = 8 * rows.nnz + 8 * in_lists + 4 * columns * rows.shape[0] + 32 * sum(rows.shape)
        # a list of each term, of which the rare ones stay: a mark of each entry, and what stays beside what goes
        working = 9 * rows.nnz - 4 * in_lists
        budget = budget_of(self.memory)
        allowed = f", of {data_size(budget)} that may be used" if budget is not None else ""
        tell(
            f"sparse index for {rows.shape[0]} vectors with {rows.nnz / rows.shape[0]:.1f} entries each:"
            f" {data_size(size)} in memory and {data_size(working)} to build it{allowed}; {columns} frequent terms are kept as columns",
        )
        if budget is not None and size + working > budget:
            raise UsageError(
                "the sparse index does not fit into memory",
                expected=f"at most {data_size(budget)}",
                got=f"{data_size(size)} and {data_size(working)} to build it",
                fix="raise `memory` (GiB) if there is more, or make the vectors sparser",
            )

    def _settings(self) -> dict[str, Any]:
        parts = self._parts
        entries = len(parts["row_terms"]) / max(len(self), 1) if parts else 0.0
        return {
            "width": len(parts["column_of"]) if parts else None,
            "entries": round(entries, 1),
            "negative": self._signed,
        }

    def _write(self, folder: Path) -> list[str]:
        for name in _FILES:
            np.save(folder / f"{name}.npy", self._parts[name])
        return [f"{name}.npy" for name in _FILES]

    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        self._signed = settings["negative"]
        mode: Any = "r" if mmap else None
        self._parts = {name: np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False) for name in _FILES}
        if len(self._parts["rows_at"]) != len(self.ids) + 1:
            raise ValueError("rows_at.npy and ids.jsonl do not belong together")


def _largest(lists: Any) -> NDArray[np.float32]:
    """Return the largest weight of each column by its absolute value, without a copy of all weights."""
    largest = np.zeros(lists.shape[1], np.float32)
    filled = np.flatnonzero(np.diff(lists.indptr))
    if len(filled):
        starts = lists.indptr[filled]
        largest[filled] = np.maximum(np.maximum.reduceat(lists.data, starts), -np.minimum.reduceat(lists.data, starts))
    return largest


def _at_least(scores: NDArray[np.float32], k: int) -> float:
    """Return a number that at least k scores reach: the k-th largest, or close below it."""
    blocks = len(scores) // _BLOCK
    if blocks >= 2 * k:  # the best of every block are k different scores too, and there are fewer of them to sort
        scores = scores[: blocks * _BLOCK].reshape(_BLOCK, blocks).max(axis=0)
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])
