"""`StoreReader`: the teacher's values from disk, as a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdhub.errors import UsageError
from kdhub.store.blocks import Block, block_files
from kdhub.store.columns import tap_of
from kdhub.store.damage import DamagedStoreError
from kdhub.store.gather import Take, constant_column, taker
from kdhub.store.index import MISSING_ROW, Index
from kdhub.store.manifest import Manifest
from kdhub.store.tree import Node


def open_blocks(folder: Path, manifest: Manifest) -> list[Block]:
    """Open all blocks of a store.

    Raises:
        DamagedStoreError: If one was cut short or its head changed.
        UsageError: If one belongs to another store.
    """
    blocks = []
    for path in block_files(folder):
        try:
            blocks.append(Block(path, manifest.fingerprint))
        except FileNotFoundError as error:
            if path in block_files(folder):
                raise DamagedStoreError(path, "a link to nothing") from error
            return open_blocks(folder, manifest)  # a writer at work has just merged it into another block
    return blocks


class StoreReader:
    """Reads a store, without locks.

    It may be carried into forked workers, or pickled into spawned ones; all share the pages of the mapped files. Each
    record is checked against its checksum when a process reads it first; `kdhub.store.verify` checks all.

    Args:
        path: Folder of the store.

    Attributes:
        manifest: What the store is bound to.
        blocks: The files that hold the records.

    Raises:
        DamagedStoreError: If its manifest or the head of a block is damaged.
        UsageError: If there is no store, or a block of another one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = manifest = Manifest.require(self.path)
        self.blocks = open_blocks(self.path, manifest)
        self._index = Index(self.blocks, manifest)
        self._known = np.full_like(self._index.table, MISSING_ROW)  # its table, of records that were found sound
        self._unknown = len(self._index)
        self._spots = self._known_spots
        takers: dict[str, list[Take]] = {tap: [] for tap in manifest.taps}
        for name in sorted(self.blocks[0].columns) if self.blocks else ():
            columns = [block.columns[name] for block in self.blocks]
            takers[manifest.taps[tap_of(name)]].append(taker(columns, self._index.bases, self._index.records))
        nothing = [constant_column(self._index.records)]
        self._values = {tap: _value_of(node, takers[tap] or nothing) for tap, node in manifest.nodes().items()}

    def __len__(self) -> int:
        return len(self._index)

    def __reduce__(self) -> tuple[type[StoreReader], tuple[Path]]:
        return StoreReader, (self.path,)

    def missing(self, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the keys (index and draw) that have no record."""
        return self._index.missing(keys)

    def read(self, keys: Sequence[tuple[int, int]], taps: Collection[str] | None = None) -> dict[str, Any]:
        """Return the values of some samples, joined to a batch as each tap gave them.

        Floats that were halved stay so: losses compute in float32 anyway, and what goes to a device is half as much.

        Args:
            keys: Index and draw of each sample, in the order of the batch.
            taps: Taps to read; by default all. Columns of others are not touched, but by the check of a record that this
                process reads first: a record has one checksum.

        Returns:
            Tap to value.

        Raises:
            DamagedStoreError: If a record is damaged.
            UsageError: If one is missing, or the store has no such tap.
        """
        values = self._values if taps is None else self._values_of(taps)
        batch = {}
        try:
            spots = self._spots(keys)
            for tap, value in values.items():  # before Python 3.12 a comprehension is a call more
                batch[tap] = value(spots)
            return batch
        except (IndexError, OverflowError):  # a record not yet seen to be sound, or none of this store
            spots = self._check(keys)
        return {tap: value(spots) for tap, value in values.items()}

    def _values_of(self, taps: Collection[str]) -> dict[str, Callable[[NDArray[np.int64]], Any]]:
        if unknown := set(taps) - set(self.manifest.taps):
            raise UsageError(
                "the teacher store has no such tap",
                where=str(self.path),
                expected=", ".join(self.manifest.taps),
                got=", ".join(sorted(unknown)),
            )
        return {tap: value for tap, value in self._values.items() if tap in taps}

    def _check(self, keys: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """See that records are there and sound, and remember it."""
        spots = self._index.look_up(keys)
        if MISSING_ROW in spots.tolist():
            raise self._missing(self.missing(keys))
        codes = self._index.codes(keys)
        new = self._known[codes] == MISSING_ROW
        places = self._index.places(spots[new])
        rows = spots[new] - self._index.bases[places]
        for position, row in zip(places.tolist(), rows.tolist(), strict=True):
            self.blocks[position].check(row)
        self._known[codes] = spots
        self._unknown -= len(np.unique(codes[new]))
        if not self._unknown and self._index.ordered:
            self._spots = (
                self._index.codes
            )  # they are what the table says, and looking there takes as long as a small copy
        return spots

    def _known_spots(self, keys: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        return self._known[self._index.codes(keys)]

    def _missing(self, keys: list[tuple[int, int]]) -> UsageError:
        index, draw = keys[0]
        others = f" and {len(keys) - 1} more of this batch" if len(keys) > 1 else ""
        return UsageError(
            f"the teacher store has no record of sample {index}, draw {draw}{others}",
            where=str(self.path),
            got=f"{len(self)} of {self.manifest.samples * self.manifest.draws} records",
            fix="complete it: kdhub cache CONFIG",
        )


def _value_of(node: Node, takers: Sequence[Take]) -> Callable[[NDArray[np.int64]], Any]:
    """Return what makes a value out of its columns."""
    if node.bare:
        return takers[0]
    return lambda spots: node.join(iter([take(spots) for take in takers]), len(spots))
