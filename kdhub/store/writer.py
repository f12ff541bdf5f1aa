"""`StoreWriter`: what a process adds to a store, durable with each commit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.files import storage_error
from kdhub.store.blocks import next_number, refuse_foreign, write_block
from kdhub.store.columns import Records, column_name
from kdhub.store.index import Index
from kdhub.store.manifest import FILE_NAME, WRITE_FIX, Manifest, other_store_error
from kdhub.store.merging import merge_shard
from kdhub.store.reader import open_blocks
from kdhub.store.tree import Column


class StoreWriter:
    """Adds records to a store. Several processes may write to one store at once, each with its own rank.

    What `commit` returned from is on the disk, whatever happens to the process or the machine afterwards. What the store
    has already is never written again. Get one from `open`; used in a `with` statement it is closed at the end, and drops what
    was not committed if the block ends with an error.

    Args:
        path: Folder of the store, with its manifest.
        manifest: As it stands in the folder.
        rank: Number of the shard.
        index: What the store has.
    """

    COMMIT_BYTES = 64 * 1024**2
    """`add` commits by itself once so much waits, ..."""

    COMMIT_SECONDS = 30.0
    """... or once it has waited so long: at most this much of the teacher's work is lost with a killed process."""

    def __init__(self, path: Path, manifest: Manifest, rank: int, index: Index) -> None:
        self.path = path
        self.manifest = manifest
        self.rank = rank
        self._index = index
        self._nodes = manifest.nodes()
        self._number = next_number(path, rank)
        self._clear()

    @classmethod
    def open(cls, path: str | Path, manifest: Manifest, rank: int = 0) -> StoreWriter:
        """Begin a store, or go on with it.

        Args:
            path: Its folder; made if it is not there.
            manifest: What it is bound to. The trees may be left out where the store was begun before. With several
                processes, one must have begun the store before the others open it.
            rank: Number of this process, which no other writer to this store may have at the same time.

        Raises:
            UsageError: If the folder holds another store (names what differs) or other files, or cannot be written.
            DamagedStoreError: If the store is damaged; `kdhub.store.repair` takes out what is.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_foreign(folder)
            before = Manifest.read(folder)
        except OSError as error:
            raise storage_error(folder / FILE_NAME, error, WRITE_FIX) from error
        if before is not None and (differences := manifest.differences(before)):
            raise other_store_error(folder, differences)
        if before is None and set(manifest.trees) != set(manifest.taps):
            raise UsageError("a new store needs to know what its values are made of", where=str(folder))
        now = before or manifest
        index = Index(open_blocks(folder, now), now)
        if before is None:
            manifest.write(folder)
        return cls(folder, now, rank, index)

    def missing(self, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the keys (index and draw) that were neither in the store when it was opened nor added since."""
        return self._index.missing([_key(key) for key in keys])

    def add(self, keys: Sequence[tuple[int, int]], values: Mapping[str, Any]) -> None:
        """Add a batch. It is durable with the next `commit`, which comes by itself after a while.

        Args:
            keys: Index and draw of each sample of the batch; those that the store has are passed over.
            values: Tap to value, as the tap gave it.

        Raises:
            UsageError: If a tap is missing, a value is not made as those that the store was begun with, is not a number
                or too large for its precision, or a commit fails.
        """
        if set(values) != set(self.manifest.taps):
            raise UsageError("not the taps of this store", expected=str(self.manifest.taps), got=str(tuple(values)))
        columns = {
            column_name(position, number): column
            for position, tap in enumerate(self.manifest.taps)
            for number, column in enumerate(self._nodes[tap].split(values[tap], len(keys), tap))
        }
        wanted = dict.fromkeys(self.missing(keys))
        first = {key: row for row, key in reversed(list(enumerate(map(_key, keys))))}
        rows = [first[key] for key in wanted]
        if not rows:
            return
        if len(rows) < len(keys):
            columns = {name: _chosen(column, rows) for name, column in columns.items()}
        records = Records.of(self.path, list(wanted), columns)
        self._waiting.append(records)
        self._bytes += sum(column.data.nbytes for column in records.columns.values())
        self._index.note(list(wanted))
        if self._bytes >= self.COMMIT_BYTES or time.monotonic() - self._since >= self.COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Bring all that was added to the disk.

        Raises:
            UsageError: If the disk is full or the folder cannot be written; then nothing that was committed is touched, and
                what waits may be committed later.
        """
        if self._waiting:
            everything = [(records, np.arange(len(records))) for records in self._waiting]
            write_block(self.path, self.rank, self._number, self.manifest.fingerprint, everything)
            self._number += 1
        self._clear()

    def close(self) -> None:
        """Commit, and merge the blocks that this shard consists of."""
        self.commit()
        merge_shard(self.path, self.rank, self.manifest)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    def _clear(self) -> None:
        self._waiting: list[Records] = []
        self._bytes = 0
        self._since = time.monotonic()


def _key(key: Sequence[int]) -> tuple[int, int]:
    index, draw = key
    return int(index), int(draw)


def _chosen(column: Column, rows: list[int]) -> Column:
    return column[rows] if isinstance(column, Tensor) else [column[row] for row in rows]
