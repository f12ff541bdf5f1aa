"""Exact search over dense vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from kdhub.api import UsageError, file_sha256, near_matches, read_sealed, write_sealed

SIMILARITIES = ("cosine", "dot")
_UNIT_TOLERANCE = 1e-3  # a float16 unit vector is off by at most about this


class FlatIndex:
    """Exact inner-product search in FAISS (``IndexFlatIP``), with ids and a fixed order of ties.

    Args:
        similarity: ``'cosine'`` demands unit vectors, for an inner product is a cosine only for those, and unnormalised
            vectors would give a plausible, wrong ranking. ``'dot'`` takes vectors of any length.
    """

    def __init__(self, similarity: str = "cosine") -> None:
        if similarity not in SIMILARITIES:
            raise UsageError(
                "FlatIndex: bad similarity",
                expected=" or ".join(map(repr, SIMILARITIES)),
                got=repr(similarity),
                near=near_matches(str(similarity), SIMILARITIES),
            )
        self.similarity = similarity
        self.ids: tuple[str, ...] = ()
        self._index: faiss.Index | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def build(self, vectors: NDArray[np.floating], ids: Sequence[str]) -> FlatIndex:
        """Index vectors, replacing what was there.

        Args:
            vectors: ``(N, D)``, N ≥ 1, any float type.
            ids: One for each row, all different.

        Returns:
            The index itself.

        Raises:
            UsageError: For vectors that cannot be searched, or ids that do not fit them.
        """
        rows = self._checked(vectors, "document")
        if len(ids) != len(rows) or len(set(ids)) != len(ids):
            raise UsageError(
                "FlatIndex: one id for each vector",
                expected=f"{len(rows)} different ids",
                got=f"{len(ids)}, {len(set(ids))} of them different",
            )
        self._index = faiss.IndexFlatIP(rows.shape[1])
        self._index.add(rows)
        self.ids = tuple(ids)
        return self

    def search(self, vectors: NDArray[np.floating], k: int) -> list[list[tuple[str, float]]]:
        """Find the best k documents of each query.

        Args:
            vectors: Queries ``(Q, D)``.
            k: At least 1; more than there are documents gives all of them.

        Returns:
            For each query ``(id, score)`` from best to worst; equal scores in the order of `build`.

        Raises:
            UsageError: If nothing was indexed, the queries cannot be compared with what was, or a score is not finite.
        """
        if self._index is None:
            raise UsageError("FlatIndex: nothing is indexed yet", fix="build it, or load one")
        if k < 1:
            raise UsageError("FlatIndex: bad k", expected="at least 1", got=str(k))
        queries = self._checked(vectors, "query")
        if queries.shape[1] != self._index.d:
            raise UsageError(
                "FlatIndex: queries of another width than the documents",
                expected=f"(Q, {self._index.d})",
                got=str(queries.shape),
                fix="encode both with the model the index was built with, or build it again",
            )
        k = min(k, len(self.ids))
        scores, rows = _search_past_ties(self._index, queries, k)
        # FAISS answers with row -1 where it found no finite score, and numpy would take that for the last document
        if (rows < 0).any() or not np.isfinite(scores).all():
            raise UsageError(
                "FlatIndex: some scores are not finite",
                expected=f"a number for each of the best {k} documents",
                got="NaN, infinity or no answer from FAISS",
                fix="build the index again; if that does not help, look for huge values in the embeddings",
            )
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        return [
            [(self.ids[row], float(score)) for row, score in zip(own_rows, own_scores, strict=True)]
            for own_rows, own_scores in zip(rows, scores, strict=True)
        ]

    def save(self, folder: str | Path) -> None:
        """Write the index into an existing folder: ``index.faiss``, and ``index.json`` with the ids and checksums of both."""
        if self._index is None:
            raise UsageError("FlatIndex: nothing to save yet", fix="build it first")
        vectors = Path(folder) / "index.faiss"
        faiss.write_index(self._index, str(vectors))
        description = {"similarity": self.similarity, "ids": self.ids, "vectors_sha256": file_sha256(vectors)}
        write_sealed(Path(folder) / "index.json", description)

    @classmethod
    def load(cls, folder: str | Path) -> FlatIndex:
        """Read what `save` wrote.

        Raises:
            UsageError: If the files are missing or damaged, or an older kdhub wrote them without checksums.
        """
        vectors = Path(folder) / "index.faiss"
        try:
            description = read_sealed(Path(folder) / "index.json")
            if description["vectors_sha256"] != file_sha256(vectors):
                raise ValueError("index.faiss does not match its checksum")
            index = cls(description["similarity"])
            index.ids = tuple(description["ids"])
            index._index = faiss.read_index(str(vectors))
        except (UsageError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise UsageError(
                "cannot read the index", where=str(folder), got=str(error).splitlines()[0], fix="build it again"
            ) from error
        return index

    def _checked(self, vectors: NDArray[np.floating], what: str) -> NDArray[np.float32]:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or not len(rows):
            raise UsageError(f"FlatIndex: no usable {what} vectors", expected="(N, D), N >= 1", got=str(rows.shape))
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise UsageError(
                f"FlatIndex: {what} vector {int(np.flatnonzero(~finite)[0])} is not finite",
                expected="numbers",
                got=f"NaN or infinity in {int((~finite).sum())} of {len(rows)} vectors",
                fix="look at the model: its training may have diverged",
            )
        if self.similarity == "cosine":
            lengths = np.linalg.norm(rows, axis=1)
            wrong = np.abs(lengths - 1) > _UNIT_TOLERANCE
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise UsageError(
                    f"FlatIndex: {what} vector {row} is not of length 1, so its inner products are not cosines",
                    expected="unit vectors for similarity='cosine'",
                    got=f"length {lengths[row]:.4g}",
                    fix="normalise the embeddings, or set similarity='dot'",
                )
        return rows


def _search_past_ties(
    index: faiss.Index, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search deeper until no tie straddles rank k, for FAISS cuts a tie at an arbitrary place."""
    depth = min(k + 1, index.ntotal)
    while True:
        scores, rows = index.search(queries, depth)
        if depth == index.ntotal or not (scores[:, k - 1] == scores[:, -1]).any():
            return scores, rows
        depth = min(2 * depth, index.ntotal)
