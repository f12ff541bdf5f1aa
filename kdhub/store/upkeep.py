"""What `kdhub cache` does to a store as a whole: tell what is in it, check it, take out what is damaged, merge blocks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdhub.errors import UsageError
from kdhub.files import storage_error
from kdhub.store.blocks import Block, block_files, joined, place, tap_of, write_block
from kdhub.store.damage import DamagedStoreError
from kdhub.store.manifest import FILE_NAME, WRITE_FIX, Manifest
from kdhub.store.reader import StoreReader

MERGED_BYTES = 128 * 1024**2
"""Blocks are merged up to this size, which is held in memory about three times while it is written."""

Progress = Callable[[int, int], None]
"""Called with the blocks done and the blocks there are."""


@dataclass(frozen=True)
class StoreInfo:
    """What is in a store.

    Attributes:
        manifest: What it is bound to, with the precision of each tap and the error that it makes.
        records: Records there are.
        missing: Records that it lacks to be complete.
        shards: Processes that wrote it.
        blocks: Files that hold the records.
        bytes: Size of these files.
        record_bytes: Tap to the mean size of what is kept for a sample.
    """

    manifest: Manifest
    records: int
    missing: int
    shards: int
    blocks: int
    bytes: int
    record_bytes: Mapping[str, float]


def store_info(path: str | Path) -> StoreInfo:
    """Tell what is in a store, from manifest and heads alone.

    Raises:
        UsageError: If there is no store, or one that is damaged.
    """
    reader = StoreReader(path)
    manifest, blocks = reader.manifest, reader.blocks
    sizes = [0] * len(manifest.taps)
    for block in blocks:
        for name, column in block.columns.items():
            sizes[tap_of(name)] += column.data.nbytes
    written = max(1, sum(map(len, blocks)))
    return StoreInfo(
        manifest=manifest,
        records=len(reader),
        missing=manifest.samples * manifest.draws - len(reader),
        shards=len({block.shard for block in blocks}),
        blocks=len(blocks),
        bytes=sum(block.path.stat().st_size for block in blocks),
        record_bytes={tap: size / written for tap, size in zip(manifest.taps, sizes, strict=True)},
    )


def verify(path: str | Path, progress: Progress | None = None) -> list[DamagedStoreError]:
    """Check manifest, heads and every record of a store.

    Returns:
        What is damaged: empty if all is well.

    Raises:
        UsageError: If there is no store, or a block of another one.
    """
    folder = Path(path)
    try:
        manifest = Manifest.read(folder)
    except DamagedStoreError as error:
        return [error]  # without it no block can be told from one of another store
    if manifest is None:
        raise UsageError("no teacher store here", where=str(folder), expected=FILE_NAME)
    return [error for _, _, errors in _checked(folder, manifest, progress) for error in errors]


def repair(path: str | Path, progress: Progress | None = None) -> list[DamagedStoreError]:
    """Take out of a store what is damaged, so that a writer computes it again; sound records stay.

    Only one process may do this, and none may write meanwhile. A killed writer's unfinished files go too.

    Returns:
        What was taken out. A damaged manifest is among it: the writer that is opened next writes a new one.

    Raises:
        UsageError: If the folder cannot be written, or holds a block of another store.
    """
    folder = Path(path)
    if not folder.is_dir():
        return []
    try:
        for partial in folder.glob(".*.partial"):
            partial.unlink()
        try:
            manifest = Manifest.read(folder)
        except DamagedStoreError as error:
            (folder / FILE_NAME).unlink()
            return [error]
        if manifest is None:
            return []
        damage = []
        for file, block, errors in _checked(folder, manifest, progress):
            if errors and block is not None:
                sound = np.array([row for row in range(len(block)) if block.sound(row)], np.int64)
                if len(sound):
                    rewrite(folder, block.shard, next_number(folder, block.shard), manifest, [(block, sound)])
            if errors:
                file.unlink()
            damage += errors
    except OSError as error:
        raise storage_error(folder / FILE_NAME, error, WRITE_FIX) from error
    return damage


def _checked(
    folder: Path, manifest: Manifest, progress: Progress | None
) -> list[tuple[Path, Block | None, list[DamagedStoreError]]]:
    files = block_files(folder)
    found: list[tuple[Path, Block | None, list[DamagedStoreError]]] = []
    for done, file in enumerate(files, start=1):
        try:
            block = Block(file, manifest.identity)
        except DamagedStoreError as error:
            found.append((file, None, [error]))
        else:
            errors = [block.damage(row) for row in range(len(block)) if not block.sound(row)]
            found.append((file, block, errors))
        if progress is not None:
            progress(done, len(files))
    return found


def next_number(folder: Path, shard: int) -> int:
    """Return the number of the next block of a shard."""
    return max((number + 1 for found, number in map(place, block_files(folder)) if found == shard), default=0)


def merge(folder: Path, shard: int, manifest: Manifest) -> None:
    """Merge the small blocks of a shard, which frequent commits leave behind: reading is fastest out of one block.

    The merged block stands before the others go. Where the disk is nearly full nothing is merged.

    Raises:
        DamagedStoreError: If a record is damaged.
        UsageError: If the disk is full or the folder cannot be written.
    """
    group: list[Block] = []
    size = 0
    for block in [*(Block(path, manifest.identity) for path in block_files(folder) if place(path)[0] == shard), None]:
        length = block.path.stat().st_size if block is not None else MERGED_BYTES
        if size + length > MERGED_BYTES:
            if len(group) > 1 and shutil.disk_usage(folder).free > 2 * size:
                rewrite(folder, shard, next_number(folder, shard), manifest, _once(group))
                for member in group:
                    member.path.unlink()
            group, size = [], 0
        if block is not None:
            group.append(block)
            size += length


def _once(blocks: Sequence[Block]) -> list[tuple[Block, NDArray[np.int64]]]:
    """Leave out records that an earlier block has: a writer killed while it merged leaves all blocks behind."""
    seen: set[tuple[int, ...]] = set()
    chosen = []
    for block in blocks:
        keys = [tuple(key) for key in block.keys.tolist()]
        chosen.append((block, np.array([row for row, key in enumerate(keys) if key not in seen], np.int64)))
        seen.update(keys)
    return [(block, rows) for block, rows in chosen if len(rows)]


def rewrite(
    folder: Path, shard: int, number: int, manifest: Manifest, sources: Sequence[tuple[Block, NDArray[np.int64]]]
) -> None:
    """Write records of other blocks as one block, once they are seen to be sound."""
    for block, rows in sources:
        for row in rows.tolist():
            block.check(row)
    keys = [(index, draw) for block, rows in sources for index, draw in block.keys[rows].tolist()]
    columns = {name: joined([block.take(name, rows) for block, rows in sources]) for name in sources[0][0].columns}
    write_block(folder, shard, number, manifest.identity, keys, columns)
