"""Approximate search over sparse vectors for corpora that exact inverted lists are too slow for: Seismic."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.api import UsageError, integer, number, optional, require
from kdret.index.base import Index, Ranking
from kdret.index.recall import Recall, sample_rows
from kdret.index.vectors import checked_ids, checked_sparse
from kdret.log import tell

_FILE = "seismic"
_SHORT = 1 << 16
"""Widths from here on take Seismic's variant with longer term numbers."""
_FIRST_EFFORT = 8


class SeismicIndex(Index):
    """Approximate inner-product search over sparse vectors by blocks of inverted lists, with a recall that was measured.

    A query walks the lists of its heaviest terms and skips blocks whose summary promises too little. The number of these terms is
    doubled until the recall against exact search reaches ``recall``; the last measurement is kept with the index. Seismic keeps
    weights at half precision, and scores are of these. Below about a million documents, `SparseIndex` is exact and fast enough.

    Args:
        similarity: ``'dot'``, or ``'cosine'``, which demands rows of length 1.
        effort: How many of a query's terms are followed; ``None`` finds it by measuring.
        recall: Share of the true best 10 to be found.
        heap_factor: In (0, 1]: how sure a block must be to hold nothing before it is skipped. Lower searches more.
        postings: Mean length of a list that is kept; more is more exact and larger.
        seed: Of the sample for the recall.

    Raises:
        UsageError: For a value that makes no sense, or if pyseismic-lsr is not installed.

    Source: Bruch et al. 2024, Efficient Inverted Indexes for Approximate Retrieval over Learned Sparse Representations, arXiv
    2404.18812; card faiss_indexing.md, section 4.
    """

    kind = "seismic"

    def __init__(
        self,
        similarity: str = "dot",
        effort: int | None = None,
        recall: float = 0.95,
        heap_factor: float = 0.7,
        postings: int = 3500,
        seed: int = 0,
    ) -> None:
        super().__init__(similarity)
        require("SeismicIndex", optional(integer(1)), effort=effort)
        require("SeismicIndex", integer(1), postings=postings)
        require("SeismicIndex", integer(0), seed=seed)
        require("SeismicIndex", number(at_least=0), recall=recall)
        require("SeismicIndex", number(above=0), heap_factor=heap_factor)
        self.effort, self.wanted_recall, self.heap_factor = effort, recall, heap_factor
        self.postings, self.seed = postings, seed
        self.recall: Recall | None = None
        self._asked = effort
        self._width = 0
        self._index: Any = None
        self._library = _seismic()

    def build(self, vectors: Any, ids: Sequence[Any], queries: Any = None) -> SeismicIndex:
        """Build the lists and measure the recall; see `Index.build`. Rows without an entry are never found."""
        rows = checked_sparse(vectors, "SeismicIndex", "document", self.similarity)
        names = checked_ids(ids, rows.shape[0], "SeismicIndex")
        _require_positive(rows, "document")
        rows.sort_indices()
        self._width = rows.shape[1]
        data = self._kind("Dataset")(self._width)
        data.add_documents_by_id(
            list(map(str, range(len(names)))), rows.indices.astype(np.int64), rows.data, rows.indptr.astype(np.int64)
        )
        with _silent():
            self._index = self._kind("Index").build_from_dataset(data, n_postings=self.postings)
        self.ids = names
        self._measure(rows, queries)
        return self

    def search(self, vectors: Any, k: int) -> list[Ranking]:
        """Find about the best k documents of each query; see `Index.search`. Documents without a common term are not found."""
        k = self._require_built(k)
        queries = checked_sparse(vectors, "SeismicIndex", "query", self.similarity)
        self._require_width(queries.shape[1], self._width)
        _require_positive(queries, "query")
        found = []
        for answers in self._answers(queries, k):
            best = sorted((-score, int(row)) for _, score, row in answers)
            found.append([(self.ids[row], -score) for score, row in best])
        return found

    def _answers(self, queries: Any, k: int) -> list[list[tuple[str, float, str]]]:
        # answers come in any order, and a query without a term would be an error
        asked = np.flatnonzero(np.diff(queries.indptr))
        found: list[list[tuple[str, float, str]]] = [[] for _ in range(queries.shape[0])]
        if not len(asked):
            return found
        text = self._library.get_seismic_string()
        parts = [slice(queries.indptr[row], queries.indptr[row + 1]) for row in asked]
        answers = self._index.batch_search(
            asked.astype(text),
            [queries.indices[own].astype(text) for own in parts],
            [queries.data[own] for own in parts],
            k=k,
            query_cut=self.effort,
            heap_factor=self.heap_factor,
        )
        for own in answers:
            if own:
                found[int(own[0][0])] = own
        return found

    def _measure(self, rows: Any, queries: Any) -> None:
        asked, own = sample_rows(rows, queries, self.seed)
        sample = Recall.prepare(asked, own, rows)
        most = int((asked != 0).sum(axis=1).max())
        self.effort = self._asked or min(_FIRST_EFFORT, max(most, 1))
        while True:
            self.recall = sample.measured(self._padded, rows)
            if self._asked or self.recall.value >= self.wanted_recall or self.effort >= most:
                break
            self.effort = min(2 * self.effort, most)
        told = f"seismic index: {self.recall.line()} with {self.effort} terms of a query"
        if self.recall.value < self.wanted_recall:
            told += f"; less than the {self.wanted_recall:g} asked for, so lower heap_factor, or take kdret.SparseIndex"
        tell(told)

    def _padded(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        asked = checked_sparse(queries, "SeismicIndex", "query", "dot")
        for place, answers in enumerate(self._answers(asked, k)):
            scores[place, : len(answers)] = [score for _, score, _ in answers]
            rows[place, : len(answers)] = [int(row) for _, _, row in answers]
        return scores, rows

    def _kind(self, name: str) -> Any:
        return getattr(self._library, f"Seismic{name}{'LV' if self._width >= _SHORT else ''}")

    def _settings(self) -> dict[str, Any]:
        return {
            "width": self._width,
            "effort": self.effort,
            "heap_factor": self.heap_factor,
            "postings": self.postings,
            "recall": self.recall._asdict() if self.recall else None,
        }

    def _write(self, folder: Path) -> list[str]:
        before = set(folder.iterdir())
        with _silent():
            self._index.save(str(folder / _FILE))
        return [path.name for path in set(folder.iterdir()) - before]

    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        self._width, self.effort = settings["width"], settings["effort"]
        self.heap_factor, self.postings = settings["heap_factor"], settings["postings"]
        self.recall = Recall(**settings["recall"]) if settings["recall"] else None
        (path,) = folder.glob(f"{_FILE}.*")
        self._index = self._kind("Index").load(str(path))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what the library prints off the standard output, where a program may read JSON."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _seismic() -> Any:
    try:
        import seismic
    except ImportError as error:
        raise UsageError(
            "SeismicIndex: pyseismic-lsr is not installed",
            fix="pip install 'kdhub-retrieval[seismic]', or take kdret.SparseIndex, which is exact",
        ) from error
    return seismic


def _require_positive(rows: Any, what: str) -> None:
    if (rows.data < 0).any():
        row = int(np.searchsorted(rows.indptr, np.flatnonzero(rows.data < 0)[0], "right")) - 1
        raise UsageError(
            f"SeismicIndex: {what} vector {row} has a negative weight",
            expected="weights of at least 0, as SPLADE's",
            fix="take kdret.SparseIndex, which allows them",
        )
