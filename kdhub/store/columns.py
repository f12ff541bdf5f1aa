"""Columns of records, in memory or in a mapped file, and the checksum of a record over all its columns."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdhub.store.damage import DamagedStoreError
from kdhub.store.tree import Column

ROWS, FLAT, SHAPES = ".rows", ".flat", ".shapes"
"""A column of records of one shape is the tensor ``NAME.rows``; of varying shape, ``NAME.flat`` and ``NAME.shapes``."""


@dataclass(frozen=True)
class Stacked:
    """A column of records of one shape."""

    rows: NDArray[np.generic]  # (n, *shape)
    data: memoryview
    width: int
    dtype: torch.dtype

    def record(self, row: int) -> memoryview:
        """Return the bytes of a record."""
        return self.data[row * self.width : (row + 1) * self.width]


@dataclass(frozen=True)
class Varying:
    """A column of records of varying shape, one after the other."""

    data: memoryview
    bounds: NDArray[np.int64]  # (n + 1,) in bytes
    shapes: NDArray[np.int64]  # (n, axes)
    dtype: torch.dtype

    def record(self, row: int) -> memoryview:
        """Return the bytes of a record."""
        return self.data[self.bounds[row] : self.bounds[row + 1]]

    def tensor(self, row: int) -> Tensor:
        """Return a copy of a record."""
        return tensor_of(bytearray(self.record(row)), self.dtype, tuple(self.shapes[row].tolist()))


class Records:
    """Some records with their checksums.

    Args:
        path: File that they are in; of records that wait to be written, the folder.
        keys: Index and draw of each, ``(n, 2)``.
        checks: Checksum of each, ``(n,)``.
        columns: In the order of their names, in which they are summed up.
    """

    def __init__(
        self,
        path: Path,
        keys: NDArray[np.int64],
        checks: NDArray[np.int64],
        columns: Mapping[str, Stacked | Varying],
    ) -> None:
        self.path = path
        self.keys = keys
        self.checks = checks
        self.columns = columns

    @classmethod
    def of(cls, path: Path, keys: Sequence[tuple[int, int]], columns: Mapping[str, Column]) -> Records:
        """Sum up records that are in memory."""
        tensors: dict[str, Tensor] = {}
        for name, column in columns.items():
            if isinstance(column, Tensor):
                tensors[name + ROWS] = column
            else:
                tensors[name + FLAT] = torch.cat([entry.reshape(-1) for entry in column])
                shapes = torch.tensor([list(entry.shape) for entry in column], dtype=torch.int64)
                tensors[name + SHAPES] = shapes.reshape(len(column), column[0].ndim)
        views = columns_of(tensors)
        checks = np.array([_check(views, row) for row in range(len(keys))], np.int64)
        return cls(path, np.array(keys, np.int64).reshape(-1, 2), checks, views)

    def __len__(self) -> int:
        return len(self.keys)

    def sound(self, row: int) -> bool:
        """Return whether the bytes of a record are those that were written."""
        return _check(self.columns, row) == int(self.checks[row])

    def damage(self, row: int) -> DamagedStoreError:
        """Return the error of a record that is not sound."""
        index, draw = self.keys[row].tolist()
        return DamagedStoreError(self.path, "bytes that do not match their checksum", (index, draw))

    def check(self, row: int) -> None:
        """See that a record is sound.

        Raises:
            DamagedStoreError: If it is not; names it.
        """
        if not self.sound(row):
            raise self.damage(row)


def columns_of(tensors: Mapping[str, Tensor]) -> dict[str, Stacked | Varying]:
    """Return the columns that some tensors make up, in the order of their names."""
    found: dict[str, Stacked | Varying] = {}
    for full_name in sorted(tensors):
        name, dot, part = full_name.rpartition(".")
        tensor = tensors[full_name]
        array = _numpy(tensor)
        if dot + part == ROWS:
            found[name] = Stacked(array, _bytes(array), array[:1].nbytes, tensor.dtype)
        elif dot + part == FLAT:
            shapes = tensors[name + SHAPES].numpy().copy()
            bounds = np.concatenate([[0], np.cumsum(shapes.prod(axis=1) * tensor.itemsize)]).astype(np.int64)
            found[name] = Varying(_bytes(array), bounds, shapes, tensor.dtype)
    return found


def column_name(tap: int, column: int) -> str:
    """Name the column of a tap so that names sort as taps and columns do."""
    return f"{tap:03d}.{column:05d}"


def tap_of(name: str) -> int:
    """Return the position of the tap that a column belongs to."""
    return int(name.partition(".")[0])


def tensor_of(data: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor that some bytes are."""
    return (torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)).reshape(shape)


def _check(columns: Mapping[str, Stacked | Varying], row: int) -> int:
    check = 0
    for column in columns.values():
        check = zlib.crc32(column.record(row), check)
    return check


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    """Return the tensor's own memory; what numpy has no type for, as integers of its size."""
    tensor = tensor.contiguous()
    return (tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _bytes(array: NDArray[np.generic]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
