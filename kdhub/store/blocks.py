"""A block: the records that one commit made durable, as an immutable safetensors file.

A block stands under its name completely or not at all, and is never written to again. Its name ends with a checksum of its
head (keys, shapes, checksums, layout), and its head holds a checksum for each record, so nothing in it can change unnoticed.
Records are kept by column, so those of one shape are gathered from the mapped file in a single copy.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray

from kdhub.errors import UsageError
from kdhub.files import atomic_file
from kdhub.store.columns import FLAT, ROWS, SHAPES, Records, Stacked, columns_of
from kdhub.store.damage import DamagedStoreError
from kdhub.store.manifest import FILE_NAME, WRITE_FIX
from kdhub.store.tensor_file import Layout, begin

_NAME = re.compile(r"shard-(?P<shard>\d+)-(?P<number>\d+)-(?P<checksum>[0-9a-f]{16})\.safetensors")
_KEYS, _CHECKS = "keys", "checks"

RowNumbers = NDArray[np.int64]
"""Rows of the records that are meant, among those of a block."""


def block_files(folder: Path) -> list[Path]:
    """Return the blocks of a store in the order in which each shard wrote them."""
    found = [(path, match) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for path, match in sorted(found, key=lambda item: (int(item[1]["shard"]), int(item[1]["number"])))]


def refuse_foreign(folder: Path) -> None:
    """Refuse to make a store of a folder that holds anything else; hidden files do not count.

    Raises:
        UsageError: If it is no store and not empty.
    """
    if (folder / FILE_NAME).exists():
        return
    others = {entry for entry in folder.iterdir() if not entry.name.startswith(".")} - set(block_files(folder))
    if others:
        raise UsageError(
            "the folder is no teacher store and not empty",
            where=str(folder),
            got=", ".join(sorted(entry.name for entry in others)[:3]),
            fix="choose another folder for the store",
        )


def place(path: Path) -> tuple[int, int]:
    """Return the shard of a block and its number within."""
    match = _NAME.fullmatch(path.name)
    return (int(match["shard"]), int(match["number"])) if match else (0, 0)


def next_number(folder: Path, shard: int) -> int:
    """Return the number of the next block of a shard."""
    return max((number + 1 for found, number in map(place, block_files(folder)) if found == shard), default=0)


class Block(Records):
    """A block on disk, mapped read-only into memory; processes that read it share its pages.

    Args:
        path: The file.
        fingerprint: `Manifest.fingerprint` of the store that it must belong to.

    Attributes:
        size: Bytes on disk.

    Raises:
        DamagedStoreError: If it was cut short, or its head was changed.
        FileNotFoundError: If it is gone: merged into another one, or a link to nothing.
        UsageError: If it belongs to another store.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        try:
            # the library sees to it that the file is as long as its header says, before it is mapped
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            self.size = path.stat().st_size
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UsageError("cannot read a block of the teacher store", where=str(path), got=str(error)) from error
        except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
            raise DamagedStoreError(path, str(error)) from error
        layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        head = {name: tensor.numpy() for name, tensor in tensors.items() if _in_head(name)}
        if _NAME.fullmatch(path.name)["checksum"] != _checksum(layout, head, metadata):  # type: ignore[index]
            raise DamagedStoreError(path, "a head that does not match its checksum")
        if metadata["identity"] != fingerprint:
            raise UsageError(
                f"{path.name} was written for another teacher, tap or data set than the manifest says",
                where=str(path.parent),
                fix="move it away, or choose another folder for this store",
            )
        super().__init__(path, head[_KEYS].copy(), head[_CHECKS].copy(), columns_of(tensors))

    @property
    def shard(self) -> int:
        """Number of the process that wrote it."""
        return place(self.path)[0]


def write_block(
    folder: Path, shard: int, number: int, fingerprint: str, sources: Sequence[tuple[Records, RowNumbers]]
) -> Path:
    """Write records as a block, one after the other and checked on the way. When this returns they are on the disk.

    Args:
        folder: The store.
        shard: Process that the block counts for.
        number: `next_number` of this shard.
        fingerprint: `Manifest.fingerprint` of the store.
        sources: What to write: records that wait in memory, or those of other blocks of the same store.

    Raises:
        DamagedStoreError: If a record is not what its checksum says; nothing is written then.
        UsageError: If the disk is full or the folder cannot be written; nothing written before is touched.
    """
    head = {
        _KEYS: np.concatenate([records.keys[rows] for records, rows in sources]),
        _CHECKS: np.concatenate([records.checks[rows] for records, rows in sources]),
    }
    layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for name, first in sources[0][0].columns.items():
        if isinstance(first, Stacked):
            layout[name + ROWS] = (first.dtype, (len(head[_KEYS]), *first.rows.shape[1:]))
        else:
            shapes = np.concatenate([records.columns[name].shapes[rows] for records, rows in sources])  # type: ignore[union-attr]
            head[name + SHAPES] = shapes
            layout[name + FLAT] = (first.dtype, (int(shapes.prod(axis=1).sum()),))
    layout.update({name: (torch.int64, values.shape) for name, values in head.items()})
    metadata = {"identity": fingerprint}
    path = folder / f"shard-{shard:04d}-{number:06d}-{_checksum(layout, head, metadata)}.safetensors"
    with atomic_file(path, WRITE_FIX) as stream:
        starts = begin(stream, layout, metadata)
        for name, values in head.items():
            stream.seek(starts[name])
            stream.write(values.tobytes())
        _copy(sources, stream, {name.rpartition(".")[0]: start for name, start in starts.items() if not _in_head(name)})
    return path


def _copy(sources: Sequence[tuple[Records, RowNumbers]], stream: BinaryIO, starts: Mapping[str, int]) -> None:
    """Copy records column by column, and see in the end that each was sound."""
    checks = array("L", [0]) * sum(len(rows) for _, rows in sources)
    for name in sorted(starts):
        stream.seek(starts[name])
        spot = 0
        for records, rows in sources:
            column = records.columns[name]
            for row in rows.data:
                record = column.record(row)
                checks[spot] = zlib.crc32(record, checks[spot])
                stream.write(record)
                spot += 1
    spot = 0
    for records, rows in sources:
        for row in rows.data:
            if checks[spot] != records.checks[row]:
                raise records.damage(row)
            spot += 1


def _in_head(name: str) -> bool:
    return name in (_KEYS, _CHECKS) or name.endswith(SHAPES)


def _checksum(layout: Layout, head: Mapping[str, NDArray[np.int64]], metadata: Mapping[str, str]) -> str:
    """Sum up all of a block but its values, which have checksums of their own."""
    described = {name: [str(dtype), *shape] for name, (dtype, shape) in layout.items()}
    state = hashlib.sha256(json.dumps([described, dict(metadata)], sort_keys=True).encode())
    for name in sorted(head):
        state.update(head[name].tobytes())
    return state.hexdigest()[:16]
