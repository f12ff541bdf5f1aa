"""Collecting the records of a batch out of one column of a store, which may lie in several blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from kdhub.store.columns import Stacked, Varying, tensor_of
from kdhub.store.tree import Column

Take = Callable[[NDArray[np.int64]], Column]
"""Copies some records of a column: for each it gets how many records the store has before it.

It raises `IndexError` where the store has no such record.
"""

ARRAY_BYTES = 2**62
"""What numpy lets an array span at most, with some room to it."""


def taker(columns: Sequence[Stacked | Varying], bases: NDArray[np.int64], records: int) -> Take:
    """Return the fastest way to read a column.

    Args:
        columns: The column in each block.
        bases: For each block how many records the blocks before it have.
        records: How many all blocks have.
    """
    stacked = [column for column in columns if isinstance(column, Stacked)]
    if len(stacked) < len(columns) or stacked[0].width == 0:
        return _Pieces(columns, bases, records).take
    if len(stacked) == 1:
        return _one_block(stacked[0])
    starts = np.array([column.rows.ctypes.data for column in stacked])
    if (int(np.ptp(starts)) + max(column.data.nbytes for column in stacked)) * stacked[0].width >= ARRAY_BYTES:
        return _Pieces(columns, bases, records).take
    return _Windows(stacked, starts).take


def constant_column(records: int) -> Take:
    """Return what stands for the columns of a value that has none, as it is the same for all samples."""

    def require(spots: NDArray[np.int64]) -> Column:
        if len(spots) and spots.max() >= records:
            raise IndexError(f"no record {spots.max()} of {records}")
        return []

    return require


def _one_block(column: Stacked) -> Take:
    """Return the shortest way to the records: a read of small ones takes as long as the calls around it."""
    take, from_numpy, dtype = column.rows.take, torch.from_numpy, column.dtype
    if from_numpy(column.rows[:0].copy()).dtype is dtype:
        return lambda spots: from_numpy(take(spots, 0))
    return lambda spots: from_numpy(take(spots, 0)).view(dtype)


class _Windows:
    """All blocks as one array of overlapping windows: window i is as wide as a record and begins i bytes behind the lowest block.

    So one call of numpy gathers from all of them. Between the blocks there may be no memory at all; nothing but records is
    ever asked for, and indexing touches nothing else.
    """

    def __init__(self, columns: Sequence[Stacked], starts: NDArray[np.int64]) -> None:
        self._columns = columns  # keeps the files mapped
        lowest, width = columns[int(starts.argmin())], columns[0].width
        parts = [
            start + width * np.arange(len(column.rows))
            for start, column in zip(starts - starts.min(), columns, strict=True)
        ]
        self._offsets: NDArray[np.int64] = np.concatenate(parts)
        record = lowest.rows[:1].reshape(-1).view(np.uint8).view(f"V{width}")
        self._windows = as_strided(record, (int(self._offsets.max()) + 1,), (1,), writeable=False)
        self._record = np.dtype((lowest.rows.dtype, lowest.rows.shape[1:]))
        self._dtype = lowest.dtype

    def take(self, spots: NDArray[np.int64]) -> Column:
        batch = torch.from_numpy(self._windows[self._offsets[spots]].view(self._record))
        return batch if batch.dtype is self._dtype else batch.view(self._dtype)


class _Pieces:
    """Record by record: for records of varying shape, and wherever no array can span the blocks."""

    def __init__(self, columns: Sequence[Stacked | Varying], bases: NDArray[np.int64], records: int) -> None:
        self._columns = columns
        self._bases = bases
        self._require = constant_column(records)

    def take(self, spots: NDArray[np.int64]) -> Column:
        self._require(spots)
        places = self._bases.searchsorted(spots, side="right") - 1
        rows = (spots - self._bases[places]).tolist()
        columns = [self._columns[position] for position in places.tolist()]
        first = self._columns[0]
        if isinstance(first, Varying):
            return [column.tensor(row) for column, row in zip(columns, rows, strict=True)]
        pieces = [column.record(row) for column, row in zip(columns, rows, strict=True)]
        return tensor_of(bytearray().join(pieces), first.dtype, (len(rows), *first.rows.shape[1:]))
