"""A block: the records that one commit made durable, as an immutable safetensors file.

A block stands under its name completely or not at all, and is never written to again. Its name ends with a digest of its
head (keys, shapes, checksums, layout), and its head holds a checksum for each record, so nothing in it can change unnoticed.
Records are kept by column, so those of one shape are gathered from the mapped file in a single copy.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.files import atomic_file
from kdhub.store.damage import DamagedStoreError
from kdhub.store.manifest import WRITE_FIX
from kdhub.store.tree import Column

_NAME = re.compile(r"shard-(?P<shard>\d+)-(?P<number>\d+)-(?P<digest>[0-9a-f]{16})\.safetensors")
_KEYS, _CHECKS = "keys", "checks"
_ROWS, _FLAT, _SHAPES = ".rows", ".flat", ".shapes"


def block_files(folder: Path) -> list[Path]:
    """Return the blocks of a store in the order in which each shard wrote them."""
    found = [(path, match) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for path, match in sorted(found, key=lambda item: (int(item[1]["shard"]), int(item[1]["number"])))]


def place(path: Path) -> tuple[int, int]:
    """Return the shard of a block and its number within."""
    match = _NAME.fullmatch(path.name)
    return (int(match["shard"]), int(match["number"])) if match else (0, 0)


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
        return _tensor(bytearray(self.record(row)), self.dtype, tuple(self.shapes[row].tolist()))


class Block:
    """A block on disk, mapped read-only into memory; processes that read it share its pages.

    Args:
        path: The file.
        identity: `Manifest.identity` of the store that it must belong to.

    Attributes:
        keys: Index and draw of each record, ``(n, 2)``.

    Raises:
        DamagedStoreError: If it was cut short, or its head was changed.
        UsageError: If it belongs to another store.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        try:
            # the library sees to it that the file is as long as its header says, before it is mapped
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UsageError("cannot read a block of the teacher store", where=str(path), got=str(error)) from error
        except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
            raise DamagedStoreError(path, str(error)) from error
        if _NAME.fullmatch(path.name)["digest"] != _digest(tensors, metadata):  # type: ignore[index]
            raise DamagedStoreError(path, "a head that does not match its checksum")
        if metadata["identity"] != identity:
            raise UsageError(
                f"{path.name} was written for another teacher, tap or data set than the manifest says",
                where=str(path.parent),
                fix="move it away, or choose another folder for this store",
            )
        self.keys: NDArray[np.int64] = tensors.pop(_KEYS).numpy().copy()
        self.checks: list[int] = tensors.pop(_CHECKS).tolist()
        self.columns = _columns(tensors)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shard(self) -> int:
        """Number of the process that wrote it."""
        return place(self.path)[0]

    def sound(self, row: int) -> bool:
        """Return whether the bytes of a record are those that were written."""
        return _check(self.columns, row) == self.checks[row]

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

    def take(self, name: str, rows: NDArray[np.int64]) -> Column:
        """Copy one column of some records."""
        return Source([self.columns[name]], np.zeros(1, np.int64)).take(rows)


class Source:
    """One column of a store, over all its blocks.

    Args:
        columns: The column in each block.
        bases: For each block how many records the blocks before it have.
    """

    def __init__(self, columns: Sequence[Stacked | Varying], bases: NDArray[np.int64]) -> None:
        self._columns = columns
        self._bases = bases
        first = columns[0]
        self._dtype = first.dtype
        self._rows = first.rows if isinstance(first, Stacked) and len(columns) == 1 else None

    def take(self, spots: NDArray[np.int64]) -> Column:
        """Copy records out of the blocks.

        Args:
            spots: For each record how many the store has before it.
        """
        if self._rows is not None:
            batch = torch.from_numpy(self._rows.take(spots, axis=0))
            return batch if batch.dtype is self._dtype else batch.view(self._dtype)
        places = self._bases.searchsorted(spots, side="right") - 1
        rows = (spots - self._bases[places]).tolist()
        columns = [self._columns[position] for position in places.tolist()]
        first = columns[0]
        if isinstance(first, Varying):
            return [column.tensor(row) for column, row in zip(columns, rows, strict=True)]
        # of all ways to collect small pieces from several buffers this was the fastest by far
        pieces = [column.record(row) for column, row in zip(columns, rows, strict=True)]
        return _tensor(bytearray().join(pieces), self._dtype, (len(rows), *first.rows.shape[1:]))


def write_block(
    folder: Path, shard: int, number: int, identity: str, keys: Sequence[tuple[int, int]], columns: Mapping[str, Column]
) -> Path:
    """Write records as a block. When this returns they are on the disk.

    Raises:
        UsageError: If the disk is full or the folder cannot be written; nothing written before is touched.
    """
    tensors: dict[str, Tensor] = {}
    for name, column in columns.items():
        if isinstance(column, Tensor):
            tensors[name + _ROWS] = column
        else:
            tensors[name + _FLAT] = torch.cat([entry.reshape(-1) for entry in column])
            axes = column[0].ndim
            shapes = torch.tensor([list(entry.shape) for entry in column], dtype=torch.int64)
            tensors[name + _SHAPES] = shapes.reshape(len(column), axes)
    views = _columns(tensors)
    checks = [_check(views, row) for row in range(len(keys))]
    tensors[_KEYS] = torch.tensor(keys, dtype=torch.int64).reshape(-1, 2)
    tensors[_CHECKS] = torch.tensor(checks, dtype=torch.int64)
    metadata = {"identity": identity}
    path = folder / f"shard-{shard:04d}-{number:06d}-{_digest(tensors, metadata)}.safetensors"
    with atomic_file(path, WRITE_FIX) as stream:
        stream.write(save(tensors, metadata))
    return path


def column_name(tap: int, column: int) -> str:
    """Name the column of a tap so that names sort as taps and columns do."""
    return f"{tap:03d}.{column:05d}"


def tap_of(name: str) -> int:
    """Return the position of the tap that a column belongs to."""
    return int(name.partition(".")[0])


def joined(parts: Sequence[Column]) -> Column:
    """Join columns of consecutive records."""
    if isinstance(parts[0], Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return [entry for part in parts for entry in part]


def _columns(tensors: Mapping[str, Tensor]) -> dict[str, Stacked | Varying]:
    found: dict[str, Stacked | Varying] = {}
    for full_name in sorted(tensors):
        name, dot, part = full_name.rpartition(".")
        tensor = tensors[full_name]
        array = _numpy(tensor)
        if dot + part == _ROWS:
            found[name] = Stacked(array, _bytes(array), array[:1].nbytes, tensor.dtype)
        elif dot + part == _FLAT:
            shapes = tensors[name + _SHAPES].numpy().copy()
            bounds = np.concatenate([[0], np.cumsum(shapes.prod(axis=1) * tensor.itemsize)]).astype(np.int64)
            found[name] = Varying(_bytes(array), bounds, shapes, tensor.dtype)
    return found


def _check(columns: Mapping[str, Stacked | Varying], row: int) -> int:
    check = 0
    for column in columns.values():
        check = zlib.crc32(column.record(row), check)
    return check


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Sum up all of a block but its values, which have checksums of their own."""
    layout = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
    digest = hashlib.sha256(json.dumps([layout, dict(metadata)], sort_keys=True).encode())
    for name in sorted(tensors):
        if name in (_KEYS, _CHECKS) or name.endswith(_SHAPES):
            digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()[:16]


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    """Return the tensor's own memory; what numpy has no type for, as integers of its size."""
    tensor = tensor.contiguous()
    return (tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _bytes(array: NDArray[np.generic]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _tensor(data: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return (torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)).reshape(shape)
