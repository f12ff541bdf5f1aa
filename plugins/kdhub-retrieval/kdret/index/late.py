"""Late interaction: documents as one vector for each token, found by their tokens and ranked by MaxSim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.api import integer, optional, require
from kdret.index.base import Index, Ranking
from kdret.index.dense import FaissIndex
from kdret.index.token_lists import TokenLists
from kdret.index.vectors import checked, checked_ids

_TOKENS_AT_ONCE = 65_536


class MaxSimIndex(Index):
    """Search by late interaction: a score is the sum over a query's tokens of the best product with a token of the document.

    The tokens of all documents stand in a `FaissIndex`. Each token of a query finds its nearest ones there; the documents that own
    them are candidates, and those are scored exactly. A document that no query token finds is not ranked, so a search may give
    fewer than k. ``candidates=None`` scores all documents: exact, and as slow as that sounds.

    Args:
        similarity: ``'cosine'`` demands unit vectors, as ColBERT's are.
        candidates: How many nearest tokens each token of a query looks at.
        factory: Of the index over tokens; see `FaissIndex`.
        memory: GiB that the index over tokens may use.
        effort: ``nprobe`` or ``efSearch`` of the index over tokens; ``None`` finds it by measuring.

    Raises:
        UsageError: For a value that makes no sense.

    Source: Khattab and Zaharia 2020, ColBERT, arXiv 2004.12832; card retrieval_losses.md, section 2.
    """

    kind = "late"

    def __init__(
        self,
        similarity: str = "cosine",
        candidates: int | None = 256,
        factory: str = "auto",
        memory: float | None = None,
        effort: int | None = None,
    ) -> None:
        super().__init__(similarity)
        require("MaxSimIndex", optional(integer(1)), candidates=candidates)
        self.candidates = candidates
        self._finder = FaissIndex(similarity, factory, memory=memory, effort=effort)
        self._tokens: NDArray[Any] = np.empty((0, 0), np.float32)
        self._starts: NDArray[np.int64] = np.zeros(1, np.int64)
        self._owners: NDArray[np.int64] = np.empty(0, np.int64)

    def build(self, vectors: Sequence[Any] | TokenLists, ids: Sequence[Any], queries: Any = None) -> MaxSimIndex:
        """Index documents; see `Index.build`.

        Args:
            vectors: N arrays ``(T, D)``, T ≥ 1 tokens of one document each. A `TokenLists` may leave them on the disk.
            ids: One for each document.
            queries: Arrays ``(T, D)``; their tokens are what the index over tokens is tried on.

        Raises:
            UsageError: As there, and for a document without tokens or tokens of different widths.
        """
        names = checked_ids(ids, len(vectors), "MaxSimIndex")
        documents = TokenLists.of(vectors, "document")
        if self.candidates is None:
            checked(documents.tokens, "MaxSimIndex", "token", self.similarity)
        else:
            asked = None if queries is None else TokenLists.of(queries, "query").tokens
            self._finder.build_rows(documents.tokens, asked)
        self._keep(documents.tokens, documents.starts)
        self.ids = names
        return self

    def search(self, vectors: Sequence[Any], k: int) -> list[Ranking]:
        """Find the best k documents of each query; see `Index.search`.

        Args:
            vectors: One array ``(T, D)`` of tokens for each query.
            k: At least 1.
        """
        k = self._require_built(k)
        queries = TokenLists.of(vectors, "query")
        tokens = queries.tokens
        self._require_width(tokens.shape[1], self._tokens.shape[1])
        tokens = checked(tokens, "MaxSimIndex", "query token", self.similarity)
        found: list[Ranking] = []
        for start, end in pairwise(queries.starts.tolist()):
            rows = self._found_by(tokens[start:end])
            scores = self._maxsim(tokens[start:end], rows)
            order = np.lexsort((rows, -scores))[:k]
            found.append(
                list(zip(map(self.ids.__getitem__, rows[order].tolist()), scores[order].tolist(), strict=True))
            )
        return found

    def _found_by(self, query: NDArray[np.float32]) -> NDArray[np.int64]:
        if self.candidates is None:
            return np.arange(len(self.ids))
        tokens = np.concatenate([rows.ravel() for _, rows in self._finder.nearest(query, self.candidates)])
        return np.unique(self._owners[tokens[tokens >= 0]])

    def _maxsim(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        lengths = self._starts[rows + 1] - self._starts[rows]
        scores = np.empty(len(rows))
        first = 0
        while first < len(rows):  # so many documents at once that their products fit into the memory
            until = first + max(1, int(np.searchsorted(np.cumsum(lengths[first:]), _TOKENS_AT_ONCE, "right")))
            own = lengths[first:until]
            ends = np.cumsum(own)
            places = np.arange(ends[-1]) + np.repeat(self._starts[rows[first:until]] - ends + own, own)
            products = np.asarray(self._tokens[places], np.float32) @ query.T
            scores[first:until] = np.maximum.reduceat(products, ends - own, axis=0).astype(np.float64).sum(axis=1)
            first = until
        return scores

    def _keep(self, tokens: NDArray[Any], starts: NDArray[np.int64]) -> None:
        self._tokens, self._starts = tokens, starts
        self._owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))

    def _settings(self) -> dict[str, Any]:
        finder = self._finder.facts() if self.candidates is not None else {}
        own = {"candidates": self.candidates, "width": self._tokens.shape[1], "tokens": len(self._tokens)}
        return {**own, "factory": finder.get("factory"), "recall": finder.get("recall"), "finder": finder}

    def _write(self, folder: Path) -> list[str]:
        np.save(folder / "tokens.npy", self._tokens)
        np.save(folder / "starts.npy", self._starts)
        more = self._finder.write_vectors(folder) if self.candidates is not None else []
        return ["tokens.npy", "starts.npy", *more]

    def _read(self, folder: Path, settings: Mapping[str, Any], mmap: bool) -> None:
        self.candidates = settings["candidates"]
        mode: Any = "r" if mmap else None
        self._keep(
            np.load(folder / "tokens.npy", mmap_mode=mode, allow_pickle=False),
            np.load(folder / "starts.npy", allow_pickle=False),
        )
        if len(self._starts) != len(self.ids) + 1 or self._starts[-1] != len(self._tokens):
            raise ValueError("tokens.npy, starts.npy and ids.jsonl do not belong together")
        if self.candidates is not None:
            self._finder.read_vectors(folder, settings["finder"], mmap, len(self._tokens))
