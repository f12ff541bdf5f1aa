"""Vectors that can be searched: checked in chunks, so that a corpus may be larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kdhub.api import UsageError
from kdret.index.planning import CHUNK

UNIT_TOLERANCE = 1e-3
"""A float16 unit vector is off by at most about this."""


def chunks(vectors: NDArray[Any], owner: str, what: str, similarity: str, rows: int = CHUNK) -> Iterator[NDArray[Any]]:
    """Yield float32 copies of rows that were checked.

    Args:
        vectors: ``(N, D)``; may be a memory map.
        owner: Whose they are, for errors.
        what: ``'document'`` or ``'query'``, for errors.
        similarity: ``'cosine'`` demands unit vectors.
        rows: Rows of one chunk.
    """
    for start in range(0, len(vectors), rows):
        yield checked(vectors[start : start + rows], owner, what, similarity, start)


def checked(vectors: NDArray[Any], owner: str, what: str, similarity: str, first: int = 0) -> NDArray[np.float32]:
    """Return rows as contiguous float32.

    Raises:
        UsageError: For an array that is no list of vectors, numbers that are not finite, and for cosines vectors that are
            not of length 1.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or not len(rows) or not rows.shape[1]:
        raise UsageError(f"{owner}: no usable {what} vectors", expected="(N, D), N >= 1", got=str(rows.shape))
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise UsageError(
            f"{owner}: {what} vector {first + int(np.flatnonzero(~finite)[0])} is not finite",
            expected="numbers",
            got=f"NaN or infinity in {int((~finite).sum())} of {len(rows)} vectors",
            fix="look at the model: its training may have diverged",
        )
    if similarity == "cosine":
        _require_units(np.linalg.norm(rows, axis=1), owner, what, first)
    return rows


def checked_sparse(vectors: Any, owner: str, what: str, similarity: str) -> Any:
    """Return a copy as CSR in float32, without explicit zeros and with repeated entries added up.

    Args:
        vectors: ``(N, V)``: a matrix of scipy, or an array.
        owner: Whose they are, for errors.
        what: ``'document'`` or ``'query'``, for errors.
        similarity: ``'cosine'`` demands unit vectors.

    Raises:
        UsageError: As for `checked`.
    """
    rows = sparse.csr_array(vectors, dtype=np.float32, copy=True)
    if rows.ndim != 2 or not rows.shape[0] or not rows.shape[1]:
        raise UsageError(f"{owner}: no usable {what} vectors", expected="(N, V), N >= 1", got=str(rows.shape))
    if not np.isfinite(rows.data).all():
        entry = int(np.flatnonzero(~np.isfinite(rows.data))[0])
        raise UsageError(
            f"{owner}: {what} vector {int(np.searchsorted(rows.indptr, entry, 'right')) - 1} is not finite",
            expected="numbers",
            got="NaN or infinity",
            fix="look at the model: its training may have diverged",
        )
    rows.sum_duplicates()
    rows.eliminate_zeros()
    if similarity == "cosine":
        _require_units(np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel()), owner, what, 0)
    return rows


def checked_ids(ids: Sequence[Any], rows: int, owner: str) -> tuple[str, ...]:
    """Return ids as text; whole numbers are taken for their digits, as in the files of a corpus.

    Raises:
        UsageError: If there is not one for each row, one is missing, or two are the same.
    """
    found = tuple(map(_as_text, ids))
    bad = next((row for row, key in enumerate(found) if key is None), None)
    if bad is not None:
        raise UsageError(
            f"{owner}: the id of row {bad} cannot be used", expected="text or a whole number", got=repr(ids[bad])[:80]
        )
    keys = tuple(key for key in found if key is not None)
    different = set(keys)
    if len(keys) != rows or len(different) != len(keys):
        seen: set[str] = set()
        twice = next((key for key in keys if key in seen or seen.add(key)), None)  # type: ignore[func-returns-value]
        raise UsageError(
            f"{owner}: one id for each vector",
            expected=f"{rows} different ids",
            got=f"{len(keys)}, {len(different)} of them different" + (f"; {twice!r} occurs twice" if twice else ""),
        )
    return keys


def _as_text(key: Any) -> str | None:
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return str(int(key))
    return key if isinstance(key, str) and key else None


def _require_units(lengths: NDArray[np.floating], owner: str, what: str, first: int) -> None:
    wrong = np.abs(lengths - 1) > UNIT_TOLERANCE
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong)[0])
    if lengths[row] == 0:
        raise UsageError(
            f"{owner}: {what} vector {first + row} is all zeros, so it has no direction",
            expected="unit vectors for similarity='cosine'",
            fix="leave empty texts out, or look at the model",
        )
    raise UsageError(
        f"{owner}: {what} vector {first + row} is not of length 1, so its inner products are not cosines",
        expected="unit vectors for similarity='cosine'",
        got=f"length {lengths[row]:.4g}",
        fix="normalise the embeddings, or set similarity='dot'",
    )
