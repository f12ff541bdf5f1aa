"""Merging of blocks: a store is read fastest out of one.

A merge may be killed at any moment, and the store may be read meanwhile: the merged block stands, and was read back, before the
others go. What a killed merge left twice the next one takes away.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdhub.files import FullDiskError, storage_error
from kdhub.store.blocks import Block, RowNumbers, block_files, next_number, place, write_block
from kdhub.store.index import MISSING_ROW, Index
from kdhub.store.manifest import WRITE_FIX, Manifest

REWRITTEN = 8
"""A block is merged with smaller ones only if it is at most so many times as large as they are together.

So what is appended to a large store in small parts does not cost the whole store each time, and no more than eight blocks are
left of a store a million times as large as the smallest of them.
"""


def merge_store(folder: str | Path, manifest: Manifest) -> None:
    """Merge the blocks of all shards. Only one process may do this, and none may write meanwhile; others may read.

    Where the disk is nearly full nothing is merged.

    Raises:
        DamagedStoreError: If a record is damaged.
        UsageError: If the folder cannot be written.
    """
    _merge(Path(folder), 0, block_files(Path(folder)), manifest)


def merge_shard(folder: Path, shard: int, manifest: Manifest) -> None:
    """Merge the blocks of one shard, as `merge_store` does, while other processes may write theirs.

    Raises:
        DamagedStoreError: If a record is damaged.
        UsageError: If the folder cannot be written.
    """
    _merge(folder, shard, [path for path in block_files(folder) if place(path)[0] == shard], manifest)


def _merge(folder: Path, shard: int, files: Sequence[Path], manifest: Manifest) -> None:
    if len(files) < 2:
        return
    try:
        # a record that two blocks have is taken from the larger one
        blocks = sorted([Block(path, manifest.fingerprint) for path in files], key=len, reverse=True)
        index = Index(blocks, manifest)
        spots = index.table[index.table != MISSING_ROW]
        places = index.places(spots)
        used = [blocks[place] for place in np.unique(places).tolist()]
        _remove_doubles(blocks, used)
        small = _worth_merging(used)
        # twice the size, as others may be writing too
        if len(small) < 2 or shutil.disk_usage(folder).free < 2 * sum(block.size for block in small):
            return
        chosen = np.isin(places, [blocks.index(block) for block in small])
        sources = _runs(blocks, index, spots[chosen], places[chosen])
        merged = write_block(folder, shard, next_number(folder, shard), manifest.fingerprint, sources)
        _require_sound(Block(merged, manifest.fingerprint))
        for block in small:
            block.path.unlink()
    except FullDiskError:
        return  # it costs nothing but speed here: what was committed stays in the blocks that it is in
    except OSError as error:
        raise storage_error(folder / "blocks", error, WRITE_FIX) from error


def _remove_doubles(blocks: Sequence[Block], used: Sequence[Block]) -> None:
    """Remove blocks all of whose records others have, too."""
    doubles = [block for block in blocks if block not in used]
    if doubles:
        for block in used:
            _require_sound(block)
    for block in doubles:
        block.path.unlink()


def _worth_merging(blocks: Sequence[Block]) -> list[Block]:
    """Leave out blocks that are too large to be rewritten for the sake of the others."""
    rest = sorted(blocks, key=lambda block: block.size, reverse=True)
    while rest and rest[0].size > REWRITTEN * sum(block.size for block in rest[1:]):
        rest = rest[1:]
    return rest


def _runs(
    blocks: Sequence[Block], index: Index, spots: NDArray[np.int64], places: NDArray[np.int64]
) -> list[tuple[Block, RowNumbers]]:
    """Split records in the order of the table where they go on in another block: a merged store needs no table to be read."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    rows = np.split(spots - index.bases[places], starts[1:])
    return [(blocks[place], some) for place, some in zip(places[starts].tolist(), rows, strict=True)]


def _require_sound(block: Block) -> None:
    for row in range(len(block)):
        block.check(row)
